"""What a run is told: YAML in, a frozen model out. Light: no TensorFlow.

Vocabulary, grid, order and classes are not for here: the dataset says them.
"""

from typing import Annotated

import pydantic

from examples.prior.vocabulary import Mode
from fsq.yaml_config import PathStr

Count = Annotated[int, pydantic.Field(ge=1)]
Share = Annotated[float, pydantic.Field(ge=0, lt=1)]


class FrozenModel(pydantic.BaseModel):
    """Base of this config: immutable, unknown keys and infinities are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkSpec(FrozenModel):
    """The transformer.

    Attributes:
      width: Channels.
      depth: Blocks.
      heads: Of attention.
      dropout: Share that is dropped while training.
    """

    width: Annotated[int, pydantic.Field(ge=1, le=8192)] = 128
    depth: Annotated[int, pydantic.Field(ge=1, le=256)] = 4
    heads: Count = 4
    dropout: Share = 0.1

    @pydantic.model_validator(mode="after")
    def _heads_share_the_width(self) -> "NetworkSpec":
        if self.width % self.heads:
            raise ValueError(
                f"expected width as a multiple of heads, {self.heads}, got {self.width}"
            )
        return self


class TrainingSpec(FrozenModel):
    """How to train: Muon, linear warm-up, cosine decay to zero over the steps.

    Attributes:
      steps: The whole run; the learning rate follows it, so that a run that was
        interrupted goes on exactly.
      batch_size: Images per step.
      weight_decay: Of the matrices of the blocks, and of nothing else.
      clip_norm: Largest norm of all gradients together.
      class_dropout: Share of images that are shown without their class.
      minutes: Ends the run when so many have been spent, interruptions aside; then
        the learning rate has not fallen to zero.
      validation_images: Measured every `validation_steps`; all of them at the end.
      sample_steps: Between two sheets of samples, a multiple of `validation_steps`; none
        but the last if None.
    """

    steps: Count
    batch_size: Count = 128
    learning_rate: Annotated[float, pydantic.Field(gt=0, lt=1)] = 4e-3
    warmup_steps: Annotated[int, pydantic.Field(ge=0)] = 200
    weight_decay: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.05
    clip_norm: Annotated[float, pydantic.Field(gt=0)] = 1.0
    class_dropout: Share = 0.1
    minutes: Annotated[float, pydantic.Field(gt=0)] | None = None
    checkpoint_steps: Count = 500
    validation_steps: Count = 500
    validation_images: Count = 2000
    sample_steps: Count | None = None
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**32)] = 0

    @pydantic.model_validator(mode="after")
    def _samples_come_with_validation(self) -> "TrainingSpec":
        if self.sample_steps and self.sample_steps % self.validation_steps:
            raise ValueError(
                f"expected sample_steps as a multiple of validation_steps, "
                f"{self.validation_steps}, got {self.sample_steps}"
            )
        return self


class Taste(FrozenModel):
    """How tokens are chosen.

    Attributes:
      temperature: Divides the logits; below 1 the likely becomes likelier.
      top_k: Only so many of the likeliest tokens; 0 for all.
      guidance: 1 for the class as it is; above, the logits move on from those of no
        class through those of the class (Ho and Salimans 2022, arXiv:2207.12598).
      steps: Of mode 'masked'.
      seed: Of all that is drawn.
    """

    temperature: Annotated[float, pydantic.Field(ge=1e-6, le=1e6)] = 1.0
    top_k: Annotated[int, pydantic.Field(ge=0)] = 0
    guidance: Annotated[float, pydantic.Field(ge=0, le=1e6)] = 1.0
    steps: Count = 12
    seed: Annotated[int, pydantic.Field(ge=0)] = 0


class SampleSpec(Taste):
    """What a sheet shows: so many images of each class."""

    per_class: Annotated[int, pydantic.Field(ge=1, le=16)] = 12  # as wide as a sheet is


class PriorConfig(FrozenModel):
    """One run.

    Attributes:
      dataset: A finished dataset, to train on.
      held_out: Another, to measure on; or which share of the first is kept from training.
      classes: Tell the network the label of each image.
      modes: What it learns to answer; the first is the one it is sampled by unless said.
      output: A directory for all that comes of it.
    """

    dataset: PathStr
    held_out: PathStr | float
    classes: bool = True
    modes: Annotated[tuple[Mode, ...], pydantic.Field(min_length=1)] = ("causal",)
    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec
    samples: SampleSpec = SampleSpec()
    output: PathStr

    @pydantic.field_validator("held_out", mode="before")
    @classmethod
    def _held_out_is_one_of_two(cls, held_out: object) -> object:
        share = isinstance(held_out, int | float) and 0 < held_out <= 0.5
        if share or (isinstance(held_out, str) and held_out):
            return held_out
        raise ValueError(
            f"expected the directory of a dataset, or a share above 0 and at most 0.5, got "
            f"{held_out!r}"
        )

    @pydantic.field_validator("modes")
    @classmethod
    def _modes_differ(cls, modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
        if len(set(modes)) != len(modes):
            raise ValueError(f"expected each mode once, got {list(modes)}")
        return modes
