"""The interface of a view policy: which crops and flips of an image are tokenized."""

import abc
from typing import Any

import pydantic
import pydantic_core

from fsq.images.spec import ImageSpec
from fsq.images.view import View
from fsq.validation import FrozenModel


class ViewPolicy(FrozenModel, abc.ABC):
    """Makes the same number of views of every image; a config, so its fields are its parameters.

    Attributes:
      kind: The policy's name in configs; each policy narrows it to a Literal.
    """

    kind: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its views, in order; by default one view, named like the policy."""
        return (self.kind,)

    @abc.abstractmethod
    def views(self, key: str, width: int, height: int, spec: ImageSpec) -> tuple[View, ...]:
        """Returns the views of one image; equal arguments give equal views.

        Args:
          key: The image's key; a random policy draws from its hash.
          width: Width of the upright image, in pixels.
          height: Height of the upright image, in pixels.
          spec: The image contract: size, and the crop that is the tokenizer's own.

        Returns:
          One view for each of `names`, in that order, with its crop inside the image.
        """

    @pydantic.model_serializer(mode="wrap")
    def _shorten(self, dump: pydantic.SerializerFunctionWrapHandler) -> Any:
        """Writes a policy without parameters as its name, as configs do."""
        content = dump(self)
        return content if content.keys() - {"kind"} else self.kind


def _parse_policy(value: Any, validate: pydantic.ValidatorFunctionWrapHandler) -> ViewPolicy:
    if isinstance(value, dict | ViewPolicy):
        policy: ViewPolicy = validate(value)
        return policy
    try:
        policy = validate({"kind": value})
    except pydantic.ValidationError as error:
        (problem, *_) = error.errors()
        if problem["type"] != "union_tag_invalid":
            raise
        *first, last = problem["ctx"]["expected_tags"].split(", ")
        expected = f"{', '.join(first)} or {last}" if first else last
        raise pydantic_core.PydanticKnownError("literal_error", {"expected": expected}) from error
    return policy


# Lets a config write a policy without parameters as its name alone.
NAME_OR_MAPPING = pydantic.WrapValidator(_parse_policy)
