"""What became of an import: it loads, it is checked again, it is not trusted more than before."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from builders.weights import forge_tokenizer

from fsq.errors import DataError, RequestError
from fsq.installation import install_command
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.tokenizer import Tokenizer
from pipeline.reports.inspect import inspect_directory


def test_a_saved_import_gives_the_same_bytes_when_saved_again(keras_import, tmp_path: Path):
    tokenizer = keras_import.run()
    tokenizer.save(tmp_path / "again")
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (keras_import.output / name).read_bytes()


@pytest.mark.parametrize("kind", ["keras_import", "torch_import"])
def test_an_import_that_is_pickled_or_copied_gives_the_same_tokens(
    kind: str, request: pytest.FixtureRequest
):
    tokenizer = request.getfixturevalue(kind).run()
    tokens = tokenizer.encode(tokenizer.reference.images)
    for made in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert made.fingerprint == tokenizer.fingerprint
        np.testing.assert_array_equal(made.encode(tokenizer.reference.images), tokens)


def test_a_tokenizer_that_was_given_an_unsafe_graph_is_refused(keras_import, tmp_path: Path):
    tokenizer = keras_import.run()
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
        forged = {**arrays, "encoder": np.frombuffer(data, np.uint8)}
        forge_tokenizer(keras_import.output, forged)
        with pytest.raises(RequestError) as error:
            Tokenizer.load(keras_import.output)
        assert message in str(error.value)
    forge_tokenizer(
        keras_import.output, {**arrays, "reference/images": arrays["reference/images"] / 255}
    )
    with pytest.raises(RequestError, match=r"expected a reference batch of uint8 images and int64"):
        Tokenizer.load(keras_import.output)
    del arrays["reference/tokens"]
    forge_tokenizer(keras_import.output, arrays)
    with pytest.raises(RequestError, match=r"'reference/tokens' is in only one of them"):
        Tokenizer.load(keras_import.output)


def test_without_onnx_runtime_the_extra_is_named(
    torch_import, tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    import importlib.metadata
    import sys

    from pipeline.job.config import TokenizeConfig
    from pipeline.planning.plan import make_plan

    torch_import.run()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RequestError) as error:
        Tokenizer.load(torch_import.output)
    assert str(error.value) == (
        f"{tmp_path}/tokenizer/tokenizer.safetensors: encoder: expected ONNX Runtime to run it, "
        f"found no module 'onnxruntime'. Install the extra: {install_command('onnx')}."
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
            "tokenizer": str(torch_import.output),
            "output": {"directory": str(tmp_path / "out"), "name": "x"},
        }
    )
    with pytest.raises(
        RequestError, match=r"expected the package onnxruntime, .* not installed\. Install"
    ):
        make_plan(config)


def test_inspect_encodes_the_reference_again(keras_import, tmp_path: Path):
    tokenizer = keras_import.run()
    directory = str(keras_import.output)
    assert inspect_directory(directory)[-1] == (
        "reference",
        "1,280 of 1,280 tokens agree (100.00 %)",
    )
    arrays = dict(tokenizer._autoencoder.arrays)
    tokens = arrays["reference/tokens"].copy()
    for wrong, good in ((1, True), (2, False)):  # of 1,280: 0.08 % and 0.16 %
        tokens.flat[:wrong] = (arrays["reference/tokens"].flat[:wrong] + 1) % 60
        forge_tokenizer(keras_import.output, {**arrays, "reference/tokens": tokens})
        if good:
            assert inspect_directory(directory)[-1][1] == "1,279 of 1,280 tokens agree (99.92 %)"
            continue
        with pytest.raises(DataError) as error:
            inspect_directory(directory)
        assert str(error.value).startswith(
            f"{directory}: expected at least 99.9 % of the tokens of its reference batch, "
            "got 99.84 % (1,278 of 1,280). "
        )


def test_tokens_without_a_decoder_cannot_be_decoded(keras_import):
    tokenizer = keras_import.run()
    with pytest.raises(RequestError, match=r"expected a decoder, got a tokenizer that was import"):
        tokenizer.decode(np.zeros((1, 4, 4), int))
