"""Carried fields: which values of a source's records are copied into the token records."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import pydantic

from fsq.dataset.records import RESERVED_FEATURES, CarriedFeature, FeatureKind
from fsq.errors import RequestError
from fsq.validation import FrozenModel
from fsq.yaml_config import Name

_MEANT: dict[FeatureKind, str] = {"int64": "an integer", "float32": "a number", "bytes": "text"}


class CarryField(FrozenModel):
    """A field to carry along; its name alone stands for a field that every record has.

    Attributes:
      field: Its name in the source.
      default: Its value where a record has none; without a default, such a record is a reject.
      type: Its type, int64, float32 or bytes; found in the source if left out.
    """

    field: Annotated[str, pydantic.Field(min_length=1)]
    default: int | Annotated[float, pydantic.Field(allow_inf_nan=False)] | str | None = None
    type: FeatureKind | None = None

    @pydantic.model_validator(mode="after")
    def _default_fits(self) -> "CarryField":
        if self.type is not None and not _fits(self.default, self.type):
            raise ValueError(
                f"expected {_MEANT[self.type]} as the default of a field of type {self.type!r}, "
                f"got {self.default!r}"
            )
        return self

    @pydantic.model_serializer(mode="wrap")
    def _shorten(self, dump: pydantic.SerializerFunctionWrapHandler) -> Any:
        """Writes a field without further settings as its name, as configs do."""
        content = {name: value for name, value in dump(self).items() if value is not None}
        return content if content.keys() - {"field"} else self.field

    @property
    def known_kind(self) -> FeatureKind | None:
        """The type that the settings say the field has; None if they say nothing."""
        if self.type is not None or self.default is None:
            return self.type
        if isinstance(self.default, str):
            return "bytes"
        return "int64" if isinstance(self.default, int) else "float32"


def _name_or_mapping(value: Any) -> Any:
    return {"field": value} if isinstance(value, str) else value


# By the names that the fields get in the token records.
Carry = dict[Name, Annotated[CarryField, pydantic.BeforeValidator(_name_or_mapping)]]


def check_carried_names(names: Iterable[str]) -> None:
    """Raises a RequestError if a carried feature has the name of a feature of token records."""
    for name in names:
        if name in RESERVED_FEATURES:
            raise RequestError(
                f"source.carry: expected names other than {', '.join(RESERVED_FEATURES)}, "
                f"got {name!r}, which token records use themselves."
            )


def carried_features(
    carry: Mapping[str, CarryField],
    kinds: Mapping[str, FeatureKind],
    class_names: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[CarriedFeature, ...]:
    """Returns the features that a source carries.

    Args:
      carry: The fields of the config.
      kinds: The types that the source gives its fields; a field that it never has is not there.
      class_names: Names of the classes of fields that are class labels.

    Raises:
      RequestError: A name is taken, a field has another type than the config says, its default
        does not fit, or it is nowhere and nothing tells its type.
    """
    check_carried_names(carry)
    found = []
    for name, wanted in carry.items():
        kind = kinds.get(wanted.field, wanted.known_kind)
        if kind is None:
            raise RequestError(
                f"source.carry.{name}: expected a field {wanted.field!r}, found none. "
                "Correct its name; or give a default, if no record needs to have it."
            )
        if wanted.type not in (None, kind):
            raise RequestError(
                f"source.carry.{name}: expected a field of type {wanted.type!r}, "
                f"got {kind!r} in {wanted.field!r}. Correct the type, or leave it out."
            )
        if not _fits(wanted.default, kind):
            raise RequestError(
                f"source.carry.{name}: expected {_MEANT[kind]} as the default of {wanted.field!r}, "
                f"which is of type {kind!r}, got {wanted.default!r}."
            )
        names = (class_names or {}).get(wanted.field)
        default = wanted.default
        if kind == "float32" and isinstance(default, int):
            default = float(default)
        found.append(CarriedFeature(name, wanted.field, kind, names, default))
    return tuple(found)


def _fits(default: object, kind: FeatureKind) -> bool:
    if default is None:
        return True
    match kind:
        case "int64":
            return isinstance(default, int) and -(2**63) <= default < 2**63
        case "float32":
            return isinstance(default, int | float)
        case "bytes":
            return isinstance(default, str)
