"""The networks of a tokenizer that is trained here."""
