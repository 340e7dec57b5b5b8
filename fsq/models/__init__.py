"""Networks of tokenizers that are trained here, in Keras."""
