"""The data of a run: training batches by step, held-out batches, tokens for the baselines."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from examples.prior.config import PriorConfig
from examples.prior.objectives import held_out_by_content
from examples.prior.vocabulary import Vocabulary
from fsq.dataset import TokenBatches
from fsq.dataset.manifest import read_manifest
from fsq.dataset.open_dataset import OpenedDataset, open_dataset
from fsq.errors import RequestError
from fsq.storage import filesystem

COUNTED_IMAGES = 100_000  # training images that the baselines are fitted on
READ_AT_ONCE = 1024
MOST_SEEN = 0.5  # share of held-out images; some datasets contain duplicates


@dataclasses.dataclass(frozen=True)
class Sequences:
    """A batch.

    Attributes:
      tokens: The class, or 'no class', then the tokens of an image: int32 [B, 1 + length].
      counted: bool [B], which images count in the loss. Not counted are held-out images in
        training, and the padding of the last batch in validation.
    """

    tokens: np.ndarray
    counted: np.ndarray


class PriorData:
    """The datasets of a run; everything is checked before the first step.

    Args:
      config: The config of the run.

    Attributes:
      vocabulary: The ids of a sequence.
      dataset: The training dataset.
      class_names: A name for each class.
      shared: Number of held-out images with the tokens of a training image.
      digests: Name, split and digest of both, so that a run is not resumed on other images.

    Raises:
      RequestError: A dataset is missing or empty, has no classes or too few tokens per image;
        or the two differ in tokenizer or classes, or most held-out images are trained on.
      DataError: A dataset is damaged.
    """

    def __init__(self, config: PriorConfig):
        self._training = config.training
        self._share = config.held_out if isinstance(config.held_out, float) else None
        self.dataset = open_dataset(config.dataset, config.split)
        self.vocabulary = Vocabulary.of(self.dataset, classes=config.classes)
        other = self.dataset
        if isinstance(config.held_out, str):
            other = open_held_out(config.dataset, config.held_out)
            self.vocabulary.check_same(
                Vocabulary.of(other, classes=config.classes), config.held_out, "as 'dataset' has"
            )
            _check_fits(self.dataset, other)
            if config.classes:
                _check_same_names(self.dataset, other, self.vocabulary.classes)
        self._held_out = other
        self.class_names = tuple(class_names(self.dataset, self.vocabulary.classes))
        self.digests = {"dataset": self.dataset.identity, "held_out": other.identity}
        self.batches_per_epoch = len(self._read(self.dataset, drop_remainder=True))
        if self._share is not None:
            self._check_share(config.dataset)
            self.shared = 0  # equal tokens are on the same side
        else:
            self.shared = self._count_shared()

    def training_batches(self, first_step: int) -> Iterator[Sequences]:
        """Yields the batches from a step on, epoch after epoch, without end.

        A batch is a function of (seed, step); earlier batches are not read.
        """
        epoch, start = divmod(first_step, self.batches_per_epoch)
        while True:
            batches = self._read(
                self.dataset,
                shuffle_seed=self._training.seed,
                epoch=epoch,
                drop_remainder=True,
            )
            for number in range(start, len(batches)):
                tokens = batches[number]["tokens"]
                yield Sequences(tokens, ~self._kept_out(tokens))
            epoch, start = epoch + 1, 0

    def held_out_batches(self, limit: int | None = None) -> Iterator[Sequences]:
        """Yields at most `limit` held-out images in batches of one size, the last one padded."""
        size, left = self._training.batch_size, limit
        for tokens in self._held_out_rows(size):
            tokens = tokens[:left]
            if left is not None:
                left -= len(tokens)
            if len(tokens):
                filled = np.resize(tokens, (size, tokens.shape[1]))
                yield Sequences(filled, np.arange(size) < len(tokens))
            if left == 0:
                return

    def training_tokens(self) -> np.ndarray:
        """Reads the training tokens of up to COUNTED_IMAGES images, int32 [images, length]."""
        found: list[np.ndarray] = []
        count = 0
        for batch in self._read(self.dataset, size=READ_AT_ONCE):
            tokens = batch["tokens"]
            found.append(tokens[~self._kept_out(tokens), 1:])
            count += len(found[-1])
            if count >= COUNTED_IMAGES:
                break
        return np.concatenate(found)[:COUNTED_IMAGES]

    def held_out_tokens(self) -> np.ndarray:
        """Reads the held-out tokens, int32 [images, length]."""
        rows = self._held_out_rows(READ_AT_ONCE)
        return np.concatenate([tokens[:, 1:] for tokens in rows])

    def _held_out_rows(self, size: int) -> Iterator[np.ndarray]:
        waiting: list[np.ndarray] = []
        for batch in self._read(self._held_out, size=READ_AT_ONCE):
            tokens = batch["tokens"]
            waiting.append(tokens if self._share is None else tokens[self._kept_out(tokens)])
            joined = np.concatenate(waiting)
            whole = len(joined) // size * size
            yield from np.split(joined[:whole], whole // size) if whole else ()
            waiting = [joined[whole:]]
        yield from waiting

    def _kept_out(self, tokens: np.ndarray) -> np.ndarray:
        if self._share is None:
            return np.zeros(len(tokens), bool)
        return held_out_by_content(tokens, self._share)

    def _read(
        self, dataset: OpenedDataset, *, size: int | None = None, **options: Any
    ) -> TokenBatches:
        return TokenBatches(
            dataset.directory,
            dataset.split,
            batch_size=size or self._training.batch_size,
            sequence=self.vocabulary.sequence,
            **options,
        )

    def _count_shared(self) -> int:
        """Counts the held-out images that are trained on, by their tokens; refuses too many."""
        trained_on = {row.tobytes() for row in self.training_tokens()}
        held_out = self.held_out_tokens()
        seen = sum(row.tobytes() in trained_on for row in held_out)
        if seen > MOST_SEEN * len(held_out):
            raise RequestError(
                f"{self._held_out.directory}: expected images that are not trained on, found "
                f"{seen:,} of {len(held_out):,} with the tokens of a training image. "
                "Set held_out to another dataset, or to a share such as 0.1."
            )
        return seen

    def _check_share(self, directory: str) -> None:
        if len(views := self.dataset.views) > 1:
            raise RequestError(
                f"{directory}: expected one view per image when held_out is a share, found "
                f"{', '.join(views)}: views of one image could be on both sides. Set held_out to "
                "another dataset."
            )
        held_out, trained_on = len(self.held_out_tokens()), len(self.training_tokens())
        if not held_out or not trained_on:
            raise RequestError(
                f"{directory}: expected training and held-out images, found {trained_on:,} to "
                f"train on and {held_out:,} held out. Choose another share, or another dataset."
            )


def open_held_out(dataset: str, held_out: str) -> OpenedDataset:
    """Opens what a config names to validate on: a split of the dataset, or another dataset."""
    if held_out in read_manifest(dataset).splits:
        return open_dataset(dataset, held_out)
    return open_dataset(held_out)


def class_names(dataset: OpenedDataset, classes: int) -> list[str]:
    """Returns the names of the classes, or their numbers where the dataset has none."""
    path = filesystem.join(dataset.directory, "label.labels.txt")
    if filesystem.exists(path):
        names = filesystem.read(path).decode().splitlines()
        if len(names) == classes:
            return names
    return [str(number) for number in range(classes)]


def _check_fits(dataset: OpenedDataset, held_out: OpenedDataset) -> None:
    """Refuses a held-out dataset of another tokenizer, or the training dataset itself."""
    expected, found = dataset.contract.weights_sha256, held_out.contract.weights_sha256
    if expected != found:
        raise RequestError(
            f"{held_out.directory}: expected tokens of the tokenizer of {dataset.directory}, "
            f"{expected[:12]}, found those of {found[:12]}. Tokenize both with the same tokenizer."
        )
    if dataset.identity == held_out.identity:
        raise RequestError(
            f"{held_out.directory}: expected images that are not trained on, found those of "
            f"{dataset.directory}. Set held_out to another dataset, or to a share such as 0.1."
        )


def _check_same_names(dataset: OpenedDataset, held_out: OpenedDataset, classes: int) -> None:
    expected, found = (class_names(one, classes) for one in (dataset, held_out))
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        if one != other:
            raise RequestError(
                f"{held_out.directory}: expected the classes of {dataset.directory}, found "
                f"{other!r} as number {number} instead of {one!r}. Tokenize both with the "
                "same classes."
            )
