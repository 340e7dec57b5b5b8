"""The config of a training run: YAML in, a frozen model out. Imports no TensorFlow.

Vocabulary, grid, token order and classes are not part of it: they are read from the dataset.
"""

from typing import Annotated

import pydantic

from examples.prior.vocabulary import Mode
from fsq.yaml_config import PathStr

Count = Annotated[int, pydantic.Field(ge=1)]
Share = Annotated[float, pydantic.Field(ge=0, lt=1)]


class FrozenModel(pydantic.BaseModel):
    """Base of the config models: immutable; unknown keys and infinities are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkSpec(FrozenModel):
    """The transformer.

    Attributes:
      width: Channels.
      depth: Number of blocks.
      heads: Attention heads.
      dropout: Dropout rate.
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
    """Training options: Muon, linear warm-up, cosine decay to zero over `steps`.

    Attributes:
      steps: Steps of the whole run; the learning rate schedule depends on it, not on
        `minutes`, so that an interrupted run resumes exactly.
      batch_size: Images per step.
      learning_rate: The highest, after the warm-up.
      warmup_steps: Steps in which the learning rate rises from zero.
      weight_decay: Weight decay of the matrices in the blocks; nothing else is decayed.
      clip_norm: Largest global norm of the gradients.
      class_dropout: Share of images whose class is replaced by 'no class'.
      minutes: Time limit, interruptions excluded. A run that reaches it ends before the
        learning rate is zero.
      checkpoint_steps: Steps between two checkpoints.
      validation_steps: Steps between two measurements on held-out images.
      validation_images: Images measured every `validation_steps`; all of them at the end.
      sample_steps: Steps between two sheets of samples, a multiple of `validation_steps`;
        None for the last sheet only.
      seed: Seed of the weights and of the order of the images.
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


class SamplingSpec(FrozenModel):
    """Sampling options.

    Attributes:
      temperature: Divides the logits.
      top_k: Sample from the `top_k` most likely tokens only; 0 for all.
      guidance: Scale of classifier-free guidance, none + guidance * (class - none) on the
        logits; 1 for no guidance (Ho and Salimans 2022, arXiv:2207.12598).
      steps: Sampling steps of mode 'masked'.
      seed: Seed of the random generator.
    """

    temperature: Annotated[float, pydantic.Field(ge=1e-6, le=1e6)] = 1.0
    top_k: Annotated[int, pydantic.Field(ge=0)] = 0
    guidance: Annotated[float, pydantic.Field(ge=0, le=1e6)] = 1.0
    steps: Count = 12
    seed: Annotated[int, pydantic.Field(ge=0)] = 0


class SheetSpec(SamplingSpec):
    """A sheet of samples.

    Attributes:
      per_class: Images of each class.
    """

    per_class: Annotated[int, pydantic.Field(ge=1, le=16)] = 12  # as wide as a sheet is


class PriorConfig(FrozenModel):
    """One training run.

    Attributes:
      dataset: A finished dataset to train on.
      split: Split of `dataset` to train on; needed if it has several.
      held_out: Another dataset to validate on, or another split of `dataset`, or the share of it
        to hold out.
      classes: Condition the network on the label of each image.
      modes: The modes to train; the first is the default for sampling.
      network: The transformer.
      training: Training options.
      samples: The sheets of samples.
      output: The directory of the run.
    """

    dataset: PathStr
    split: str | None = None
    held_out: PathStr | float
    classes: bool = True
    modes: Annotated[tuple[Mode, ...], pydantic.Field(min_length=1)] = ("causal",)
    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec
    samples: SheetSpec = SheetSpec()
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

    @pydantic.model_validator(mode="after")
    def _guidance_was_trained(self) -> "PriorConfig":
        self.check_guidance(self.samples.guidance, "samples.guidance")
        return self

    def check_guidance(self, guidance: float, name: str) -> None:
        """Raises a ValueError if guidance needs 'no class', and it is never trained.

        Args:
          guidance: The scale to sample with.
          name: The option that sets it, for the message.
        """
        if guidance == 1.0 or (self.classes and self.training.class_dropout):
            return
        reason = (
            "'no class' is never trained with training.class_dropout 0; 0.1 is usual"
            if self.classes
            else "a prior without classes has nothing to guide to"
        )
        raise ValueError(
            f"expected {name} 1 (none), got {guidance:g}: {reason}. Remove {name}, or train "
            "with classes and class_dropout."
        )

    @pydantic.field_validator("modes")
    @classmethod
    def _modes_differ(cls, modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
        if len(set(modes)) != len(modes):
            raise ValueError(f"expected each mode once, got {list(modes)}")
        return modes
