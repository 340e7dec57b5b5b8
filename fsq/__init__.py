"""Finite Scalar Quantization: images to integer tokens and back.

`FSQ` is the Keras layer, `ResidualFSQ` its residual variant, `levels_for` chooses levels
for a vocabulary size. They are loaded on first use, so that `import fsq` imports neither
TensorFlow nor Keras.
"""

from typing import TYPE_CHECKING

from fsq.lazy_exports import lazy_exports
from fsq.version import __version__

if TYPE_CHECKING:
    from fsq.quantizer.fsq_layer import FSQ
    from fsq.quantizer.level_sets import levels_for
    from fsq.quantizer.residual_fsq_layer import ResidualFSQ

__all__ = ["FSQ", "ResidualFSQ", "__version__", "levels_for"]

__getattr__ = lazy_exports(
    __name__,
    {
        "FSQ": "quantizer.fsq_layer",
        "ResidualFSQ": "quantizer.residual_fsq_layer",
        "levels_for": "quantizer.level_sets",
    },
)
