"""Making tokenizers: training, import, their cards."""
