"""Training of an autoencoder: config, data, losses, step, loop."""
