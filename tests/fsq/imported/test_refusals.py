"""Mistakes in an import: one line each, and nothing is written."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from builders.paths import ROOT

TORCH = ROOT / "tests" / "data" / "torch_fsq"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": [5, 4]}, "expected latents with 2 channels, one per level of [5, 4], got the"),
        ({"grid": [2, 4]}, "one per level of [5, 4, 3], on a grid of 2 x 4, got the shape [8, 4,"),
        ({"encoder": "nowhere.keras"}, "expected the encoder, found nothing there (looked for /"),
        ({"decoder": "nowhere.keras"}, "expected the decoder, found nothing there (looked for /"),
        ({"encoder": Path(__file__)}, "expected a .keras file, an .onnx file or the directory of"),
        ({"encoder": TORCH}, f"{TORCH}: expected a SavedModel, found no saved_model.pb"),
        ({"decoder": TORCH / "decoder.onnx"}, "expected tensorflow like the encoder, got onnx."),
        (
            {"reference": "nowhere.npz"},
            "nowhere.npz: expected an .npz file of numbers, got: No such",
        ),
        ({"reference": Path(__file__)}, "expected an .npz file of numbers, got: another file."),
        ({"reference": TORCH / "reference.npz"}, "images uint8 [N, 16, 16, 3], got uint8 [128, 28"),
        ({"image": {"size_pixels": 16, "channels": 3, "resize": "bicubic"}}, "image.pixel_range"),
        ({"preset": None}, "expected preset, as the encoder was trained with, got none. Add it."),
        ({"preset": "torhc"}, "import.yaml.preset: expected 'atanh', "),
        ({"encodr": "x"}, "import.yaml.encodr: unknown key (did you mean 'encoder'?)"),
        ({"output": Path(__file__)}, "expected a directory that can be written."),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(keras_import, changes, message):
    assert message in keras_import.refusal(**changes)


@pytest.mark.parametrize(
    ("images", "tokens", "message"),
    [
        ((4, 16, 16, 3), (4, 3, 3), "expected tokens [4, 4, 4] for the encoder's grid, got [4, 3,"),
        ((4, 16, 16, 3), (3, 4, 4), "expected tokens [4, rows, columns], got [3, 4, 4]."),
        ((0, 16, 16, 3), (0, 4, 4), "images, got 0; they are copied into every dataset."),
        ((4, 8, 8, 3), (4, 4, 4), "expected images uint8 [N, 16, 16, 3], got uint8 [4, 8, 8, 3]."),
    ],
)
def test_a_reference_of_another_shape_is_refused(keras_import, tmp_path, images, tokens, message):
    reference = keras_import.reference(np.zeros(images, np.uint8), np.zeros(tokens, int))
    assert message in keras_import.refusal(reference=reference)


def test_reference_tokens_outside_the_vocabulary_are_refused(
    keras_import, original, tmp_path: Path
):
    reference = keras_import.reference(original.images, original.tokens + 60)
    message = keras_import.refusal(reference=reference)
    assert "expected values in [0, 60), got 1280 outside" in message
    np.save(tmp_path / "one.npy", original.images)
    message = keras_import.refusal(reference=tmp_path / "one.npy")
    assert message.endswith("one.npy: expected an .npz file of numbers, got: another file.")
    np.savez(tmp_path / "other.npz", images=original.images)
    message = keras_import.refusal(reference=reference)
    assert "expected the arrays 'images' and 'tokens', got one without the other." in message


def test_a_decoder_of_another_shape_is_refused(keras_import, original, tmp_path: Path):
    keras.Sequential([original.decoder, keras.layers.MaxPool2D()]).save(tmp_path / "d.keras")
    message = keras_import.refusal(decoder=tmp_path / "d.keras")
    assert "d.keras: expected images [8, 16, 16, 3], channels moved to the end, from" in message
    keras.Sequential([keras.Input((7, 7, 4)), keras.layers.Flatten()]).save(tmp_path / "d.keras")
    message = keras_import.refusal(decoder=tmp_path / "d.keras")
    assert "d.keras: expected a network that takes [8, 4, 4, 3], got: " in message


def test_an_existing_tokenizer_is_not_replaced(
    keras_import, tokenizer_directory: Path, tmp_path: Path
):
    shutil.copytree(tokenizer_directory, keras_import.output)
    assert "expected no dataset or tokenizer there, found tokenizer.json." in keras_import.refusal()


def test_a_model_of_tensorflow_is_from_one_tensor_to_one_for_any_batch(
    keras_import, tmp_path: Path
):
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec(None, tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"other": module.f})
    message = keras_import.refusal(encoder=tmp_path / "other")
    assert "expected a signature 'encoder' or 'serving_default', got ['other']." in message

    twice = tf.function(
        lambda x: {"a": x, "b": x}, input_signature=[tf.TensorSpec(None, tf.float32)]
    )
    module.f = twice
    tf.saved_model.save(module, str(tmp_path / "two"), signatures={"encoder": twice})
    message = keras_import.refusal(encoder=tmp_path / "two")
    assert "a signature 'encoder' from one tensor to one, got 1 inputs and 2 outputs." in message

    inputs = keras.Input((16, 16, 3), batch_size=8)
    for outputs, message in (
        (keras.layers.AvgPool2D(4)(inputs), "any number of images, got the input shape [8, 16, 16"),
        ([inputs, inputs], "expected a model from one tensor to one, got 1 inputs and 2 outputs."),
    ):
        keras.Model(inputs, outputs).save(tmp_path / "e.keras")
        assert message in keras_import.refusal(encoder=tmp_path / "e.keras")


def test_an_onnx_encoder_of_other_images_is_refused(keras_import):
    message = keras_import.refusal(encoder=TORCH / "encoder.onnx")
    assert (
        "expected an encoder of images 16 x 16 x 3, channels first or last, got one of" in message
    )
