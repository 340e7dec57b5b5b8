"""Imported encoders for images of another size: those of any size, and those of one."""

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from builders.jobs import MakeConfig

from fsq import FSQ
from fsq.dataset import TokenBatches
from fsq.errors import RequestError
from fsq.images.decode import decode_image
from fsq.images.resampling import fit_image
from fsq.images.spec import ImageSpec
from fsq.imported.importer import import_networks
from fsq.imported.reference_batch import Reference
from fsq.spec.contract import QuantizerSpec
from fsq.tokenizer import Tokenizer
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize

LEVELS = (5, 4, 3)
KERNEL = np.random.default_rng(4).normal(0, 0.2, (4, 4, 3, 3)).astype(np.float32)


def latents_of(images: np.ndarray) -> np.ndarray:
    """A patch of 4 x 4 pixels, flat, times a matrix."""
    count, height, width, _ = images.shape
    floats = images.astype(np.float32) / np.float32(127.5) - 1
    patches = floats.reshape(count, height // 4, 4, width // 4, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    return patches.reshape(*patches.shape[:3], -1) @ KERNEL.reshape(-1, 3)


def tokens_of(images: np.ndarray) -> np.ndarray:
    return np.asarray(FSQ(LEVELS).latents_to_indices(latents_of(images)))


def save_keras(path: Path, side: int | None) -> Path:
    encoder = keras.Sequential(
        [keras.Input((side, side, 3)), keras.layers.Conv2D(3, 4, strides=4, use_bias=False)]
    )
    encoder.set_weights([KERNEL])
    encoder.save(path / "encoder.keras")
    return path / "encoder.keras"


def save_onnx(path: Path, side: int | None) -> Path:
    kernel = onnx.numpy_helper.from_array(KERNEL.transpose(3, 2, 0, 1).copy(), "kernel")
    node = onnx.helper.make_node("Conv", ["images", "kernel"], ["latents"], strides=[4, 4])
    sides, grid = (["h", "w"], ["r", "c"]) if side is None else ([side] * 2, [side // 4] * 2)
    images, latents = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3, *shape])
        for name, shape in (("images", sides), ("latents", grid))
    )
    graph = onnx.helper.make_graph([node], "encoder", [images], [latents], [kernel])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.save(model, path / "encoder.onnx")
    return path / "encoder.onnx"


def imported(encoder: Path) -> Tokenizer:
    images = np.random.default_rng(5).integers(0, 256, (8, 16, 16, 3), np.uint8)
    spec = QuantizerSpec(levels=LEVELS, image=ImageSpec(size_pixels=16, channels=3))
    reference = Reference(images, tokens_of(images))
    networks = import_networks(
        spec, str(encoder), None, grid=None, reference=reference, reference_path="reference.npz"
    )
    return Tokenizer.of(networks, batch_size=8)


@pytest.mark.parametrize("save", [save_keras, save_onnx])
def test_a_graph_of_any_size_gives_rows_and_columns_of_tokens(save, tmp_path: Path):
    tokenizer = imported(save(tmp_path, None)).at_size(12, 20)
    images = np.random.default_rng(6).integers(0, 256, (9, 12, 20, 3), np.uint8)
    tokens = tokenizer.encode(images)
    assert tokens.shape == (9, 3, 5)
    assert (tokens == tokens_of(images)).mean() > 0.99  # but for rounding errors at boundaries
    assert (tokenizer.reference, tokenizer.contract.stride) == (None, (4, 4))
    with pytest.raises(RequestError, match=r"no reference batch\. Save or copy"):
        tokenizer.save(tmp_path / "saved")


@pytest.mark.parametrize("save", [save_keras, save_onnx])
def test_a_graph_of_one_size_is_refused_in_one_line(save, tmp_path: Path):
    tokenizer = imported(save(tmp_path, 16))
    with pytest.raises(RequestError) as error:
        tokenizer.at_size(12, 20)
    message = str(error.value)
    assert message.startswith("tokenizer: expected an encoder of images of any size, which gives ")
    assert message.endswith("networks that 'fsq train' makes take any size.")
    assert "\n" not in message


@pytest.mark.parametrize("save", [save_keras, save_onnx])
def test_a_job_with_buckets_takes_graphs_of_any_size(
    save, tmp_path: Path, make_config: MakeConfig, image_folder: Path
):
    imported(save(tmp_path, None)).save(tmp_path / "tokenizer")
    config = make_config(tokenizer=tmp_path / "tokenizer", buckets=[[16, 16], [12, 20], [24, 12]])
    summary = tokenize(config)
    assert (summary.records, list(verify_dataset(summary.directory))) == (100, [])
    same = total = 0
    for batch in TokenBatches(summary.directory, batch_size=16):
        for key, grid, found in zip(batch["key"], batch["grid"], batch["tokens"], strict=True):
            pixels = decode_image((image_folder / key.decode()).read_bytes(), 3)
            size = tuple((grid * 4).tolist())
            expected = tokens_of(fit_image(pixels, ImageSpec(size=size, channels=3))[None])
            same, total = same + int((expected.ravel() == found).sum()), total + len(found)
    assert same > 0.99 * total  # but for rounding errors at boundaries


def test_a_job_with_buckets_refuses_a_graph_of_one_size_before_it_writes(
    tmp_path: Path, make_config: MakeConfig
):
    imported(save_onnx(tmp_path, 16)).save(tmp_path / "tokenizer")
    config = make_config(tokenizer=tmp_path / "tokenizer", buckets=[[16, 16], [12, 20]])
    with pytest.raises(RequestError, match=r"^tokenizer: expected an encoder of images of any "):
        tokenize(config)
    assert list((tmp_path / "out").rglob("*")) == []


def test_a_size_that_the_stride_does_not_divide_is_refused(tmp_path: Path):
    with pytest.raises(RequestError) as error:
        imported(save_onnx(tmp_path, None)).at_size(12, 18)
    assert str(error.value) == (
        "tokenizer: expected multiples of the encoder's stride, 4 x 4 pixels per token, "
        "got 12 x 18."
    )
