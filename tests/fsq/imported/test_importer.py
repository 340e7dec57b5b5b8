"""Imported networks give the tokens and images of their own code, or what is wrong is named."""

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from builders.paths import ROOT

from fsq import FSQ
from fsq.quantizer import lattice
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.tokenizer import Tokenizer

LEVELS = [5, 4, 3]
TORCH = ROOT / "tests" / "data" / "torch_fsq"


@pytest.mark.parametrize("suffix", [".keras", ""])
def test_a_model_of_tensorflow_gives_its_own_tokens_and_images(
    keras_import, original, files: Path, tmp_path: Path, suffix: str
):
    tokenizer = keras_import.run(
        encoder=files / f"encoder{suffix}", decoder=files / f"decoder{suffix}"
    )
    others = np.random.default_rng(2).integers(0, 256, (40, 16, 16, 3), np.uint8)
    quantizer = FSQ(LEVELS, preset="torch")
    expected = np.asarray(quantizer.latents_to_indices(original.latents(others)))
    assert (tokenizer.encode(others) == expected).mean() >= 0.999
    decoded = original.decoder(quantizer.indices_to_codes(expected), training=False).numpy()
    np.testing.assert_allclose(tokenizer.decode(expected), decoded * 255, atol=0.51)
    assert sorted(path.name for path in (keras_import.output).iterdir()) == [
        "README.md",
        CONTRACT_FILE,
        WEIGHTS_FILE,
    ]


def test_an_onnx_model_from_pytorch_gives_the_tokens_of_pytorch(torch_import):
    tokenizer = torch_import.run(decoder=TORCH / "decoder.onnx")
    with np.load(TORCH / "reference.npz") as reference:
        np.testing.assert_array_equal(tokenizer.encode(reference["images"]), reference["tokens"])
        decoded = tokenizer.decode(reference["tokens"]).astype(float)
        assert np.square(decoded - reference["images"]).mean() < 500  # 21 dB: it reconstructs
    assert tokenizer.contract.network.images == "channels_first"


def test_the_tokenizers_of_before_read_back_to_the_byte(root: Path):
    from fsq.spec.serialization import parse_contract

    for path in (root / "tokenizers").glob(f"*/{CONTRACT_FILE}"):
        contract = parse_contract(path.read_bytes(), str(path))
        assert contract.to_json().encode() == path.read_bytes()
        assert not contract.imported and contract.has_decoder


@pytest.mark.parametrize(
    ("layers", "grid", "layout"),
    [
        ([keras.layers.Reshape((16, 3))], None, "flat"),
        ([keras.layers.Reshape((16, 3))], [2, 8], "flat"),
        ([keras.layers.Permute((3, 1, 2))], None, "channels_first"),
    ],
)
def test_latents_may_be_flat_or_have_their_channels_first(
    keras_import, original, tmp_path: Path, layers, grid, layout: str
):
    keras.Sequential([keras.Input((16, 16, 3)), original.encoder, *layers]).save(
        tmp_path / "e.keras"
    )
    tokens = original.tokens.reshape(80, *(grid or (4, 4)))
    reference = keras_import.reference(original.images, tokens)
    tokenizer = keras_import.run(encoder=tmp_path / "e.keras", grid=grid, reference=reference)
    assert tokenizer.contract.network.latents == layout
    np.testing.assert_array_equal(tokenizer.encode(original.images), tokens)


@pytest.mark.parametrize("first", [False, True])
def test_the_reference_decides_where_a_shape_can_be_read_in_two_ways(
    keras_import, original, tmp_path: Path, first: bool
):
    crop = keras.layers.Cropping2D(((0, 1), (0, 1)))  # 3 x 3 positions, 3 channels
    last = keras.Sequential([keras.Input((16, 16, 3)), original.encoder, crop])
    model = keras.Sequential([last, keras.layers.Permute((3, 1, 2))]) if first else last
    model.save(tmp_path / "e.keras")
    reference = keras_import.reference(original.images, original.tokens[:, :3, :3])
    tokenizer = keras_import.run(encoder=tmp_path / "e.keras", reference=reference)
    assert tokenizer.contract.network.latents == ("channels_first" if first else "channels_last")


def test_a_fixed_batch_is_run_as_often_as_needed(torch_import, tmp_path: Path):
    model = onnx.load(TORCH / "encoder.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "three.onnx")
    tokenizer = torch_import.run(encoder=tmp_path / "three.onnx")
    with np.load(TORCH / "reference.npz") as reference:
        np.testing.assert_array_equal(tokenizer.encode(reference["images"]), reference["tokens"])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_tokens_of_an_onnx_model_depend_on_neither_threads_nor_batch(
    torch_import, monkeypatch: pytest.MonkeyPatch, threads: int
):
    import tensorflow as tf

    torch_import.run()
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: threads)
    with np.load(TORCH / "reference.npz") as reference:
        images, tokens = reference["images"], reference["tokens"]
    for batch_size in (8, 50, 256):
        tokenizer = Tokenizer.load(torch_import.output, batch_size=batch_size)
        np.testing.assert_array_equal(tokenizer.encode(images), tokens)


@pytest.mark.parametrize(
    ("changes", "change"),
    [
        ({"preset": "atanh"}, "preset: torch"),
        ({"pixel_range": [-1, 1]}, "pixel_range: [0, 1]"),
        ({"preset": "official", "pixel_range": [0, 255]}, "pixel_range: [0, 1] and preset: torch"),
    ],
)
def test_what_would_agree_is_named(torch_import, changes: dict, change: str):
    image = {"size_pixels": 28, "channels": 1, "pixel_range": [0, 1], "resize": "bicubic"}
    image["pixel_range"] = changes.pop("pixel_range", [0, 1])
    message = torch_import.refusal(image=image, **changes)
    assert message.startswith(f"{TORCH}/reference.npz: expected at least 99.9 % of the tokens from")
    assert message.endswith(f" of 6,272). They would agree with {change} (100.00 %).")


def test_other_orders_of_channels_and_numbers_are_named(keras_import, original, tmp_path: Path):
    digits = lattice.tokens_to_digits(original.tokens, LEVELS)
    last_fastest = lattice.digits_to_tokens(digits[..., ::-1], LEVELS[::-1])
    for images, tokens, change in (
        (original.images[..., ::-1], original.tokens, "takes the channels in reverse, as BGR"),
        (original.images, last_fastest, "tokens numbered with the first channel fastest"),
        (original.images, original.tokens.swapaxes(1, 2), "tokens in rows, not in columns"),
    ):
        reference = keras_import.reference(images, tokens)
        assert change in keras_import.refusal(reference=reference)
    reference = keras_import.reference(original.images, original.tokens[::-1])
    assert "No other preset" in keras_import.refusal(reference=reference)


def test_an_encoder_with_its_quantizer_inside_is_noticed(keras_import, original, tmp_path: Path):
    keras.Sequential(
        [keras.Input((16, 16, 3)), original.encoder, FSQ(LEVELS, preset="torch")]
    ).save(tmp_path / "e.keras")
    message = keras_import.refusal(encoder=tmp_path / "e.keras")
    assert "e.keras: expected latents before FSQ, got just [" in message
