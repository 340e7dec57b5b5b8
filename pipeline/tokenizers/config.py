"""Configs of `fsq train` and `fsq import`."""

from typing import Annotated, Any

import pydantic
from pydantic_core import CoreSchema, core_schema

from fsq.spec.contract import QuantizerSpec, TokenizerSpec
from fsq.spec.network_spec import Side
from fsq.training.config import TrainingSpec
from fsq.validation import FrozenModel
from fsq.yaml_config import PathStr
from pipeline.sources import SourceConfig


class _ShareOrSource:
    """Validates a number as a share, and all else as a source, whose messages stay as they are."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, annotation: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> CoreSchema:
        source = handler.generate_schema(SourceConfig)
        return core_schema.no_info_wrap_validator_function(
            cls._validate,
            source,
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda value, rest: value if isinstance(value, float) else rest(value),
                schema=source,
            ),
        )

    @staticmethod
    def _validate(value: Any, validate: pydantic.ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, dict | pydantic.BaseModel):
            return validate(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 0.5:
            return float(value)
        raise ValueError(
            f"expected a source, or a share above 0 and at most 0.5, got {str(value)[:60]!r}"
        )


HeldOut = Annotated[SourceConfig | float, _ShareOrSource]


class TrainConfig(FrozenModel):
    """A training run.

    Attributes:
      source: Training images.
      held_out: Images for the evaluation, or the share of the training images to hold out. An
        image is held out if the split {train: 1 - share, val: share} has it in `val`.
      tokenizer: What is trained.
      training: Hyperparameters.
      output: Directory of the new tokenizer.
      tensorboard: Directory for TensorBoard events; none are written if None.
    """

    source: SourceConfig
    held_out: HeldOut
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
