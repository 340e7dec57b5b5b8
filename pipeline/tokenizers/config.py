"""Configs of `fsq train` and `fsq import`."""

import pydantic

from fsq.spec.contract import QuantizerSpec, TokenizerSpec
from fsq.spec.network_spec import Side
from fsq.training.config import TrainingSpec
from fsq.validation import FrozenModel
from fsq.yaml_config import PathStr
from pipeline.sources import SourceConfig


class TrainConfig(FrozenModel):
    """A training run.

    Attributes:
      source: Training images.
      held_out: Images for the evaluation.
      tokenizer: What is trained.
      training: Hyperparameters.
      output: Directory of the new tokenizer.
      tensorboard: Directory for TensorBoard events; none are written if None.
    """

    source: SourceConfig
    held_out: SourceConfig
    tokenizer: TokenizerSpec
    training: TrainingSpec
    output: PathStr
    tensorboard: PathStr | None = None


class ImportConfig(QuantizerSpec):
    """An import: networks trained elsewhere, and what their tokens mean.

    `preset`, `image.pixel_range` and `image.resize` have no defaults here: they must be
    those that the networks were trained with.

    Attributes:
      encoder: A .keras file, a SavedModel's directory or an .onnx file.
      decoder: Likewise, or None.
      grid: Rows and columns of tokens, where the latents' shape does not say.
      reference: An .npz file with the reference batch.
      output: Directory of the new tokenizer.
    """

    encoder: PathStr
    decoder: PathStr | None = None
    grid: tuple[Side, Side] | None = None
    reference: PathStr
    output: PathStr

    @pydantic.model_validator(mode="after")
    def _preprocessing_is_given(self) -> "ImportConfig":
        missing = {"preset"} - self.model_fields_set
        missing |= {
            f"image.{name}" for name in {"pixel_range", "resize"} - self.image.model_fields_set
        }
        if missing:
            raise ValueError(
                f"expected {sorted(missing)[0]}, as the encoder was trained with, got none. Add it."
            )
        return self
