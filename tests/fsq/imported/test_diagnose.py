"""What a reference batch proves, and what it does not."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.tokenizers.config import ImportConfig
from pipeline.tokenizers.import_external import describe_agreement, import_tokenizer


@pytest.mark.parametrize("count", [20, 32])
def test_an_encoder_that_looks_at_the_rest_of_its_batch_is_refused(
    keras_import, original, tmp_path: Path, count: int
):
    """As one with batch normalisation does that was exported for training."""

    class Centred(tf.Module):
        def __init__(self):
            self.encoder = original.encoder

        @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32)])
        def __call__(self, images):
            latents = self.encoder(images, training=False)
            return 3 * (latents - tf.reduce_mean(latents, axis=0, keepdims=True))

    module = Centred()
    folder = tmp_path / "centred"
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    images = original.images[:count]
    latents = module(tf.constant(images / 255, tf.float32))
    tokens = np.asarray(original.quantizer.latents_to_indices(latents))
    message = keras_import.refusal(encoder=folder, reference=keras_import.reference(images, tokens))
    assert "centred: expected tokens that do not depend on the other images of a batch" in message


def test_a_reference_that_is_too_small_to_tell_presets_apart_says_so(keras_import, original):
    one = keras_import.reference(original.images[:1], original.tokens[:1])
    small = ImportConfig(**{**keras_import.config, "reference": str(one)})
    assert "16 of 16 tokens agree (100.00 %); as many with the preset " in describe_agreement(
        import_tokenizer(small)
    )
    whole = describe_agreement(import_tokenizer(ImportConfig(**keras_import.config)))
    assert whole == "1,280 of 1,280 tokens agree (100.00 %)"


def test_latents_that_are_nan_are_called_so(keras_import, original, tmp_path: Path):
    module = tf.Module()
    module.f = tf.function(
        lambda x: original.encoder(x, training=False) * float("nan"),
        input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32)],
        autograph=False,
    )
    module.encoder = original.encoder
    tf.saved_model.save(module, str(tmp_path / "nan"), signatures=module.f)
    message = keras_import.refusal(encoder=tmp_path / "nan")
    assert "nan: expected finite latents from the reference images" in message
