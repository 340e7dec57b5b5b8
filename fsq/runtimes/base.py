"""The runtime interface: what runs one batch, and how a kind of runtime describes itself."""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

Precision = Literal["float32", "bfloat16"]
NetworkKind = Literal["conv", "residual", "tensorflow", "onnx"]
# Everything that can be traced into a TensorFlow graph.
TENSORFLOW_NETWORKS: frozenset[NetworkKind] = frozenset({"conv", "residual", "tensorflow"})


class Runtime(Protocol):
    """An encoder and its quantizer, ready to run; several threads may call it at a time.

    It is made for one batch size and keeps it: an encoder's last decimals depend
    on the batch shape, and at a rounding boundary a last decimal is another
    token. They depend on the runtime too, so a dataset keeps to one.
    """

    batch_size: int

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch.

        Args:
          images: uint8 [batch_size, S, S, C].

        Returns:
          Tokens int32 or int64, [batch_size, rows, columns]; -1 where a latent
          was NaN or infinite.
        """
        ...


class Package(NamedTuple):
    """A package that a runtime needs beyond TensorFlow.

    Attributes:
      name: Its name, to install and to import.
      extra: The extra of this project that installs it.
    """

    name: str
    extra: str


class Serialization(NamedTuple):
    """How runtimes of one kind are stored on disk.

    Attributes:
      to_bytes: Serializes a runtime that `make` returned.
      from_bytes: Makes an equal runtime of the bytes, in the precision given,
        without importing TensorFlow. Raises ValueError if it cannot.
    """

    to_bytes: Callable[[Any], bytes]
    from_bytes: Callable[[bytes, Precision], Runtime]


@dataclasses.dataclass(frozen=True)
class RuntimeKind:
    """A kind of runtime; `registry.RUNTIMES` gives it its name.

    Attributes:
      make: Makes a runtime of an autoencoder, for a batch size and a precision.
        What is heavy is imported inside of it.
      networks: The kinds of network that it runs.
      package: What it needs; None if that is TensorFlow alone.
      precisions: Of the encoder. Latents become tokens in float32 in each.
      reference: Whether its tokens are the correct ones, for its networks. Each
        kind of network has one such runtime, and `auto` always tries it.
      auto_rank: Its place among the others that `auto` may try, the lowest first;
        None if `auto` never does.
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
        """Says whether its package is there, without importing it."""
        return self.package is None or importlib.util.find_spec(self.package.name) is not None
