"""Quantizers: FSQ in exact integer arithmetic and as Keras layers, residual FSQ, VQ."""
