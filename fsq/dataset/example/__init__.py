"""tf.train.Example: the message class, a fast encoder and a fast decoder."""
