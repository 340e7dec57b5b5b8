"""Runtime interface: encoding one batch, and the description of a kind of runtime."""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

Precision = Literal["float32", "bfloat16"]
NetworkKind = Literal["conv", "residual", "tensorflow", "onnx"]
# Networks that can be traced into a TensorFlow graph.
TENSORFLOW_NETWORKS: frozenset[NetworkKind] = frozenset({"conv", "residual", "tensorflow"})


class Runtime(Protocol):
    """An encoder and its quantizer, ready to run; thread-safe.

    Made for one fixed batch size: the rounding errors of an encoder depend on the
    batch shape, and near a rounding boundary they change the token. They depend on
    the runtime too, so a dataset is encoded by one runtime.
    """

    batch_size: int

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch.

        Args:
          images: uint8 [batch_size, H, W, C].

        Returns:
          Tokens int32 or int64, [batch_size, rows, columns]; -1 where a latent
          was NaN or infinite.
        """
        ...


class Package(NamedTuple):
    """A package that a runtime needs beyond TensorFlow.

    Attributes:
      name: Name to install and to import it by.
      extra: Extra of this project that installs it.
    """

    name: str
    extra: str


class Serialization(NamedTuple):
    """How runtimes of one kind are stored on disk.

    Attributes:
      to_bytes: Serializes a runtime that `make` returned.
      from_bytes: Makes an equal runtime from the bytes and a precision, without
        importing TensorFlow. Raises ValueError if it cannot.
    """

    to_bytes: Callable[[Any], bytes]
    from_bytes: Callable[[bytes, Precision], Runtime]


@dataclasses.dataclass(frozen=True)
class RuntimeKind:
    """A kind of runtime; its name is the key in `registry.RUNTIMES`.

    Attributes:
      make: Makes a runtime from an autoencoder, a batch size and a precision.
        Imports heavy packages only when called.
      networks: Kinds of network that it runs.
      package: Package that it needs; None if TensorFlow suffices.
      precisions: Precisions of the encoder. The quantizer always runs in float32.
      reference: Whether its tokens are the correct ones for its networks. Each
        kind of network has one such runtime, and `auto` always tries it.
      auto_rank: Rank among the other runtimes that `auto` may try, lowest first;
        None if `auto` never tries it.
      serialization: How it is cached on disk; None if it is not.
    """

    make: Callable[[Any, int, Precision], Runtime]
    networks: frozenset[NetworkKind]
    package: Package | None = None
    precisions: tuple[Precision, ...] = ("float32",)
    reference: bool = False
    auto_rank: int | None = None
    serialization: Serialization | None = None

    def is_installed(self) -> bool:
        """Returns whether its package is installed, without importing it."""
        return self.package is None or importlib.util.find_spec(self.package.name) is not None
