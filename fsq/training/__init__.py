"""Training an autoencoder: the recipe, the batches, the step, the loop around it."""
