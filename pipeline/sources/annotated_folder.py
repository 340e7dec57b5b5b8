"""Annotated folder: an image folder whose metadata files have columns for its images."""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO

from fsq.dataset.records import CarriedFeature
from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.storage.path_encoding import to_utf8
from fsq.storage.temporary import open_temporary
from pipeline.core.left_out import BESIDE_PARTS, ROWS_ALONE, ending_of
from pipeline.core.records import Unit
from pipeline.sources.base import no_heartbeat
from pipeline.sources.image_folder import ImageFolderSource
from pipeline.sources.image_listing import ListedImage, folder_of
from pipeline.sources.image_walk import METADATA_NAMES, Tally, path_of
from pipeline.sources.listed_rows import ListedRow, RowListing
from pipeline.sources.listing import Listing
from pipeline.sources.listing_text import LISTING_NAME, units_of_lines
from pipeline.sources.metadata_files import MetadataFiles
from pipeline.sources.row_source import RowSource


class AnnotatedFolderSource(RowSource, ImageFolderSource):
    """The images and keys of an image folder, with a line each that holds its values too."""

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        config, listing = self.config, RowListing(stride)
        with open_temporary() as draft:
            tally = self.walk_into(draft, heartbeat)
            left_out = self._find_metadata(tally)
            metadata = MetadataFiles(
                config.directory, sorted(tally.metadata), config.carry or {}, heartbeat
            )
            classes = self.classes_of(tally) if config.labels else None
            if classes is not None and "label" in (config.carry or {}):
                raise RequestError(
                    "source.carry: expected names other than 'label' where the folders are the "
                    "classes, which have this name. Rename it, or set source.labels to false."
                )
            with metadata.read():
                missing = self._add_images(listing, draft, tally, metadata, classes)
        left_out[ROWS_ALONE] = metadata.num_rows - metadata.num_found
        label = () if classes is None else (CarriedFeature("label", "", "int64", classes),)
        shown = metadata.describe()
        if missing:
            shown += f"; images without a row: {missing:,}"
        return listing.finish(
            (*label, *metadata.features), "", dict(sorted((+left_out).items())), shown
        )

    def units_of(self, listing: Listing, groups: Collection[str]) -> Iterator[Unit]:
        """Yields units of some groups; see `Source.units_of`."""
        yield from units_of_lines(
            listing, lambda line: folder_of(ListedRow.from_line(line).key) in groups
        )

    def _find_metadata(self, tally: Tally) -> Counter[str]:
        """Adds the files above the folders of splits; returns what is left out besides them."""
        left_out = tally.left_out - Counter(map(ending_of, tally.metadata))
        parts = [folder.rstrip("/").split("/") for folder in self._folders.values() if folder]
        above = {"/".join(names[:depth]) for names in parts for depth in range(len(names))}
        for folder in sorted(above):
            for name in METADATA_NAMES:
                found = f"{folder}/{name}" if folder else name
                if filesystem.exists(path_of(self.config.directory, found)):
                    tally.metadata.append(found)
                    left_out -= Counter({BESIDE_PARTS: 1})
        if not tally.metadata:
            raise RequestError(
                f"source.carry: expected a file {', '.join(METADATA_NAMES)} in "
                f"{self.config.directory!r} or below, found none. Add it, or leave the key out."
            )
        return left_out

    def _add_images(
        self,
        listing: RowListing,
        draft: BinaryIO,
        tally: Tally,
        metadata: MetadataFiles,
        classes: tuple[str, ...] | None,
    ) -> int:
        """Adds a row for every image of the draft; returns how many have none in the metadata."""
        ranks = {name: rank for rank, name in enumerate(classes or ())}
        root = self.config.directory
        root = to_utf8(root) if filesystem.is_local(root) else root
        missing = first = 0
        draft.seek(0)
        for split, count in tally.sections.items():
            for line in itertools.islice(draft, count):
                image = ListedImage.from_line(line)
                group = folder_of(image.key)
                row = metadata.find(image.key)
                if row is None:
                    missing += 1
                    row = metadata.missing(image.key)
                refused = image.refused or row.refused
                label = () if classes is None else (ranks[self.class_of(group)],)
                listing.add(
                    ListedRow(
                        image.key,
                        filesystem.join(root, image.key),
                        image.size_bytes,
                        image.modified_ns,
                        () if refused else (*label, *row.values),
                        refused,
                    ),
                    group,
                )
            listing.end_file(LISTING_NAME, split, first=first)
            first += count
        return missing
