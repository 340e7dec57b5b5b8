"""A run's directory: what it says of itself, and how to get its network back.

The dataset's tokenizer is copied in, so that samples can be decoded from the
directory alone. Its weights and checkpoints: see `checkpoint`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras

from examples.prior.checkpoint import CHECKPOINTS, load_network
from examples.prior.config import PriorConfig
from examples.prior.data import PriorData, class_names
from examples.prior.model import Prior
from examples.prior.vocabulary import Mode, Vocabulary
from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.errors import RequestError
from fsq.saved import replace_file
from fsq.schema import parse
from fsq.training.claim import leaves
from pipeline import storage

PRIOR_FILE = "prior.json"
FORMAT_VERSION = 1
# These may change when a run goes on: they do not change what it does.
FREE = ("config.output", "config.training.minutes", "config.samples.")


@dataclasses.dataclass(frozen=True)
class SavedPrior:
    """What a run's directory holds.

    Attributes:
      directory: Where it is.
      config: The run.
      vocabulary: What the integers of its sequences mean.
      class_names: One for each class.
    """

    directory: str
    config: PriorConfig
    vocabulary: Vocabulary
    class_names: tuple[str, ...]

    def choose_mode(self, *, masked: bool) -> Mode:
        """Returns the mode to sample by: 'masked' if asked for, else the first of the config.

        Raises:
          RequestError: It was not trained in that mode.
        """
        if masked and "masked" not in self.config.modes:
            raise RequestError(
                f"{self.directory}: expected a prior with the mode 'masked', found "
                f"{', '.join(self.config.modes)}. Leave --masked out, or train one with "
                "'modes: [masked]'."
            )
        return "masked" if masked else self.config.modes[0]

    def load_network(self) -> Prior:
        """Builds the network and sets the weights that did best on held-out images.

        Raises:
          RequestError: There are none that can be read.
        """
        prior = build_prior(self.config, self.vocabulary)
        load_network(self.directory, prior)
        return prior


def build_prior(config: PriorConfig, vocabulary: Vocabulary) -> Prior:
    """Builds a run's network, its weights following from the seed."""
    seed, network = config.training.seed, config.network
    keras.utils.set_random_seed(seed)
    return Prior(vocabulary, modes=config.modes, seed=seed, **network.model_dump())


def open_saved(directory: str) -> SavedPrior:
    """Reads what a directory says of itself.

    Raises:
      RequestError: It is not that of a run.
    """
    path = Path(directory) / PRIOR_FILE
    content = _read_mark(path)
    if content is None:
        raise RequestError(
            f"{directory}: expected the output of a prior, found no {PRIOR_FILE}. Train one with "
            "'python -m examples.prior.train', or give another directory."
        )
    config = parse(PriorConfig, content["config"], str(path))
    names = tuple(content["class_names"])
    return SavedPrior(directory, config, _vocabulary_of(content), names)


def claim_directory(config: PriorConfig, data: PriorData) -> None:
    """Marks the output as this run's, and copies the tokenizer into it.

    Raises:
      RequestError: It is another run's; first said is if the vocabulary is another.
    """
    folder = Path(config.output)
    ours = {
        "format_version": FORMAT_VERSION,
        "vocabulary": dataclasses.asdict(data.vocabulary),
        "class_names": class_names(data.dataset, data.vocabulary.classes),
        "config": config.model_dump(mode="json"),
        "sha256": data.digests,
    }
    ours = json.loads(json.dumps(ours))
    other = _read_mark(folder / PRIOR_FILE)
    if other is not None:
        _vocabulary_of(other).check_same(data.vocabulary, config.dataset)
        before, now = leaves(other), leaves(ours)
        for name in sorted(before.keys() | now.keys()):
            if not name.startswith(FREE) and before.get(name) != now.get(name):
                raise RequestError(
                    f"{folder}: expected the output of this run, found that of another: {name} "
                    f"was {before.get(name)!r}, is {now.get(name)!r}. Remove the directory, or "
                    "choose another output."
                )
    try:
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        for name in (WEIGHTS_FILE, CONTRACT_FILE):
            source = storage.join(data.dataset.directory, name)
            replace_file(folder / name, storage.read(source))
        replace_file(folder / PRIOR_FILE, (json.dumps(ours, indent=2) + "\n").encode())
    except OSError as error:
        raise RequestError(
            f"{folder}: expected a directory that can be written, got: {error.strerror or error}. "
            "Choose another output."
        ) from error


def _read_mark(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {content['format_version']}")
        _ = (content["config"], content["vocabulary"], content["class_names"])
        return content
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{path}: expected what a run says of itself, got: {error}. Remove the directory to "
            "begin again."
        ) from error


def _vocabulary_of(content: dict[str, Any]) -> Vocabulary:
    values = content["vocabulary"]
    return Vocabulary(tuple(values["levels"]), values["classes"], tuple(values["grid"]))
