"""What a reference batch proves, and what it does not."""

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from fsq import FSQ
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


def _bfloat16_latents(original) -> np.ndarray:
    """The latents of the original's encoder, all of it computed in bfloat16."""

    def in_precision(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "bfloat16"})

    encoder = keras.models.clone_model(original.encoder, clone_function=in_precision)
    encoder.set_weights(original.encoder.get_weights())
    return np.asarray(encoder(original.images.astype("float32") / 255), "float32")


@pytest.mark.parametrize("preset", ["torch", "symmetric"])
def test_a_reference_in_lower_precision_is_told_from_a_wrong_contract(
    keras_import, original, preset: str
):
    latents = _bfloat16_latents(original)
    tokens = np.asarray(FSQ([5, 4, 3], preset=preset).latents_to_indices(latents))
    message = keras_import.refusal(reference=keras_import.reference(original.images, tokens))
    assert "do so by one step in a digit, next to a rounding boundary: the reference was" in message
    assert "in lower precision (bfloat16, float16, TF32 or autocast). Make it again with" in message
    assert "check levels" not in message
    assert ("With preset: symmetric " in message) == (preset == "symmetric"), message


def test_a_wrong_contract_that_agrees_by_chance_is_not_called_precision(keras_import, original):
    """Nine tokens in ten are right, and the others are one step off, but anywhere in it."""
    random = np.random.default_rng(0)
    wrong = random.random(original.tokens.shape) < 0.1
    digit = original.tokens % 5
    tokens = original.tokens + np.where(wrong, np.where(digit < 4, 1, -1), 0)
    message = keras_import.refusal(reference=keras_import.reference(original.images, tokens))
    assert message.endswith("check levels, and that the encoder ends where FSQ begins.")


class Scale(keras.layers.Layer):
    """A layer that Keras knows nothing of."""

    def call(self, values):
        return 2 * values


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (Scale, "the custom layer 'Scale'"),
        (lambda: keras.layers.Lambda(lambda values: 2 * values), "a Lambda layer"),
        (
            lambda: keras.layers.Activation(_registered(_twice)),
            "the custom function '_twice'",
        ),
    ],
)
def test_a_layer_whose_code_is_not_in_the_file_is_named_with_the_way_on(
    keras_import, original, tmp_path: Path, layer, named: str
):
    path = tmp_path / "custom.keras"
    keras.Sequential([keras.Input((16, 16, 3)), *original.encoder.layers, layer()]).save(path)
    keras.saving.get_custom_objects().pop("mine>_twice", None)
    assert keras_import.refusal(encoder=path) == (
        f"{path}: expected layers of Keras alone, got {named}, whose code is not in the file. "
        "Export a SavedModel where that code is, with model.export(DIRECTORY), and give the "
        "directory as encoder."
    )


_registered = keras.saving.register_keras_serializable("mine")


def _twice(values):
    return 2 * values


@pytest.mark.parametrize("kind", ["keras", "saved_model", "onnx"])
def test_an_encoder_that_ends_in_tokens_is_called_so(
    keras_import, torch_import, original, tmp_path: Path, kind: str
):
    match kind:
        case "keras":
            path, job = tmp_path / "tokens.keras", keras_import
            inputs = keras.Input((16, 16, 3))
            tokens = keras.ops.cast(original.encoder(inputs)[..., 0], "int64")
            keras.Model(inputs, tokens).save(path)
        case "saved_model":
            path, job = tmp_path / "tokens", keras_import
            module = tf.Module()
            module.encoder = original.encoder
            module.f = tf.function(
                lambda x: tf.cast(original.encoder(x, training=False)[..., 0], tf.int32),
                input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32)],
                autograph=False,
            )
            tf.saved_model.save(module, str(path), signatures=module.f)
        case "onnx":
            path, job = tmp_path / "tokens.onnx", torch_import
            model = onnx.load(job.config["encoder"])
            (output,) = model.graph.output
            whole = onnx.TensorProto.INT64
            node = onnx.helper.make_node("Cast", [output.name], ["tokens"], to=whole)
            model.graph.node.append(node)
            ends = onnx.helper.make_tensor_value_info("tokens", whole, None)
            del model.graph.output[:]
            model.graph.output.append(ends)
            onnx.save(model, path)
    message = job.refusal(encoder=path)
    assert message.startswith(f"{path}: expected latents as floats, got ")
    assert message.endswith(": the encoder ends in tokens. Export it up to where FSQ begins.")
