"""Splits of a dataset in a config: one name, shares of the images, or parts of the source."""

import re
from typing import Annotated

import pydantic

from fsq.dataset.split_by_key import sum_of_shares
from fsq.yaml_config import Name

_NAME = pydantic.TypeAdapter(Name)
# Text that means a share; a folder may be called '2020'.
_NUMBER = re.compile(r"\s*([0-9]*\.[0-9]+\s*%?|[0-9]+\s*%)\s*")
_MOST_SHARDS = 100_000
Splits = str | dict[str, float | str]
NumShards = Annotated[int, pydantic.Field(ge=1, le=_MOST_SHARDS)]


def check_splits(split: object) -> object:
    """Returns what a config has as `split`.

    Raises:
      ValueError: It is neither a name, nor shares of names that add up to 1, nor parts of names.
    """
    if isinstance(split, str):
        return _check_name(split)
    if not isinstance(split, dict) or not split:
        raise ValueError(
            "expected a name, or a mapping of names to shares (train: 0.9) or to parts of the "
            f"source (train: 'train[:90%]'), got {str(split)[:80]!r}"
        )
    for name in split:
        _check_name(name)
    values = list(split.values())
    if all(isinstance(value, str) and value for value in values):
        for value in values:
            if _NUMBER.fullmatch(value):
                raise ValueError(f"expected shares as numbers such as 0.9, got the text {value!r}")
        return split
    if not all(type(value) in (int, float) and 0 < value <= 1 for value in values):
        raise ValueError(
            "expected shares above 0 and at most 1 for all names, or text for all names: what "
            f"the source calls that part; got {str(values)[:80]}"
        )
    if (total := sum_of_shares(values)) != 1:
        raise ValueError(f"expected shares that add up to 1, got {float(total):g} in all")
    return split


def check_num_shards(num_shards: object) -> object:
    """Returns what a config has as `num_shards`.

    Raises:
      ValueError: It is neither a number of shards nor one for each of some names.
    """
    values = list(num_shards.values()) if isinstance(num_shards, dict) else [num_shards]
    for value in values:
        if type(value) is not int or not 1 <= value <= _MOST_SHARDS:
            raise ValueError(
                f"expected an integer from 1 to {_MOST_SHARDS:,}, or one for each split, "
                f"got {str(value)[:80]!r}"
            )
    return num_shards


def _check_name(name: object) -> str:
    try:
        found: str = _NAME.validate_python(name)
    except pydantic.ValidationError as error:
        raise ValueError(
            "expected names of splits with lower-case letters, digits and underscores, "
            f"got {str(name)[:80]!r}"
        ) from error
    if found == "all":
        raise ValueError(
            "expected a name other than 'all', which tensorflow-datasets uses for every split"
        )
    return found
