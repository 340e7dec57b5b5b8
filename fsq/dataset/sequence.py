"""Training sequences of a prior: image tokens with BOS, class, caption, end and padding.

[bos] [class | caption] tokens [end]      one image
[image] [image] ... [pad] ...             several, packed to a length
"""

import dataclasses
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np

from fsq.dataset.argument_checks import check_whole
from fsq.dataset.block_reader import Columns
from fsq.dataset.example.decoder import Field
from fsq.dataset.open_dataset import OpenedDataset
from fsq.dataset.records import FeatureKind
from fsq.errors import DataError, RequestError
from fsq.quantizer import lattice

LABEL = "label"
_MOST_TOKENS = 2**63 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption before the tokens of its image.

    Attributes:
      encode: Maps a text to at most `length` tokens.
      length: Tokens of every caption, with padding.
      vocab_size: Caption tokens are in [0, vocab_size).
      pad: Token that fills up a short caption.
      field: Name of the text feature in the records.
    """

    encode: Callable[[str], Sequence[int]]
    length: int
    vocab_size: int
    pad: int = 0
    field: str = "caption"

    def __post_init__(self) -> None:
        for name in ("length", "vocab_size", "pad"):
            value = check_whole(f"sequence.caption.{name}", getattr(self, name), least=0)
            object.__setattr__(self, name, value)
        if not callable(self.encode):
            raise RequestError(
                "sequence.caption.encode: expected a function from text to tokens, "
                f"got {self.encode!r}. Pass one."
            )

    def __repr__(self) -> str:
        # The function by its name: its address is another in each process.
        encode = getattr(self.encode, "__qualname__", type(self.encode).__qualname__)
        numbers = f"length={self.length}, vocab_size={self.vocab_size}, pad={self.pad}"
        return f"Caption(encode={encode}, {numbers}, field={self.field!r})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceSpec:
    """The parts of an image's sequence, in their order; parts that are None are left out.

    Attributes:
      bos: Token at the beginning.
      class_offset: Adds the class token `class_offset + label`.
      num_classes: Number of classes, if the dataset has no class names.
      caption: Adds the tokens of a caption.
      token_offset: Offset added to the image tokens.
      end: Token after the image tokens.
      length: Tokens per sequence, into which as many images as fit are packed.
      pad: Token that fills the rest of the sequence; required with `length`.

    >>> spec = SequenceSpec(class_offset=0, token_offset=10)  # ten classes, then the codes
    """

    bos: int | None = None
    class_offset: int | None = None
    num_classes: int | None = None
    caption: Caption | None = None
    token_offset: int = 0
    end: int | None = None
    length: int | None = None
    pad: int | None = None

    def __post_init__(self) -> None:
        for name in ("bos", "class_offset", "num_classes", "token_offset", "end", "length", "pad"):
            if (value := getattr(self, name)) is not None:
                least = 1 if name == "num_classes" else None
                object.__setattr__(self, name, check_whole(f"sequence.{name}", value, least=least))
        if not isinstance(self.caption, Caption | None):
            raise RequestError(
                f"sequence.caption: expected a Caption, got {self.caption!r}. Pass a Caption."
            )


class Layout:
    """The layout of a dataset's sequences: a `SequenceSpec` checked against the dataset.

    With buckets, of the images of one grid.

    Attributes:
      image_length: Tokens of one image with its BOS, class, caption and end.
      images: Images per sequence.
      length: Tokens per sequence.
      vocab_size: Tokens of a sequence are in [0, vocab_size).
      dtype: int32, or int64 beyond 2**31 - 1 tokens.
      wanted: Names of the fields to read.

    Raises:
      RequestError: The spec does not fit the dataset, or token ranges overlap.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        dataset: OpenedDataset,
        *,
        with_labels: bool,
        grid: tuple[int, int] | None = None,
    ):
        if not isinstance(spec, SequenceSpec):
            raise RequestError(
                f"sequence: expected a SequenceSpec or None, got {spec!r}. Pass a SequenceSpec."
            )
        self._spec, self._dataset, self._with_labels = spec, dataset, with_labels
        self.wanted = ["tokens"]
        if with_labels or spec.class_offset is not None:
            self.wanted.append(_known(LABEL, dataset, "int64"))
        self._num_classes = 0
        if spec.class_offset is not None:
            self._num_classes = spec.num_classes or dataset.num_classes or 0
            if self._num_classes < 1:
                raise RequestError(
                    "sequence.num_classes: expected the number of classes, because "
                    f"{dataset.directory} has no class names, got {spec.num_classes}. Set it."
                )
        if spec.caption is not None:
            self.wanted.append(_known(spec.caption.field, dataset, "bytes"))
        self.vocab_size = self._check_tokens()
        self.dtype = np.dtype(lattice.token_dtype(self.vocab_size))
        parts = {
            "BOS": int(spec.bos is not None),
            "class": int(spec.class_offset is not None),
            "caption": spec.caption.length if spec.caption else 0,
            "image": math.prod(grid or dataset.contract.grid),
            "end": int(spec.end is not None),
        }
        self.image_length = sum(parts.values())
        self.length = self.image_length if spec.length is None else spec.length
        self.images = self.length // self.image_length
        if self.images < 1:
            sum_of_parts = " + ".join(f"{size} {name}" for name, size in parts.items() if size)
            raise RequestError(
                f"sequence.length: expected at least {self.image_length} ({sum_of_parts}), "
                f"got {self.length}. Raise it."
            )

    def element_spec(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Returns dtype and shape, without the batch dimension, of what `lay_out` returns."""
        packed = self._spec.length is not None
        found: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
            "tokens": (self.dtype, (self.length,))
        }
        if packed:
            found["segments"] = (np.dtype(np.int32), (self.length,))
        if self._with_labels:
            found["label"] = (np.dtype(np.int64), (self.images,) if packed else ())
        return found

    def lay_out(self, columns: Columns) -> dict[str, np.ndarray]:
        """Builds sequences from records.

        Args:
          columns: Fields of R records, at least `wanted`.

        Returns:
          'tokens' [S, length]; with labels, 'label' int64 [R]. If images are packed,
          S = R / images, rounded up; 'segments' int32 [S, length] numbers the images of a
          sequence from 1, 0 for padding; 'label' is [S, images], -1 where there is no image.

        Raises:
          DataError: A label or a caption token is out of range.
        """
        spec = self._spec
        count = len(columns["tokens"])
        images = np.empty((count, self.image_length), self.dtype)
        at = 0
        for piece in self._pieces(columns):
            width = piece.shape[-1]
            images[:, at : at + width] = piece
            at += width
        found = {"tokens": images}
        if self._with_labels:
            found[LABEL] = columns[LABEL]
        if spec.length is None:
            return found
        sequences = -(-count // self.images)
        rest = sequences * self.images - count
        number = np.arange(sequences * self.images, dtype=np.int32) % self.images + 1
        number[count:] = 0
        segments = np.repeat(number[:, None], self.image_length, axis=1)
        found["tokens"] = self._pack(images, sequences, spec.pad)
        found["segments"] = self._pack(segments, sequences, 0)
        if self._with_labels:
            labels = np.append(columns[LABEL], np.full(rest, -1))
            found[LABEL] = labels.reshape(sequences, self.images)
        return found

    def _pieces(self, columns: Columns) -> list[np.ndarray]:
        """Returns the parts of the sequences: rows [R, n], or [n] if equal for all images."""
        spec = self._spec
        pieces = [] if spec.bos is None else [np.array([spec.bos])]
        if spec.class_offset is not None:
            label = columns[LABEL]
            outside = (label < 0) | (label >= self._num_classes)
            if outside.any():
                raise DataError(
                    f"{self._dataset.directory}: expected labels in [0, {self._num_classes}), "
                    f"got {label[outside][0]}. Read it without class_offset."
                )
            pieces.append(label[:, None] + spec.class_offset)
        if spec.caption is not None:
            pieces.append(self._captions(columns[spec.caption.field], spec.caption))
        # Added in the wider dtype: the stored one may overflow.
        pieces.append(columns["tokens"].astype(self.dtype) + self.dtype.type(spec.token_offset))
        return pieces if spec.end is None else [*pieces, np.array([spec.end])]

    def _captions(self, texts: np.ndarray, caption: Caption) -> np.ndarray:
        found = np.full((len(texts), caption.length), caption.pad, self.dtype)
        for row, data in zip(found, texts.tolist(), strict=True):
            text = data.decode("utf-8", "surrogateescape")
            tokens = list(caption.encode(text))
            good = all(_is_below(token, caption.vocab_size) for token in tokens)
            if len(tokens) > caption.length or not good:
                raise DataError(
                    f"{self._dataset.directory}: expected at most {caption.length} tokens in "
                    f"[0, {caption.vocab_size}) for the caption {text[:40]!a}, got "
                    f"{len(tokens) if good else 'other tokens'}. Correct sequence.caption.encode."
                )
            row[: len(tokens)] = tokens
        return found

    def _pack(self, images: np.ndarray, sequences: int, pad: int | None) -> np.ndarray:
        """Packs rows of single images, [R, image_length], into sequences, [S, length]."""
        flat = np.full((sequences * self.images, self.image_length), pad, images.dtype)
        flat[: len(images)] = images
        packed = np.full((sequences, self.length), pad, images.dtype)
        used = self.images * self.image_length
        packed[:, :used] = flat.reshape(sequences, used)
        return packed

    def _check_tokens(self) -> int:
        """Checks that no token has two meanings; returns the vocabulary size."""
        spec, caption = self._spec, self._spec.caption
        if spec.length is not None and spec.pad is None:
            raise RequestError(
                "sequence.pad: expected a padding token, because 'length' is given, got none. "
                "Set it."
            )
        begin = spec.token_offset
        ranges = [
            _Range("token_offset", "tokens of images", begin, begin + self._dataset.vocab_size)
        ]
        if spec.class_offset is not None:
            begin = spec.class_offset
            ranges.append(_Range("class_offset", "classes", begin, begin + self._num_classes))
        single = {"bos": spec.bos, "end": spec.end, "pad": spec.pad}
        _check_distinct(single)
        if caption is not None:
            single["caption.pad"] = caption.pad
        _check_outside(single, ranges)
        # Checked before captions are added: their vocabulary often includes BOS, end and padding.
        if caption is not None:
            ranges.append(_Range("caption", "tokens of captions", 0, caption.vocab_size))
        _check_disjoint(ranges)
        tokens = [token for token in single.values() if token is not None]
        size = max([*(each.end for each in ranges), *(token + 1 for token in tokens)])
        if size > _MOST_TOKENS:
            raise RequestError(
                f"sequence: expected tokens below {_MOST_TOKENS:,}, the limit of int64, got "
                f"{size - 1:,}. Lower the offsets."
            )
        return size


def layouts_of(
    spec: SequenceSpec | None, dataset: OpenedDataset, *, with_labels: bool
) -> dict[tuple[int, int], Layout]:
    """Returns the layout for images of each grid; none without a spec.

    Raises:
      RequestError: The spec does not fit the dataset.
    """
    if spec is None:
        return {}
    grids = dataset.contract.grids
    return {grid: Layout(spec, dataset, with_labels=with_labels, grid=grid) for grid in grids}


class _Range(NamedTuple):
    """Tokens in [begin, end) with one meaning, and the option that moves them."""

    option: str
    what: str
    begin: int
    end: int


def _check_distinct(single: dict[str, int | None]) -> None:
    for one, other in itertools.combinations(single, 2):
        if single[one] is not None and single[one] == single[other]:
            raise RequestError(
                f"sequence.{other}: expected another token than '{one}', "
                f"got {single[other]} for both. Choose another."
            )


def _check_outside(single: dict[str, int | None], ranges: list[_Range]) -> None:
    for option, token in single.items():
        for each in ranges:
            if token is not None and (each.begin <= token < each.end or token < 0):
                raise RequestError(
                    f"sequence.{option}: expected a token outside [{each.begin}, {each.end}), "
                    f"the {each.what}, got {token}. Choose another, or change token_offset."
                )


def _check_disjoint(ranges: list[_Range]) -> None:
    for number, each in enumerate(ranges):
        if each.begin < 0:
            raise RequestError(
                f"sequence.{each.option}: expected 0 or more, got {each.begin}. Raise it."
            )
        for other in ranges[:number]:
            if each.begin < other.end and other.begin < each.end:
                raise RequestError(
                    f"sequence.{other.option}: expected {other.what} outside "
                    f"[{each.begin}, {each.end}), the {each.what}, got "
                    f"[{other.begin}, {other.end}). Change it."
                )


def _is_below(token: object, size: int) -> bool:
    return isinstance(token, SupportsIndex) and 0 <= operator.index(token) < size


def _known(name: str, dataset: OpenedDataset, kind: FeatureKind) -> str:
    length = None if kind == "bytes" else 1
    if Field(name, kind, length) in dataset.fields:
        return name
    what = "a text" if kind == "bytes" else "an integer"
    raise RequestError(
        f"{dataset.directory}: expected records with {what} {name!r}, found "
        f"{', '.join(dataset.names)}. Carry it when tokenizing, or read without it."
    )
