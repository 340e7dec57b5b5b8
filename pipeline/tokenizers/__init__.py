"""Jobs that make tokenizers: training and import, with their configs and cards."""
