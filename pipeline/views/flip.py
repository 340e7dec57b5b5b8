"""Flip pair: the image as the tokenizer's crop policy fits it, and mirrored."""

from typing import Literal

from fsq.images.spec import ImageSpec
from fsq.images.view import View
from pipeline.views.base import ViewPolicy
from pipeline.views.center import Center, CenterFlipped

_PAIR = (Center(), CenterFlipped())


class Flip(ViewPolicy):
    """Short for `center, center_flipped`."""

    kind: Literal["flip"] = "flip"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the views."""
        return tuple(name for policy in _PAIR for name in policy.names)

    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        """Returns the views; see `ViewPolicy.views`."""
        return tuple(view for policy in _PAIR for view in policy.views(key, width, height, spec))
