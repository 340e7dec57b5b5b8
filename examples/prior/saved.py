"""The output directory of a training run: its description, prior.json, and its network.

It holds a copy of the dataset's tokenizer, so that samples can be decoded without the
dataset. Weights and checkpoints: see `checkpoint`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import pydantic

from examples.prior.checkpoint import CHECKPOINTS, NETWORK_FILE, load_network, steps_done
from examples.prior.config import PriorConfig, SheetSpec
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
LOG_FILE = "log.jsonl"


class RunDescription(pydantic.BaseModel):
    """The content of prior.json.

    Attributes:
      config: The config of the run.
      vocabulary: The ids of its sequences.
      class_names: A name for each class.
      datasets: Name, split and digest of 'dataset' and 'held_out'.
      tokenizer: The sha256 of the tokenizer's weights.
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
    """The directory of a training run, and its description."""

    directory: str
    description: RunDescription

    @property
    def config(self) -> PriorConfig:
        """The config of the training run."""
        return self.description.config

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids of tokens, classes and masks."""
        return self.description.vocabulary

    def choose_mode(self, *, masked: bool) -> Mode:
        """Returns the mode to sample: 'masked' if requested, else the first of the config.

        Raises:
          RequestError: The prior was not trained in that mode.
        """
        if masked and "masked" not in self.config.modes:
            raise RequestError(
                f"{self.directory}: expected a prior with the mode 'masked', found "
                f"{', '.join(self.config.modes)}. Omit --masked, or train a prior with "
                "'modes: [masked]'."
            )
        return "masked" if masked else self.config.modes[0]

    def sampling_options(self, chosen: Mapping[str, Any]) -> SheetSpec:
        """Returns the sampling options of the config, with those that a command replaces.

        Raises:
          RequestError: An option has no such value, or guidance needs what was not trained.
        """
        spec = parse(SheetSpec, {**self.config.samples.model_dump(), **chosen}, "options")
        try:
            self.config.check_guidance(spec.guidance, "--guidance")
        except ValueError as error:
            raise RequestError(f"{self.directory}: {error}") from error
        return spec

    def load_network(self) -> Prior:
        """Builds the network and loads the weights with the lowest held-out loss.

        Raises:
          RequestError: The weights are missing or damaged.
        """
        prior = build_prior(self.config, self.vocabulary)
        load_network(self.directory, prior)
        return prior


def build_prior(config: PriorConfig, vocabulary: Vocabulary) -> Prior:
    """Builds the network of a run; its initial weights follow from the seed."""
    seed, network = config.training.seed, config.network
    keras.utils.set_random_seed(seed)
    return Prior(vocabulary, modes=config.modes, seed=seed, **network.model_dump())


def open_saved(directory: str) -> SavedPrior:
    """Opens the output directory of a training run.

    Raises:
      RequestError: It is not one, or its files were changed.
    """
    description = _read_description(Path(directory) / PRIOR_FILE)
    if description is None:
        raise RequestError(
            f"{directory}: expected the output of a prior, found no {PRIOR_FILE}. Train one with "
            "'python -m examples.prior.train', or choose another directory."
        )
    contract = parse_contract(
        read_file(str(directory), CONTRACT_FILE), f"{directory}/{CONTRACT_FILE}"
    )
    if contract.weights_sha256 != description.tokenizer:
        raise RequestError(
            f"{directory}/{CONTRACT_FILE}: expected the tokenizer of the run, "
            f"{description.tokenizer[:12]}, found {contract.weights_sha256[:12]}. Run the training "
            "again: it copies the tokenizer."
        )
    return SavedPrior(directory, description)


def claim_directory(config: PriorConfig, data: PriorData) -> None:
    """Writes the description of a run into its output directory, and copies the tokenizer.

    The directory of a run without a checkpoint is taken over by any other.

    Raises:
      RequestError: The directory belongs to another run, or holds other files. A different
        vocabulary is reported first.
    """
    folder = Path(config.output)
    ours = RunDescription(
        config=config,
        vocabulary=data.vocabulary,
        class_names=data.class_names,
        datasets=data.digests,
        tokenizer=data.dataset.contract.weights_sha256,
    )
    other = _read_description(folder / PRIOR_FILE)
    if other is None:
        _check_empty(folder)
    elif not steps_done(config.output) and not _is_finished(folder):
        # Of steps that nobody goes on from; another run must not take its loss for its own.
        for name in (NETWORK_FILE, LOG_FILE):
            (folder / name).unlink(missing_ok=True)
    else:
        other.vocabulary.check_same(
            data.vocabulary, config.dataset, "as the prior was trained with"
        )
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


def _is_finished(folder: Path) -> bool:
    """Returns whether a network was kept after its checkpoints were removed."""
    return (folder / NETWORK_FILE).exists() and not (folder / CHECKPOINTS).exists()


def _fixed(description: RunDescription) -> dict[str, Any]:
    """Returns the fields that must be equal when a run is resumed."""
    fields = {"minutes", "checkpoint_steps", "sample_steps"}
    # The datasets stand in it with their identity, wherever they lie.
    free: Any = {"output": True, "dataset": True, "training": fields, "samples": True}
    if isinstance(description.config.held_out, str):
        free["held_out"] = True
    return description.model_dump(mode="json", exclude={"config": free})


def _check_empty(folder: Path) -> None:
    """Refuses a directory with other files; a tokenizer among them would be replaced."""
    if folder.is_dir():
        for name in sorted(path.name for path in folder.iterdir()):
            if filesystem.final_name(name) not in (LOCK_FILE, PRIOR_FILE):
                raise RequestError(
                    f"{folder}: expected an empty directory or the output of this run, "
                    f"found {name}. Choose another output."
                )


def _read_description(path: Path) -> RunDescription | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _not_a_description(path, str(error)) from error
    if not has_its_digest(content):
        raise _not_a_description(path, "a wrong digest")
    return parse(
        RunDescription, {name: content[name] for name in content if name != "sha256"}, str(path)
    )


def _not_a_description(path: Path, found: str) -> RequestError:
    return RequestError(
        f"{path}: expected the description of a training run, got: {found}. Remove the directory "
        "and train again."
    )
