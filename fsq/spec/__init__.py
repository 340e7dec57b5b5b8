"""Tokenizer specification: networks, token contract, files of a saved tokenizer."""
