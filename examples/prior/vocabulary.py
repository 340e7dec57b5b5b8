"""The vocabulary of the network: tokens, classes, 'no class' and the mask."""

import dataclasses
from typing import Literal

from fsq.dataset import SequenceSpec
from fsq.dataset.open_dataset import OpenedDataset
from fsq.errors import RequestError
from fsq.quantizer import lattice

FEWEST_TOKENS = 2
# Predict the next token, or the masked tokens.
Mode = Literal["causal", "masked"]


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The ids of a sequence: tokens first, then classes, 'no class' and the mask.

    Tokens come first, so that the output weights are the first rows of the embedding table.

    Attributes:
      levels: The levels of the dataset's tokenizer.
      classes: Number of classes; 0 for a prior without classes.
      grid: Rows and columns of tokens.

    >>> vocabulary = Vocabulary(levels=(8, 5, 5, 5), classes=10, grid=(7, 7))
    >>> vocabulary.tokens, vocabulary.no_class, vocabulary.mask, vocabulary.length
    (1000, 1010, 1011, 49)
    """

    levels: tuple[int, ...]
    classes: int
    grid: tuple[int, int]

    @classmethod
    def of(cls, dataset: OpenedDataset, *, classes: bool) -> "Vocabulary":
        """Reads the vocabulary from tokenizer.json and features.json.

        Raises:
          RequestError: Classes are requested and the dataset has none, or an image has fewer
            than two tokens.
        """
        where = dataset.directory
        if dataset.contract.buckets:
            raise RequestError(
                f"{where}: expected images of one grid, found {dataset.contract.show_grid} tokens. "
                "Tokenize without buckets."
            )
        length = dataset.contract.tokens_per_image
        if length < FEWEST_TOKENS:
            raise RequestError(
                f"{where}: expected sequences of at least {FEWEST_TOKENS} tokens, so that one "
                f"follows another, got {length}. Tokenize with a finer grid."
            )
        if classes and not dataset.num_classes:
            raise RequestError(
                f"{where}: expected records with a label of named classes, found "
                f"{', '.join(dataset.names)}. Tokenize it with 'carry: [label]', or set "
                "'classes: false'."
            )
        count = dataset.num_classes or 0 if classes else 0
        return cls(dataset.contract.levels, count, dataset.contract.grid)

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return lattice.vocab_size(self.levels)

    @property
    def length(self) -> int:
        """Tokens per image."""
        return self.grid[0] * self.grid[1]

    @property
    def no_class(self) -> int:
        """The id in place of a class that was dropped or does not exist."""
        return self.tokens + self.classes

    @property
    def mask(self) -> int:
        """The id in place of a token to predict."""
        return self.no_class + 1

    @property
    def size(self) -> int:
        """Number of ids: tokens, classes, 'no class', mask."""
        return self.mask + 1

    @property
    def sequence(self) -> SequenceSpec:
        """The sequence to read: the class, or 'no class', then the tokens of one image."""
        if self.classes:
            return SequenceSpec(class_offset=self.tokens)
        return SequenceSpec(bos=self.no_class)

    def check_same(self, other: "Vocabulary", where: str, why: str) -> None:
        """Raises a RequestError if a dataset has another vocabulary; `why` gives the reason."""
        for name, what in (
            ("tokens", "a vocabulary of {} tokens"),
            ("levels", "tokens of the levels {}"),
            ("grid", "a grid of {} tokens"),
            ("classes", "{} classes"),
        ):
            expected, found = getattr(self, name), getattr(other, name)
            if expected != found:
                raise RequestError(
                    f"{where}: expected {what.format(_show(expected))}, {why}, "
                    f"found {_show(found)}. Use a dataset that has them, or train another prior."
                )


def _show(value: int | tuple[int, ...]) -> str:
    return f"{value:,}" if isinstance(value, int) else " x ".join(map(str, value))
