"""The interface of a source: how an input format is configured, listed and read."""

import abc
import types
from collections.abc import Callable, Collection, Iterator, Mapping

from fsq.dataset.records import CarriedFeature
from fsq.validation import FrozenModel
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.listing import Listing, file_name

NO_TIMEOUTS: Mapping[int, str] = types.MappingProxyType({})


def no_heartbeat() -> None:
    """Does nothing: the heartbeat of a listing without a stall timeout."""


class BaseSourceConfig(FrozenModel, abc.ABC):
    """What every source's config has in common; each adds a `kind`, its name in YAML."""

    @abc.abstractmethod
    def open(self) -> "Source":
        """Returns the source that the config describes, without reading anything yet."""


class Source(abc.ABC):
    """One input format, opened by its config.

    What is not abstract suits a format of record files, each of which holds many images.
    """

    @abc.abstractmethod
    def describe(self) -> str:
        """Names the input for a message: its folder, files or dataset."""

    @abc.abstractmethod
    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input.

        Args:
          stride: Note the place of every so many records only.
          heartbeat: Called before each read, so that a read that hangs is noticed.

        Raises:
          RequestError: There is none, or it lacks what the config names.
          DataError: A file is damaged, and damage is not to be rejected.
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
          unit: What to read.
          features: What to carry along.
          timed_out: Records whose read stalled in every try, by number, with the
            reason: they are not read again.

        Raises:
          OSError: The unit's file cannot be read.
          DataError: It is damaged, and damage is not to be rejected.
        """

    def units_of(self, listing: Listing, groups: Collection[str]) -> Iterator[Unit]:
        """Yields units that hold all records of some entries of `Listing.groups`.

        The listing is one with the stride 1.
        """
        for file in listing.files:
            if file.name in groups:
                yield Unit("", file.path, file.spans(0, file.num_records))

    def group_of(self, unit: Unit, key: str) -> str:
        """Returns the entry of `Listing.groups` that a record belongs to."""
        return file_name(unit.path)

    def first_change(self, before: str, after: Listing, unit: Unit | None = None) -> str | None:
        """Names the first image that has changed since the input was listed before.

        Listings of record files know nothing of single images, hence None.

        Args:
          before: The folder that the earlier listing was written to.
          after: The listing now.
          unit: Compare its images only, by their modification times too.

        Returns:
          '<image> was <before>, is <after>', or with a unit '<image> was written
          anew'; None if no such image is known.
        """
        return None
