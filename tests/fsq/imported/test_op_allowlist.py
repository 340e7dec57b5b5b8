"""Files that do more than compute are refused before they run."""

from pathlib import Path

import keras
import onnx
import pytest
import tensorflow as tf
from builders.paths import ROOT

TORCH = ROOT / "tests" / "data" / "torch_fsq"


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
    keras_import, tmp_path: Path, deed: str, message: str
):
    module = Unsafe(deed, tmp_path / "marker")
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.__call__)
    refused = keras_import.refusal(encoder=tmp_path / "model")
    assert "model: expected a graph that only computes, " + message in refused
    assert not (tmp_path / "marker").exists()


def test_a_keras_file_with_code_inside_is_refused(keras_import, tmp_path: Path):
    keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Lambda(lambda x: x)]).save(
        tmp_path / "e.keras"
    )
    message = keras_import.refusal(encoder=tmp_path / "e.keras")
    assert (
        "e.keras: expected layers of Keras alone, got a Lambda layer, whose code is not" in message
    )


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
def test_an_onnx_file_that_is_not_plain_is_refused(
    torch_import, tmp_path: Path, change: str, message: str
):
    variant = onnx_variant(tmp_path, change)
    assert message in torch_import.refusal(encoder=variant)
    message = torch_import.refusal(decoder=variant)
    assert message.startswith(f"{variant}: expected ")
