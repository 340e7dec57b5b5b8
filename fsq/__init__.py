"""Finite Scalar Quantization: images to integer tokens and back.

`from fsq import FSQ` gives the Keras layer. It is loaded on first use, so that
`import fsq` stays light: neither TensorFlow nor Keras is imported before.
"""

from typing import TYPE_CHECKING, Any

from fsq.version import __version__

if TYPE_CHECKING:
    from fsq.layers import FSQ

__all__ = ["FSQ", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "FSQ":
        from fsq.layers import FSQ

        return FSQ
    raise AttributeError(f"module 'fsq' has no attribute '{name}'")
