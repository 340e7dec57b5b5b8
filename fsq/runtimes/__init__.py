"""Encoder runtimes: run a tokenizer's encoder and quantizer, pixels to tokens.

`base` is the interface, `registry` lists the runtimes, and each runtime is a module
or a package here. Nothing heavy is imported before a runtime is made.
"""
