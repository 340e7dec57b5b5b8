"""Configs of `fsq train` and `fsq import`."""

import pydantic

from fsq.spec.contract import QuantizerSpec, TokenizerSpec
from fsq.spec.network_spec import Side
from fsq.training.config import TrainingSpec
from fsq.validation import FrozenModel
from fsq.yaml_config import PathStr
from pipeline.sources import SourceConfig


class TrainConfig(FrozenModel):
    """One training run; `tensorboard` is a directory for its curves and pictures."""

    source: SourceConfig
    held_out: SourceConfig
    tokenizer: TokenizerSpec
    training: TrainingSpec
    output: PathStr
    tensorboard: PathStr | None = None


class ImportConfig(QuantizerSpec):
    """One import: networks trained elsewhere, and what their tokens mean.

    Whatever decides pixels or tokens has to be said: how somebody else trained
    is not for a default to guess.
    """

    encoder: PathStr
    decoder: PathStr | None = None
    grid: tuple[Side, Side] | None = None
    reference: PathStr
    output: PathStr

    @pydantic.model_validator(mode="after")
    def _nothing_is_guessed(self) -> "ImportConfig":
        unsaid = {"preset"} - self.model_fields_set
        unsaid |= {
            f"image.{name}" for name in {"pixel_range", "resize"} - self.image.model_fields_set
        }
        if unsaid:
            raise ValueError(
                f"expected {sorted(unsaid)[0]}, as the encoder was trained with, got none. Add it."
            )
        return self
