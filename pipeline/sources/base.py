"""The interface of a source: how an input format is configured, listed and read."""

import abc
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping

from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.validation import FrozenModel
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.listing import Listing
from pipeline.sources.units import one_unit_per_file

NO_TIMEOUTS: Mapping[int, str] = types.MappingProxyType({})


def no_heartbeat() -> None:
    """Does nothing: the heartbeat of a listing without a stall timeout."""


class BaseSourceConfig(FrozenModel, abc.ABC):
    """Base class of source configs; each adds a `kind`, its name in YAML."""

    @abc.abstractmethod
    def open(self) -> "Source":
        """Returns the source that the config describes, without reading anything yet."""

    def open_parts(self, parts: Mapping[str, str]) -> "Source":
        """Returns a source that lists some parts of the input, each file with its split.

        By default there are no parts that could be named.

        Args:
          parts: What the source calls each part, by split.

        Raises:
          RequestError: It has no such parts, or the config names others.
        """
        name, part = next(iter(parts.items()))
        (kind,) = typing.get_args(type(self).model_fields["kind"].annotation)
        raise RequestError(
            f"output.split.{name}: expected a share such as 0.9, because a source of kind "
            f"{kind!r} has no parts to name, got {part!r}. Divide it by shares."
        )


class Source(abc.ABC):
    """An input format, opened by its config.

    The methods that are not abstract suit formats with many images per file.
    """

    @abc.abstractmethod
    def describe(self) -> str:
        """Returns the name of the input in messages: its folder, files or dataset."""

    def check_output(self, directory: str) -> None:  # noqa: B027 - few sources could hold it
        """Checks that an output directory may be written while the input is read.

        Raises:
          RequestError: What is written there would become input.
        """

    @abc.abstractmethod
    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input.

        Args:
          stride: List the byte offset of every `stride`-th record only.
          heartbeat: Called before each read, so that a read that hangs is noticed.

        Raises:
          RequestError: There is no input, or it lacks what the config names.
          DataError: A file is damaged, and the config does not reject damage.
        """

    @abc.abstractmethod
    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Yields exactly `unit.num_records` records, in order.

        Args:
          unit: The unit.
          features: The features to carry along.
          timed_out: Records whose read stalled in every try, by number, with the
            reason: they are not read again.

        Raises:
          OSError: The unit's file cannot be read.
          DataError: It is damaged, and the config does not reject damage.
        """

    def units_of(self, listing: Listing, groups: Collection[str]) -> Iterator[Unit]:
        """Yields units with all records of some groups; see `Listing.groups`.

        The listing must have a stride of 1.
        """
        for file in listing.files:
            if file.name in groups:
                yield file.unit("", file.spans(file.first, file.num_records))

    def units_with(self, listing: Listing, keys: Collection[str]) -> Iterator[Unit]:
        """Yields units that hold the records of some keys, and as few others as is known.

        All units by default. The listing must have a stride of 1.
        """
        yield from one_unit_per_file(listing)

    def group_of(self, unit: Unit, key: str) -> str:
        """Returns the group of a record; see `Listing.groups`."""
        return unit.file

    def first_change(self, before: str, after: Listing, unit: Unit | None = None) -> str | None:
        """Describes the first image that changed since an earlier listing.

        Returns None by default: listings of record files do not list images.

        Args:
          before: The folder that the earlier listing was written to.
          after: The present listing.
          unit: Compare only the images of this unit, also by modification time.

        Returns:
          '<image> was <before>, is <after>', or with a unit '<image> was rewritten';
          None if no such image is known.
        """
        return None
