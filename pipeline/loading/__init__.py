"""Loading: the images of a source for training, in memory, by position or as a tf.data.Dataset."""
