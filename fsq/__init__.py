"""Finite Scalar Quantization: images to integer tokens and back.

`FSQ` is the Keras layer, `ResidualFSQ` its residual variant, `levels_for` chooses levels
for a vocabulary size. They are loaded on first use, so that `import fsq` imports neither
TensorFlow nor Keras.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fsq.version import __version__

if TYPE_CHECKING:
    from fsq.quantizer.fsq_layer import FSQ
    from fsq.quantizer.level_sets import levels_for
    from fsq.quantizer.residual_fsq_layer import ResidualFSQ

__all__ = ["FSQ", "ResidualFSQ", "__version__", "levels_for"]

_MODULES = {
    "FSQ": "fsq.quantizer.fsq_layer",
    "ResidualFSQ": "fsq.quantizer.residual_fsq_layer",
    "levels_for": "fsq.quantizer.level_sets",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'fsq' has no attribute '{name}'")
