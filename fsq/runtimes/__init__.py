"""Ways to run an encoder fast, behind one small interface.

A runtime is made for one batch size and keeps it: an encoder's last decimals
depend on the batch shape, and at a rounding boundary a last decimal is another
token. They depend on the runtime too, so a dataset keeps to one.
"""

import importlib.util
from typing import Any, Literal, Protocol, get_args

import numpy as np

RuntimeName = Literal["tensorflow", "xla", "openvino", "onnxruntime"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
Precision = Literal["float32", "bfloat16"]
# What must be installed beyond TensorFlow: the package, and the extra that brings it.
NEEDS = {"openvino": ("openvino", "openvino"), "onnxruntime": ("onnxruntime", "onnx")}


class Runtime(Protocol):
    """Runs one full batch; several threads may call it at a time."""

    batch_size: int

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes images, uint8 [batch_size, S, S, C].

        Returns:
          Tokens int32 or int64, [batch_size, rows, columns]; -1 where a latent
          was NaN or infinite.
        """
        ...


def reference_runtime(kind: str) -> RuntimeName:
    """The runtime that others are judged by, for a network of this kind."""
    return "onnxruntime" if kind == "onnx" else "tensorflow"


def is_installed(name: RuntimeName) -> bool:
    """Says whether a runtime's package is there, without loading it."""
    return name not in NEEDS or importlib.util.find_spec(NEEDS[name][0]) is not None


def finite_tokens(quantizer: Any, latents: Any) -> Any:
    """Quantizes latents [..., D]; a NaN or an infinity among them gives the token -1.

    An infinite latent is bounded like any other, to a token that means nothing.
    """
    from keras import ops

    finite = ops.all(ops.isfinite(latents), axis=-1)
    tokens = quantizer.latents_to_indices(latents)
    return ops.where(finite, tokens, ops.cast(-1, tokens.dtype))
