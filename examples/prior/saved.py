"""A run's directory: what it says of itself, and how to get its network back.

The dataset's tokenizer is copied in, so that samples can be decoded from the
directory alone. Its weights and checkpoints: see `checkpoint`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import keras
import pydantic

from examples.prior.checkpoint import CHECKPOINTS, load_network
from examples.prior.config import PriorConfig
from examples.prior.data import PriorData
from examples.prior.model import Prior
from examples.prior.vocabulary import Mode, Vocabulary
from fsq.errors import RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.spec.serialization import parse_contract, read_file
from fsq.storage import filesystem
from fsq.storage.directory_lock import LOCK_FILE
from fsq.storage.json_documents import first_difference, has_its_digest, render
from fsq.validation import parse

PRIOR_FILE = "prior.json"


class Mark(pydantic.BaseModel):
    """What prior.json says.

    Attributes:
      config: The run.
      vocabulary: What the integers of its sequences mean.
      class_names: One for each class.
      datasets: The sha256 of the manifests, of 'dataset' and of 'held_out'.
      tokenizer: The sha256 of its weights.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    config: PriorConfig
    vocabulary: Vocabulary
    class_names: tuple[str, ...]
    datasets: dict[str, str]
    tokenizer: str


@dataclasses.dataclass(frozen=True)
class SavedPrior:
    """A run's directory, and what it says of itself."""

    directory: str
    mark: Mark

    @property
    def config(self) -> PriorConfig:
        """The config of the training run."""
        return self.mark.config

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids of tokens, classes and masks."""
        return self.mark.vocabulary

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
      RequestError: It is not that of a run, or not as the run left it.
    """
    mark = _read_mark(Path(directory) / PRIOR_FILE)
    if mark is None:
        raise RequestError(
            f"{directory}: expected the output of a prior, found no {PRIOR_FILE}. Train one with "
            "'python -m examples.prior.train', or give another directory."
        )
    contract = parse_contract(
        read_file(Path(directory), CONTRACT_FILE), f"{directory}/{CONTRACT_FILE}"
    )
    if contract.weights_sha256 != mark.tokenizer:
        raise RequestError(
            f"{directory}/{CONTRACT_FILE}: expected the tokenizer of the run, "
            f"{mark.tokenizer[:12]}, found {contract.weights_sha256[:12]}. Train again to have it "
            "copied."
        )
    return SavedPrior(directory, mark)


def claim_directory(config: PriorConfig, data: PriorData) -> None:
    """Marks the output as this run's, and copies the tokenizer into it.

    Raises:
      RequestError: It is another run's, or has files of something else; first said is if
        the vocabulary is another.
    """
    folder = Path(config.output)
    ours = Mark(
        config=config,
        vocabulary=data.vocabulary,
        class_names=data.class_names,
        datasets=data.digests,
        tokenizer=data.dataset.contract.weights_sha256,
    )
    other = _read_mark(folder / PRIOR_FILE)
    if other is None:
        _check_empty(folder)
    else:
        other.vocabulary.check_same(data.vocabulary, config.dataset, "as the prior was trained on")
        if (difference := first_difference(_fixed(other), _fixed(ours))) is not None:
            raise RequestError(
                f"{folder}: expected the output of this run, found that of another: {difference}. "
                "Remove the directory, or choose another output."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        filesystem.write(str(folder / PRIOR_FILE), render(ours.model_dump(mode="json")))
        for name in (WEIGHTS_FILE, CONTRACT_FILE):
            source = filesystem.join(data.dataset.directory, name)
            filesystem.write(str(folder / name), filesystem.read(source))
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"{folder}: expected a directory that can be written, got: {error.strerror or error}. "
            "Choose another output."
        ) from error


def _fixed(mark: Mark) -> dict[str, Any]:
    """Returns what may not change when a run goes on: all that decides what it does."""
    free: Any = {"config": {"output": True, "training": {"minutes"}, "samples": True}}
    return mark.model_dump(mode="json", exclude=free)


def _check_empty(folder: Path) -> None:
    """Refuses a directory of something else: a tokenizer in it would be replaced."""
    if folder.is_dir():
        for name in sorted(path.name for path in folder.iterdir()):
            if filesystem.final_name(name) not in (LOCK_FILE, PRIOR_FILE):
                raise RequestError(
                    f"{folder}: expected a directory that is empty, or the output of this run, "
                    f"found {name}. Choose another output."
                )


def _read_mark(path: Path) -> Mark | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _not_a_mark(path, str(error)) from error
    if not has_its_digest(content):
        raise _not_a_mark(path, "other content than was written")
    return parse(Mark, {name: content[name] for name in content if name != "sha256"}, str(path))


def _not_a_mark(path: Path, found: str) -> RequestError:
    return RequestError(
        f"{path}: expected what a run says of itself, got: {found}. Remove the directory to begin "
        "again."
    )
