"""Encoding inside a graph: an encoder as a step of a tf.data pipeline or a tf.function."""

from typing import Any

import tensorflow as tf

from fsq.quantizer import lattice
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.runtimes.tensorflow.graph import TensorFlowGraph


def encode_in_graph(encoder: BatchEncoder, images: Any) -> Any:
    """Adds the encoder to the graph that is being traced, or runs it eagerly.

    The encoder gets its own batches, the last of them padded, whatever batch the images come
    in: another batch size would change tokens at rounding boundaries. A TensorFlow graph
    becomes part of the caller's; other runtimes are called from it, in this process.

    Args:
      encoder: The encoder.
      images: uint8 [B, H, W, C], any B, which may be unknown.

    Returns:
      Tokens int32 or int64 [B, rows, columns]. A latent that is NaN or infinite is a
      tf.errors.InvalidArgumentError.

    Raises:
      ValueError: Shape or type of the images is wrong.
    """
    contract, size = encoder.contract, encoder.batch_size
    images = tf.convert_to_tensor(images)
    shape = contract.image.shape
    if images.dtype != tf.uint8 or not images.shape.is_compatible_with([None, *shape]):
        raise ValueError(
            f"images: expected uint8 [B, {', '.join(map(str, shape))}], "
            f"got {images.dtype.name} {images.shape}. Use fsq.images to decode and fit them."
        )
    count = tf.shape(images)[0]
    batches = -(-count // size)
    padding = [[0, batches * size - count], *[[0, 0]] * len(shape)]
    padded = tf.reshape(tf.pad(images, padding), [-1, size, *shape])
    kind = tf.as_dtype(lattice.token_dtype(contract.vocab_size))
    tokens = tf.map_fn(
        lambda batch: _encode_batch(encoder, batch, kind),
        padded,
        fn_output_signature=tf.TensorSpec([size, *contract.grid], kind),
        parallel_iterations=1,
    )
    tokens = tf.reshape(tokens, [-1, *contract.grid])[:count]
    finite = tf.debugging.assert_non_negative(
        tokens, message="encode: expected finite latents, got NaN or infinite ones."
    )
    # Eagerly, the check has been made and is None.
    with tf.control_dependencies([] if finite is None else [finite]):
        tokens = tf.identity(tokens)
    return tf.ensure_shape(tokens, [images.shape[0], *contract.grid])


def _encode_batch(encoder: BatchEncoder, batch: Any, kind: Any) -> Any:
    """Encodes one full batch."""
    if isinstance(encoder.runtime, TensorFlowGraph):
        tokens = encoder.runtime.trace(batch)
    else:
        tokens = tf.numpy_function(encoder.runtime, [batch], kind, stateful=False)
    return tf.ensure_shape(tokens, [encoder.batch_size, *encoder.contract.grid])
