"""tf.train.Example without TensorFlow: message class, fast encoder, fast decoder."""
