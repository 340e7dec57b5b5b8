"""A prior: a small transformer that learns the tokens of images and dreams up new ones."""
