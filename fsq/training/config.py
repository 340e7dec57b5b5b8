"""What a training run is told, apart from the tokenizer it builds. Light: no TensorFlow."""

from typing import Annotated, Literal

import pydantic

Weight = Annotated[float, pydantic.Field(gt=0, le=100)]


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PerceptualSpec(_Frozen):
    """A loss in the features of a model of the user's own.

    Attributes:
      model: A .keras file; images [B, S, S, C] in the tokenizer's pixel range
        in, one feature tensor or several out.
      weight: What its loss counts beside the reconstruction's.
    """

    model: Annotated[str, pydantic.Field(min_length=1)]
    weight: Weight = 1.0


class AdversarialSpec(_Frozen):
    """A patch discriminator trained beside the autoencoder, with the hinge loss.

    Attributes:
      weight: What its loss counts beside the reconstruction's.
      start_step: The step from which it counts; before, neither is trained on it.
      widths: Channels of the discriminator's stride-2 stages.
      learning_rate: The discriminator's, constant.
    """

    weight: Weight = 0.1
    start_step: Annotated[int, pydantic.Field(ge=0)] = 0
    widths: Annotated[
        tuple[Annotated[int, pydantic.Field(ge=1)], ...], pydantic.Field(min_length=1)
    ] = (64, 128)
    learning_rate: Annotated[float, pydantic.Field(gt=0, lt=1)] = 1e-4


class TrainingSpec(_Frozen):
    """How to train: Adam with clipped gradients, linear warm-up, cosine decay to zero.

    Attributes:
      batch_size: Images per step, over all GPUs together.
      loss: 'mse' over the data's variance, or 'l1' over its standard deviation.
      clip_norm: Largest norm of each variable's gradient.
      saturation_weight: Of a loss on latents beyond +-3, where the bound is flat: no code needs
        them, and a channel that strays there gets no gradient to come back by. 0 for none.
      ema: Momentum of a moving average of the weights, which is what is saved.
      flip: Mirror every second image, at random.
      random_crop: Smallest side of a random crop, as a share of the image's
        shorter side; the centre square if None.
      precision: The networks' policy while training. Tokens are always made in float32.
    """

    epochs: Annotated[int, pydantic.Field(ge=1)]
    batch_size: Annotated[int, pydantic.Field(ge=1)] = 128
    learning_rate: Annotated[float, pydantic.Field(gt=0, lt=1)] = 1e-3
    warmup_steps: Annotated[int, pydantic.Field(ge=0)] = 200
    clip_norm: Annotated[float, pydantic.Field(gt=0)] = 1.0
    loss: Literal["mse", "l1"] = "mse"
    perceptual: PerceptualSpec | None = None
    adversarial: AdversarialSpec | None = None
    saturation_weight: Annotated[float, pydantic.Field(ge=0, le=100)] = 0.01
    ema: Annotated[float, pydantic.Field(gt=0, lt=1)] | None = None
    flip: bool = False
    random_crop: Annotated[float, pydantic.Field(gt=0, le=1)] | None = None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    checkpoint_steps: Annotated[int, pydantic.Field(ge=1)] = 500
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**32)] = 0
