"""Training config: the hyperparameters of a run. Imports no TensorFlow."""

from typing import Annotated, Literal

import pydantic

from fsq.yaml_config import PathStr

Weight = Annotated[float, pydantic.Field(gt=0, le=100)]


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PerceptualSpec(_Frozen):
    """A perceptual loss in the features of a user's own model.

    Attributes:
      model: A .keras file that maps images [B, H, W, C], in the tokenizer's
        pixel range, to one or more feature tensors.
      weight: Of this loss, relative to the reconstruction loss.
    """

    model: PathStr
    weight: Weight = 1.0


class AdversarialSpec(_Frozen):
    """A patch discriminator trained beside the autoencoder, with the hinge loss.

    Attributes:
      weight: Of this loss, relative to the reconstruction loss.
      start_step: The first step with it; before, the discriminator is not trained.
      widths: Channels of the discriminator's stride-2 stages.
      learning_rate: Of the discriminator, constant.
    """

    weight: Weight = 0.1
    start_step: Annotated[int, pydantic.Field(ge=0)] = 0
    widths: Annotated[
        tuple[Annotated[int, pydantic.Field(ge=1)], ...], pydantic.Field(min_length=1)
    ] = (64, 128)
    learning_rate: Annotated[float, pydantic.Field(gt=0, lt=1)] = 1e-4


class TrainingSpec(_Frozen):
    """Adam with clipped gradients, linear warm-up and cosine decay to zero.

    Attributes:
      epochs: How often each image is seen.
      batch_size: Images per step, over all GPUs together.
      learning_rate: The highest, after the warm-up.
      warmup_steps: Steps in which the learning rate rises from zero.
      loss: 'mse' over the data's variance, or 'l1' over its standard deviation.
      clip_norm: Largest norm of each variable's gradient.
      perceptual: An additional loss in the features of a model of your own.
      adversarial: An additional loss by a discriminator.
      saturation_weight: Of a loss on latents beyond +-3, where the bound is flat and passes
        hardly any gradient. No code needs such latents. 0 for none.
      ema: Momentum of a moving average of the weights, which is saved instead of them; in the
        first steps at most (1 + step) / (10 + step).
      flip: Mirror each image with probability 1/2.
      random_crop: Smallest side of a random crop, as a share of the largest box
        that fits in the image; the tokenizer's own crop if None.
      precision: Keras policy of the networks while training. Tokens are always computed
        in float32.
      checkpoint_steps: Steps between two checkpoints.
      seed: Seed of the weights, the order of the images and their augmentation.
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
