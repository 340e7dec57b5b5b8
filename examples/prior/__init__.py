"""A prior: a small transformer trained on the tokens of images, to sample new images."""
