"""View policies: one file each. A policy says which crops and flips of an image are tokenized."""

from typing import Annotated

import pydantic

from pipeline.views.base import NAME_OR_MAPPING, ViewPolicy
from pipeline.views.center import Center, CenterFlipped
from pipeline.views.corners import FiveCrop, TenCrop
from pipeline.views.flip import Flip
from pipeline.views.random_crops import RandomCrops

Policies = Center | CenterFlipped | Flip | FiveCrop | TenCrop | RandomCrops
ViewPolicyConfig = Annotated[Policies, pydantic.Field(discriminator="kind"), NAME_OR_MAPPING]

DEFAULT_VIEWS = (Center(),)

__all__ = ["DEFAULT_VIEWS", "ViewPolicy", "ViewPolicyConfig"]
