"""Channel layout of a tensor: data format and split into codebooks."""

import dataclasses
from typing import Any

from keras import ops

from fsq.quantizer import lattice
from fsq.quantizer.lattice import Levels


@dataclasses.dataclass(frozen=True)
class Channels:
    """c codebooks of D channels each, in the last dimension or the one after the batch.

    Inside a layer channels are last and, with several codebooks, split: [..., c, D].
    """

    levels: Levels
    num_codebooks: int = 1
    data_format: str = "channels_last"

    def __post_init__(self) -> None:
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "data_format: expected 'channels_last' or 'channels_first', "
                f"got {self.data_format!r}."
            )

    @property
    def count(self) -> int:
        """Number of channels, c * D."""
        return self.num_codebooks * len(self.levels)

    def check(self, shape: Any, dim: int | None = None) -> None:
        """Raises a ValueError unless there are c * D channels, or `dim` if given."""
        shape = tuple(shape)
        first = self.data_format == "channels_first" and len(shape) > 1
        if not first and dim is None and self.num_codebooks == 1:
            lattice.check_channels(shape, self.levels)
        expected = self.count if dim is None else dim
        found = None if not shape else shape[1] if first else shape[-1]
        if found != expected:
            codebooks = f" and {self.num_codebooks} codebooks" if self.num_codebooks > 1 else ""
            reason = f"levels {list(self.levels)}{codebooks}" if dim is None else f"dim={dim}"
            raise ValueError(
                f"FSQ: expected {expected} channels in "
                f"{'dimension 1' if first else 'the last dimension'} for {reason}, "
                f"got {found} in shape {shape}."
            )

    def check_tokens(self, shape: Any) -> None:
        """Raises a ValueError unless there is a token per codebook, if there are several."""
        shape = tuple(shape)
        if self.num_codebooks > 1 and shape[-1:] != (self.num_codebooks,):
            raise ValueError(
                f"tokens: expected {self.num_codebooks} in the last dimension, one per codebook, "
                f"got shape {shape}."
            )

    def to_last(self, x: Any) -> Any:
        """Moves the channels of a tensor to the last dimension."""
        return ops.moveaxis(x, 1, -1) if self._moves(x) else x

    def from_last(self, x: Any) -> Any:
        """Undoes `to_last`."""
        return ops.moveaxis(x, -1, 1) if self._moves(x) else x

    def split(self, x: Any) -> Any:
        """Splits [..., c * D] to [..., c, D]; with one codebook the shape stays."""
        if self.num_codebooks == 1:
            return x
        return ops.reshape(x, (*ops.shape(x)[:-1], self.num_codebooks, len(self.levels)))

    def join(self, x: Any) -> Any:
        """Undoes `split`."""
        return x if self.num_codebooks == 1 else ops.reshape(x, (*ops.shape(x)[:-2], self.count))

    def _moves(self, x: Any) -> bool:
        return self.data_format == "channels_first" and len(x.shape) > 2
