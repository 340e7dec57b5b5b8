"""What a tokenizer is, as data: its networks, its token contract, its two files."""
