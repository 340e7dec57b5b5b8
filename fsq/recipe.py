"""What a training run is told, apart from the tokenizer it builds. Light: no TensorFlow."""

from typing import Annotated

import pydantic


class TrainingSpec(pydantic.BaseModel):
    """How to train: Adam, linear warm-up, cosine decay to zero, MSE over data variance."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, pydantic.Field(ge=1)]
    batch_size: Annotated[int, pydantic.Field(ge=1)] = 128
    learning_rate: Annotated[float, pydantic.Field(gt=0, lt=1)] = 1e-3
    warmup_steps: Annotated[int, pydantic.Field(ge=0)] = 200
    checkpoint_steps: Annotated[int, pydantic.Field(ge=1)] = 500
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
