"""Encoder runtimes: what runs a tokenizer's encoder, pixels to tokens.

`base` is the interface, `registry` lists the members, and each member is a file
or a folder here. Nothing heavy is imported before a runtime is made.
"""
