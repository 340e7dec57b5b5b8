"""Importing: networks from elsewhere give the tokens of their own code, or nothing is written."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import safetensors.numpy
import tensorflow as tf
import yaml

from fsq import FSQ, lattice
from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.errors import DataError, FsqError, RequestError
from fsq.tokenizer import Tokenizer
from pipeline.adopt import adopt_tokenizer, check_output, save_adoption
from pipeline.config import ImportConfig, load_config
from pipeline.inspect import inspect_directory

LEVELS = [5, 4, 3]
TORCH = Path(__file__).parent / "data" / "torch_fsq"


@dataclasses.dataclass(frozen=True)
class Original:
    """A Keras autoencoder that knows nothing of this project, and what it made of some images."""

    encoder: keras.Model
    decoder: keras.Model
    images: np.ndarray
    tokens: np.ndarray

    def latents(self, images: np.ndarray) -> np.ndarray:
        return self.encoder(images.astype("float32") / 255, training=False).numpy()


@pytest.fixture(scope="module")
def original() -> Original:
    keras.utils.set_random_seed(3)
    layers = keras.layers
    encoder = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 4, strides=2, padding="same", activation="gelu"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 4, strides=2, padding="same", activation="silu"),
            layers.LayerNormalization(),
            layers.Conv2D(3, 1),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Conv2DTranspose(8, 4, strides=2, padding="same", activation="relu"),
            layers.UpSampling2D(),
            layers.Conv2D(3, 3, padding="same", activation="sigmoid"),
        ]
    )
    images = np.random.default_rng(1).integers(0, 256, (80, 16, 16, 3), np.uint8)
    made = Original(encoder, decoder, images, np.zeros(0))
    tokens = np.asarray(FSQ(LEVELS, preset="torch").latents_to_indices(made.latents(images)))
    return dataclasses.replace(made, tokens=tokens)


@pytest.fixture(scope="module")
def files(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original, saved in both ways that Keras has, and its reference batch."""
    folder = tmp_path_factory.mktemp("original")
    for name in ("encoder", "decoder"):
        model = getattr(original, name)
        model.save(folder / f"{name}.keras")
        model.export(folder / name, verbose=False)
    np.savez(folder / "reference.npz", images=original.images, tokens=original.tokens)
    return folder


def make_config(folder: Path, files: Path, **changes: Any) -> Path:
    """Writes a config for the Keras file, with changes; None removes a key."""
    config = {
        "encoder": str(files / "encoder.keras"),
        "levels": LEVELS,
        "preset": "torch",
        "image": {"size_pixels": 16, "channels": 3, "pixel_range": [0, 1], "resize": "bicubic"},
        "reference": str(files / "reference.npz"),
        "output": str(folder / "tokenizer"),
    }
    config.update({name: str(v) if isinstance(v, Path) else v for name, v in changes.items()})
    path = folder / "import.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in config.items() if v is not None}))
    return path


def torch_config(folder: Path, **changes: Any) -> Path:
    """The same for the files from PyTorch."""
    image = {"size_pixels": 28, "channels": 1, "pixel_range": [0, 1], "resize": "bicubic"}
    return make_config(
        folder,
        TORCH,
        **{"encoder": TORCH / "encoder.onnx", "levels": [8, 5, 5, 5], "image": image, **changes},
    )


def run_import(config: Path) -> Tokenizer:
    """What `fsq import` does."""
    loaded = load_config(str(config), ImportConfig)
    check_output(loaded)
    save_adoption(loaded, str(config), adopt_tokenizer(loaded))
    return Tokenizer.load(loaded.output)


def refusal(config: Path) -> str:
    """The message of an import that is refused; it is one line, and nothing was written."""
    before = sorted(config.parent.rglob("*"))
    with pytest.raises(FsqError) as error:
        run_import(config)
    assert sorted(config.parent.rglob("*")) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def reference_of(folder: Path, images: np.ndarray, tokens: np.ndarray) -> Path:
    np.savez(folder / "other.npz", images=images, tokens=tokens)
    return folder / "other.npz"


def pack(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Replaces the weights of a tokenizer by others, sha256 and all."""
    data = safetensors.numpy.save(arrays)
    (folder / WEIGHTS_FILE).write_bytes(data)
    contract = json.loads((folder / CONTRACT_FILE).read_text())
    contract["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (folder / CONTRACT_FILE).write_text(json.dumps(contract))


@pytest.mark.parametrize("suffix", [".keras", ""])
def test_a_model_of_tensorflow_gives_its_own_tokens_and_images(
    original: Original, files: Path, tmp_path: Path, suffix: str
):
    config = make_config(
        tmp_path, files, encoder=files / f"encoder{suffix}", decoder=files / f"decoder{suffix}"
    )
    tokenizer = run_import(config)
    others = np.random.default_rng(2).integers(0, 256, (40, 16, 16, 3), np.uint8)
    quantizer = FSQ(LEVELS, preset="torch")
    expected = np.asarray(quantizer.latents_to_indices(original.latents(others)))
    assert (tokenizer.encode(others) == expected).mean() >= 0.999
    decoded = original.decoder(quantizer.indices_to_codes(expected), training=False).numpy()
    np.testing.assert_allclose(tokenizer.decode(expected), decoded * 255, atol=0.51)
    assert sorted(path.name for path in (tmp_path / "tokenizer").iterdir()) == [
        "README.md",
        CONTRACT_FILE,
        WEIGHTS_FILE,
    ]


def test_an_onnx_model_from_pytorch_gives_the_tokens_of_pytorch(tmp_path: Path):
    tokenizer = run_import(torch_config(tmp_path, decoder=TORCH / "decoder.onnx"))
    with np.load(TORCH / "reference.npz") as reference:
        np.testing.assert_array_equal(tokenizer.encode(reference["images"]), reference["tokens"])
        decoded = tokenizer.decode(reference["tokens"]).astype(float)
        assert np.square(decoded - reference["images"]).mean() < 500  # 21 dB: it reconstructs
    assert tokenizer.contract.network.images == "channels_first"


def test_a_saved_import_gives_the_same_bytes_when_saved_again(files: Path, tmp_path: Path):
    tokenizer = run_import(make_config(tmp_path, files))
    tokenizer.save(tmp_path / "again")
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (
            tmp_path / "tokenizer" / name
        ).read_bytes()


def test_the_tokenizers_of_before_read_back_to_the_byte(root: Path):
    from fsq.tokenizer import parse_contract

    for path in (root / "tokenizers").glob(f"*/{CONTRACT_FILE}"):
        contract = parse_contract(path.read_bytes(), str(path))
        assert contract.to_json().encode() == path.read_bytes()
        assert not contract.adopted and contract.has_decoder


@pytest.mark.parametrize(
    ("layers", "grid", "layout"),
    [
        ([keras.layers.Reshape((16, 3))], None, "flat"),
        ([keras.layers.Reshape((16, 3))], [2, 8], "flat"),
        ([keras.layers.Permute((3, 1, 2))], None, "channels_first"),
    ],
)
def test_latents_may_be_flat_or_have_their_channels_first(
    original: Original, files: Path, tmp_path: Path, layers, grid, layout: str
):
    keras.Sequential([keras.Input((16, 16, 3)), original.encoder, *layers]).save(
        tmp_path / "e.keras"
    )
    tokens = original.tokens.reshape(80, *(grid or (4, 4)))
    reference = reference_of(tmp_path, original.images, tokens)
    tokenizer = run_import(
        make_config(tmp_path, files, encoder=tmp_path / "e.keras", grid=grid, reference=reference)
    )
    assert tokenizer.contract.network.latents == layout
    np.testing.assert_array_equal(tokenizer.encode(original.images), tokens)


@pytest.mark.parametrize("first", [False, True])
def test_the_reference_decides_where_a_shape_can_be_read_in_two_ways(
    original: Original, files: Path, tmp_path: Path, first: bool
):
    crop = keras.layers.Cropping2D(((0, 1), (0, 1)))  # 3 x 3 positions, 3 channels
    last = keras.Sequential([keras.Input((16, 16, 3)), original.encoder, crop])
    model = keras.Sequential([last, keras.layers.Permute((3, 1, 2))]) if first else last
    model.save(tmp_path / "e.keras")
    reference = reference_of(tmp_path, original.images, original.tokens[:, :3, :3])
    tokenizer = run_import(
        make_config(tmp_path, files, encoder=tmp_path / "e.keras", reference=reference)
    )
    assert tokenizer.contract.network.latents == ("channels_first" if first else "channels_last")


def test_a_fixed_batch_is_run_as_often_as_needed(tmp_path: Path):
    model = onnx.load(TORCH / "encoder.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "three.onnx")
    tokenizer = run_import(torch_config(tmp_path, encoder=tmp_path / "three.onnx"))
    with np.load(TORCH / "reference.npz") as reference:
        np.testing.assert_array_equal(tokenizer.encode(reference["images"]), reference["tokens"])


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"preset": "atanh"}, "preset: torch"),
        ({"pixel_range": [-1, 1]}, "pixel_range: [0, 1]"),
        ({"preset": "official", "pixel_range": [0, 255]}, "pixel_range: [0, 1] and preset: torch"),
    ],
)
def test_what_would_agree_is_named(tmp_path: Path, changes: dict, remedy: str):
    image = {"size_pixels": 28, "channels": 1, "pixel_range": [0, 1], "resize": "bicubic"}
    image["pixel_range"] = changes.pop("pixel_range", [0, 1])
    message = refusal(torch_config(tmp_path, image=image, **changes))
    assert message.startswith(f"{TORCH}/reference.npz: expected at least 99.9 % of the tokens from")
    assert message.endswith(f" of 6,272). They would agree with {remedy} (100.00 %).")


def test_other_orders_of_channels_and_numbers_are_named(
    original: Original, files: Path, tmp_path: Path
):
    digits = lattice.tokens_to_digits(original.tokens, LEVELS)
    last_fastest = lattice.digits_to_tokens(digits[..., ::-1], LEVELS[::-1])
    for images, tokens, remedy in (
        (original.images[..., ::-1], original.tokens, "takes the channels in reverse, as BGR"),
        (original.images, last_fastest, "tokens numbered with the first channel fastest"),
        (original.images, original.tokens.swapaxes(1, 2), "tokens in rows, not in columns"),
    ):
        reference = reference_of(tmp_path, images, tokens)
        assert remedy in refusal(make_config(tmp_path, files, reference=reference))
    reference = reference_of(tmp_path, original.images, original.tokens[::-1])
    assert "No other preset" in refusal(make_config(tmp_path, files, reference=reference))


def test_an_encoder_with_its_quantizer_inside_is_noticed(
    original: Original, files: Path, tmp_path: Path
):
    keras.Sequential(
        [keras.Input((16, 16, 3)), original.encoder, FSQ(LEVELS, preset="torch")]
    ).save(tmp_path / "e.keras")
    message = refusal(make_config(tmp_path, files, encoder=tmp_path / "e.keras"))
    assert "e.keras: expected latents before FSQ, got just [" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": [5, 4]}, "expected latents with 2 channels, one per level of [5, 4], got the"),
        ({"grid": [2, 4]}, "one per level of [5, 4, 3], on a grid of 2 x 4, got the shape [8, 4,"),
        ({"encoder": "nowhere.keras"}, "nowhere.keras: expected the encoder, found nothing there."),
        ({"decoder": "nowhere.keras"}, "nowhere.keras: expected the decoder, found nothing there."),
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
def test_a_mistake_is_one_line_and_nothing_is_written(files, tmp_path: Path, changes, message):
    assert message in refusal(make_config(tmp_path, files, **changes))


@pytest.mark.parametrize(
    ("images", "tokens", "message"),
    [
        ((4, 16, 16, 3), (4, 3, 3), "expected tokens [4, 4, 4] for the encoder's grid, got [4, 3,"),
        ((4, 16, 16, 3), (3, 4, 4), "expected tokens [4, rows, columns], got [3, 4, 4]."),
        ((0, 16, 16, 3), (0, 4, 4), "images, got 0; they are copied into every dataset."),
        ((4, 8, 8, 3), (4, 4, 4), "expected images uint8 [N, 16, 16, 3], got uint8 [4, 8, 8, 3]."),
    ],
)
def test_a_reference_of_another_shape_is_refused(files, tmp_path, images, tokens, message):
    reference = reference_of(tmp_path, np.zeros(images, np.uint8), np.zeros(tokens, int))
    assert message in refusal(make_config(tmp_path, files, reference=reference))


def test_reference_tokens_outside_the_vocabulary_are_refused(original, files, tmp_path: Path):
    reference = reference_of(tmp_path, original.images, original.tokens + 60)
    message = refusal(make_config(tmp_path, files, reference=reference))
    assert "expected values in [0, 60), got 1280 outside" in message
    np.save(tmp_path / "one.npy", original.images)
    message = refusal(make_config(tmp_path, files, reference=tmp_path / "one.npy"))
    assert message.endswith("one.npy: expected an .npz file of numbers, got: another file.")
    np.savez(tmp_path / "other.npz", images=original.images)
    message = refusal(make_config(tmp_path, files, reference=reference))
    assert "expected the arrays 'images' and 'tokens', got one without the other." in message


def test_a_decoder_of_another_shape_is_refused(original: Original, files: Path, tmp_path: Path):
    keras.Sequential([original.decoder, keras.layers.MaxPool2D()]).save(tmp_path / "d.keras")
    message = refusal(make_config(tmp_path, files, decoder=tmp_path / "d.keras"))
    assert "d.keras: expected images [8, 16, 16, 3], channels moved to the end, from" in message
    keras.Sequential([keras.Input((7, 7, 4)), keras.layers.Flatten()]).save(tmp_path / "d.keras")
    message = refusal(make_config(tmp_path, files, decoder=tmp_path / "d.keras"))
    assert "d.keras: expected a network that takes [8, 4, 4, 3], got: " in message


def test_an_existing_tokenizer_is_not_replaced(files, tokenizer_directory: Path, tmp_path: Path):
    shutil.copytree(tokenizer_directory, tmp_path / "tokenizer")
    assert "expected no tokenizer there, found one." in refusal(make_config(tmp_path, files))


def test_a_model_of_tensorflow_is_from_one_tensor_to_one_for_any_batch(files, tmp_path: Path):
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec(None, tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"other": module.f})
    message = refusal(make_config(tmp_path, files, encoder=tmp_path / "other"))
    assert "expected a signature 'encoder' or 'serving_default', got ['other']." in message

    twice = tf.function(
        lambda x: {"a": x, "b": x}, input_signature=[tf.TensorSpec(None, tf.float32)]
    )
    module.f = twice
    tf.saved_model.save(module, str(tmp_path / "two"), signatures={"encoder": twice})
    message = refusal(make_config(tmp_path, files, encoder=tmp_path / "two"))
    assert "a signature 'encoder' from one tensor to one, got 1 inputs and 2 outputs." in message

    inputs = keras.Input((16, 16, 3), batch_size=8)
    for outputs, message in (
        (keras.layers.AvgPool2D(4)(inputs), "any number of images, got the input shape [8, 16, 16"),
        ([inputs, inputs], "expected a model from one tensor to one, got 1 inputs and 2 outputs."),
    ):
        keras.Model(inputs, outputs).save(tmp_path / "e.keras")
        assert message in refusal(make_config(tmp_path, files, encoder=tmp_path / "e.keras"))


class Unsafe(tf.Module):
    """What a SavedModel could do if it were simply run."""

    def __init__(self, deed: str, marker: Path):
        super().__init__()
        self.deed, self.marker = deed, str(marker)
        if deed == "table":
            keys = tf.lookup.KeyValueTensorInitializer([0], [1.0])
            self.table = tf.lookup.StaticHashTable(keys, 0.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32)])
    def __call__(self, x):
        match self.deed:
            case "write":
                tf.io.write_file(self.marker, "written")
            case "read":
                x += tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)
            case "python":
                x = tf.py_function(lambda v: v, [x], tf.float32)
            case "random":
                x += tf.random.normal(tf.shape(x))
            case "table":
                x += self.table.lookup(tf.constant(0))
        return tf.nn.avg_pool2d(x, 4, 4, "VALID")


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("write", "got the operation 'WriteFile'. Export a network without it."),
        ("read", "got the operation 'ReadFile'."),
        ("python", "got the operation 'EagerPyFunc'."),
        ("random", "got the operation 'RandomStandardNormal'."),
        ("table", "got the operation 'HashTableV2'."),
    ],
)
def test_a_graph_that_does_more_than_compute_is_refused_unrun(
    files: Path, tmp_path: Path, deed: str, message: str
):
    module = Unsafe(deed, tmp_path / "marker")
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.__call__)
    refused = refusal(make_config(tmp_path, files, encoder=tmp_path / "model"))
    assert "model: expected a graph that only computes, " + message in refused
    assert not (tmp_path / "marker").exists()


def test_a_tokenizer_that_was_given_an_unsafe_graph_is_refused(files: Path, tmp_path: Path):
    tokenizer = run_import(make_config(tmp_path, files))
    graph = tf.compat.v1.GraphDef.FromString(tokenizer._autoencoder.arrays["encoder"].tobytes())
    name = graph.node.add(name="name", op="Const")
    name.attr["dtype"].type = tf.string.as_datatype_enum
    name.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/hostname"))
    graph.node.add(name="deed", op="ReadFile", input=["name"])
    arrays = dict(tokenizer._autoencoder.arrays)
    for data, message in (
        (graph.SerializeToString(), "tokenizer.safetensors: encoder: expected a graph that only"),
        (b"\xff" * 20, "tokenizer.safetensors: encoder: expected a TensorFlow graph, got other"),
    ):
        pack(tmp_path / "tokenizer", {**arrays, "encoder": np.frombuffer(data, np.uint8)})
        with pytest.raises(RequestError) as error:
            Tokenizer.load(tmp_path / "tokenizer")
        assert message in str(error.value)
    del arrays["reference/tokens"]
    pack(tmp_path / "tokenizer", arrays)
    with pytest.raises(RequestError, match=r"'reference/tokens' is in only one of them"):
        Tokenizer.load(tmp_path / "tokenizer")


def test_a_keras_file_with_code_inside_is_refused(files: Path, tmp_path: Path):
    keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Lambda(lambda x: x)]).save(
        tmp_path / "e.keras"
    )
    message = refusal(make_config(tmp_path, files, encoder=tmp_path / "e.keras"))
    assert "e.keras: expected a Keras model that loads without code of its own, got: " in message


def onnx_variant(folder: Path, change: str) -> Path:
    """The encoder from PyTorch with something in it that does not belong there."""
    model = onnx.load(TORCH / "encoder.onnx")
    path = folder / f"{change}.onnx"
    match change:
        case "external":
            onnx.save(model, path, save_as_external_data=True, size_threshold=0)
            return path
        case "domain":
            model.graph.node[0].domain = "my.company"
            model.opset_import.add(domain="my.company", version=1)
        case "random":
            model.graph.node.add(op_type="RandomNormal", output=["noise"])
        case "uint8":
            model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
            model.graph.node[0].input[0] = "floats"
            cast = {"inputs": ["images"], "outputs": ["floats"], "to": onnx.TensorProto.FLOAT}
            model.graph.node.insert(0, onnx.helper.make_node("Cast", **cast))
        case "edge":
            model.graph.node[0].input[0] = "nowhere"
        case "outputs":
            model.graph.output.append(model.graph.input[0])
            model.graph.output[1].name = model.graph.node[0].output[0]
            model.graph.output[1].type.tensor_type.ClearField("shape")
        case "bytes":
            path.write_bytes(b"not a model")
            return path
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("external", "expected all weights in this one file, found some outside. Export again"),
        ("domain", "expected the operations of ONNX alone, got 'Conv' of 'my.company'."),
        ("random", "expected the same output each time, got 'RandomNormal'."),
        ("uint8", "expected floats as input, got tensor(uint8). Export the network without the"),
        ("edge", "expected a model that ONNX Runtime 1."),
        ("outputs", "expected a model from one tensor to one, got inputs ['images'] and outputs"),
        ("bytes", "bytes.onnx: expected an ONNX model, got other bytes."),
    ],
)
def test_an_onnx_file_that_is_not_plain_is_refused(tmp_path: Path, change: str, message: str):
    variant = onnx_variant(tmp_path, change)
    assert message in refusal(torch_config(tmp_path, encoder=variant))
    message = refusal(torch_config(tmp_path, decoder=variant))
    assert message.startswith(f"{variant}: expected ")


def test_an_onnx_encoder_of_other_images_is_refused(files: Path, tmp_path: Path):
    message = refusal(make_config(tmp_path, files, encoder=TORCH / "encoder.onnx"))
    assert (
        "expected an encoder of images 16 x 16 x 3, channels first or last, got one of" in message
    )


def test_without_onnx_runtime_the_extra_is_named(
    tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    import importlib.metadata
    import sys

    from pipeline.config import TokenizeConfig
    from pipeline.plan import make_plan

    run_import(torch_config(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RequestError) as error:
        Tokenizer.load(tmp_path / "tokenizer")
    assert str(error.value) == (
        f"{tmp_path}/tokenizer/tokenizer.safetensors: encoder: expected ONNX Runtime to run it, "
        "found no module 'onnxruntime'. Install the extra: pip install 'fsq-tokenizer[onnx]'."
    )
    version = importlib.metadata.version

    def without_onnx(package: str) -> str:
        if package == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError
        return version(package)

    monkeypatch.setattr("importlib.metadata.version", without_onnx)
    config = TokenizeConfig.model_validate(
        {
            "source": {"kind": "image_folder", "directory": str(image_folder)},
            "tokenizer": str(tmp_path / "tokenizer"),
            "output": {"directory": str(tmp_path / "out"), "name": "x"},
        }
    )
    with pytest.raises(RequestError, match=r"expected onnxruntime, .* not installed\. Install"):
        make_plan(config)


def test_inspect_encodes_the_reference_again(files: Path, tmp_path: Path):
    tokenizer = run_import(make_config(tmp_path, files))
    directory = str(tmp_path / "tokenizer")
    assert inspect_directory(directory)[-1] == (
        "reference",
        "1,280 of 1,280 tokens agree (100.00 %)",
    )
    arrays = dict(tokenizer._autoencoder.arrays)
    tokens = arrays["reference/tokens"].copy()
    for wrong, good in ((1, True), (2, False)):  # of 1,280: 0.08 % and 0.16 %
        tokens.flat[:wrong] = (arrays["reference/tokens"].flat[:wrong] + 1) % 60
        pack(tmp_path / "tokenizer", {**arrays, "reference/tokens": tokens})
        if good:
            assert inspect_directory(directory)[-1][1] == "1,279 of 1,280 tokens agree (99.92 %)"
            continue
        with pytest.raises(DataError) as error:
            inspect_directory(directory)
        assert str(error.value).startswith(
            f"{directory}: expected at least 99.9 % of the tokens of its reference batch, "
            "got 99.84 % (1,278 of 1,280). "
        )


def test_tokens_without_a_decoder_cannot_be_decoded(files: Path, tmp_path: Path):
    tokenizer = run_import(make_config(tmp_path, files))
    with pytest.raises(RequestError, match=r"expected one with a decoder, got one that was impor"):
        tokenizer.decode(np.zeros((1, 4, 4), int))
