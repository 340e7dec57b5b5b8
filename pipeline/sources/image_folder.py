"""Image folder source: the image files in a directory tree."""

import functools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, BinaryIO, Literal

import pydantic

from fsq.dataset.records import CarriedFeature, encode_key
from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.storage.path_expansion import looked_in
from fsq.storage.temporary import open_temporary
from fsq.yaml_config import PathStr
from pipeline.core.left_out import describe_left_out
from pipeline.core.records import BadRecord, ImageRecord, Unit, hex_of_hashes, record_numbers
from pipeline.sources.base import NO_TIMEOUTS, BaseSourceConfig, Source, no_heartbeat
from pipeline.sources.carry import Carry
from pipeline.sources.class_folders import (
    Classes,
    check_known,
    classes_by_folder,
    read_classes,
)
from pipeline.sources.image_listing import (
    ListedImage,
    finish_listing,
    first_change,
    folder_of,
)
from pipeline.sources.image_walk import ImageWalk, Tally, path_of
from pipeline.sources.listing import ListedFile, Listing
from pipeline.sources.listing_text import (
    LISTING_NAME,
    first_rewritten,
    read_image,
    read_lines,
    units_of_lines,
)
from pipeline.sources.part_places import PartPlaces, count_beside
from pipeline.sources.read_ahead import read_ahead
from pipeline.sources.split_folders import Folders, folders_of


class ImageFolderConfig(BaseSourceConfig):
    """A folder of images; with `labels`, each image's folder is its class.

    A file is an image by its ending or, with any other ending, by its first bytes. What is left
    out is counted by ending in plan, summary, manifest and `fsq inspect`; so are hidden files
    and folders, which are skipped. A link to a file out of the folder is a reject unless
    `follow_links` is set. What cannot be counted ends the job: an unreadable folder, or a link to
    one outside. A link to a folder that is read at its own place is counted, and so is what lies
    beside the folders of `output.split`; a link from one of these into another is refused.

    Files `metadata.csv`, `metadata.jsonl` or `metadata.parquet` in the folder and below have a row
    for each image there: a column `file_name` (or one that ends so) with the path relative to the
    file, and others. They are found by themselves, and read if `carry` names columns of them. An
    image without a row gets the defaults, or is a reject; rows without an image are counted as left
    out.

    Attributes:
      directory: The folder, local or in an object store.
      labels: Whether the folder of an image is its class; false for images without classes. By
        default true, with `carry` false.
      classes: Names of the classes in the order of their labels: a list, a text file with a name
        per line, or the directory of a dataset whose labels are to be shared. A folder may lack
        some. By default they are the folders, sorted by name.
      follow_links: Whether symbolic links that lead out of the folder are followed.
      carry: Columns of metadata files to carry along, by their names in the token records.
    """

    kind: Literal["image_folder"]
    directory: PathStr
    labels: bool = True
    classes: Classes | None = None
    follow_links: bool = False
    # Not empty by default: the fingerprints of jobs without it stay what they were.
    carry: Annotated[Carry, pydantic.Field(min_length=1)] | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _metadata_instead_of_labels(cls, settings: Any) -> Any:
        if isinstance(settings, dict) and settings.get("carry") is not None:
            return {"labels": False, **settings}
        return settings

    @pydantic.model_validator(mode="after")
    def _classes_are_labels(self) -> "ImageFolderConfig":
        if self.classes is not None and not self.labels:
            raise ValueError("expected 'labels: true' with 'classes', got false")
        return self

    def open(self) -> "ImageFolderSource":
        """Returns the source that this config describes; reads nothing yet."""
        return self._source({None: ""})

    def open_parts(self, parts: Mapping[str, str]) -> "ImageFolderSource":
        """Returns the source of some parts, which are folders in the directory."""
        return self._source(folders_of(parts))

    def _source(self, folders: Folders) -> "ImageFolderSource":
        if self.carry is None:
            return ImageFolderSource(self, folders)
        # It is an image folder itself.
        from pipeline.sources.annotated_folder import AnnotatedFolderSource

        return AnnotatedFolderSource(self, folders)


class ImageFolderSource(Source):
    """Keys are paths relative to the folder; files and folders with a leading dot are skipped.

    Of several parts, each a folder in it, the classes are the folders below any of them: with
    `train/cat/1.png` and `val/cat/2.png` these are the keys, and both are of the class 'cat'.

    A key is the bytes of the path, as UTF-8 where they are UTF-8, in every locale.

    The listing is a file with one line per image (`ListedImage`), so that memory
    does not grow with the number of images.
    """

    def __init__(self, config: ImageFolderConfig, folders: Folders):
        self.config = config
        self._folders = folders

    def describe(self) -> str:
        """Returns the name of the input in messages."""
        return self.config.directory

    def check_output(self, directory: str) -> None:
        """Refuses an output in the folder; see `Source.check_output`."""
        root = self.config.directory
        if not (filesystem.is_local(root) and filesystem.is_local(directory)):
            return
        inside, outside = os.path.realpath(directory), os.path.realpath(root)
        if f"{inside}/".startswith(f"{outside.rstrip('/')}/"):
            raise RequestError(
                f"{directory}: expected an output outside of source.directory, {root}, got one in "
                "it, which would be listed with the images. Choose another directory."
            )

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        with open_temporary() as draft:
            tally = self.walk_into(draft, heartbeat)
            classes = self.classes_of(tally) if self.config.labels else ()
            # The walk numbers folders in its order; class labels are numbered by name.
            ranks = {name: rank for rank, name in enumerate(classes)}
            numbers = [ranks.get(self.class_of(name), -1) for name in tally.records]
            draft.seek(0)
            counts = list(tally.sections.values())
            text = finish_listing(draft, numbers, stride, counts)
        files = [
            ListedFile(
                path=LISTING_NAME,
                name=LISTING_NAME,
                size_bytes=text.file.tell(),
                modified_ns=0,
                num_readable=counts[number],
                offsets=text.offsets[number],
                stride=stride,
                first=sum(counts[:number]),
                split=split,
            )
            for number, split in enumerate(tally.sections)
        ]
        return Listing(
            files=tuple(files),
            features=(CarriedFeature("label", "", "int64", classes),) if classes else (),
            groups={
                name: (count, tally.size_bytes[name])
                for name, count in sorted(tally.records.items())
            },
            text=text.file,
            text_sha256=text.sha256,
            images={
                name: hex_of_hashes(total)
                for name, total in zip(tally.records, text.hashes, strict=True)
            },
            left_out=dict(sorted(tally.left_out.items())),
            metadata=_describe_metadata(tally.metadata),
        )

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""

        def read_one(listed: tuple[int, bytes]) -> ImageRecord | BadRecord:
            number, line = listed
            image = ListedImage.from_line(line)
            if number in timed_out:
                return BadRecord(image.key, timed_out[number])
            return self._read(image, labelled=bool(features))

        listed = zip(record_numbers(unit), read_lines(unit), strict=True)
        yield from read_ahead(listed, read_one, place=self.config.directory)

    def units_of(self, listing: Listing, groups: Collection[str]) -> Iterator[Unit]:
        """Yields units of some groups; see `Source.units_of`."""
        yield from units_of_lines(listing, lambda line: folder_of(_key_of(line)) in groups)

    def units_with(self, listing: Listing, keys: Collection[str]) -> Iterator[Unit]:
        """Yields units of some keys; see `Source.units_with`."""
        yield from units_of_lines(listing, lambda line: _key_of(line) in keys)

    def group_of(self, unit: Unit, key: str) -> str:
        """Returns the group of a record; see `Source.group_of`."""
        return folder_of(key)

    def first_change(self, before: str, after: Listing, unit: Unit | None = None) -> str | None:
        """Names the first changed image; see `Source.first_change`."""
        assert after.text is not None
        path = filesystem.join(before, LISTING_NAME)
        if not filesystem.exists(path):
            return None
        with filesystem.open_read(path) as file:
            if unit is None:
                return first_change(file, after.text)
            line = first_rewritten(file, after, unit)
        return None if line is None else f"{_key_of(line)} was rewritten"

    def _read(self, image: "ListedImage", *, labelled: bool) -> ImageRecord | BadRecord:
        if image.refused is not None:
            return BadRecord(image.key, image.refused)
        data = read_image(image.key, path_of(self.config.directory, image.key), image.size_bytes)
        if isinstance(data, BadRecord):
            return data
        return ImageRecord(image.key, data, (image.label,) if labelled else ())

    def walk_into(self, target: BinaryIO, heartbeat: Callable[[], None]) -> Tally:
        """Writes a line for every image, with the number of its folder as the label."""
        config = self.config
        images = ImageWalk(config.directory, config.follow_links, target, heartbeat)
        places = PartPlaces(config.directory, self._folders, follow_links=config.follow_links)
        # In the order of the keys, whatever that of the splits.
        for split, folder in sorted(self._folders.items(), key=lambda item: encode_key(item[1])):
            images.add(folder, split, functools.partial(places.check_link, split))
            if not images.tally.sections[split]:
                key = "source.directory" if split is None else f"output.split.{split}"
                path = path_of(config.directory, folder)
                found = describe_left_out(images.tally.left_out) or "no files"
                if filesystem.is_local(path) and not os.path.isdir(path):
                    found = "no such folder"
                raise RequestError(
                    f"{key}: expected images in {path!r}{looked_in(path)}, found {found}. "
                    "Check the path."
                )
        images.tally.left_out.update(count_beside(config.directory, self._folders))
        return images.tally

    def classes_of(self, tally: Tally) -> tuple[str, ...]:
        """Returns the names of the classes, in the order of their labels.

        Raises:
          RequestError: Folders and classes do not fit together.
        """
        folder, given = self.config.directory, self.config.classes
        for name, count in tally.records.items():
            if self.class_of(name) == ".":
                or_carry = (
                    f"; or carry columns of {tally.metadata[0]} with source.carry"
                    if tally.metadata
                    else ""
                )
                raise RequestError(
                    f"{filesystem.join(folder, tally.first[name])}: expected each image in the "
                    f"folder of its class, found {count:,} outside. Move them, or set "
                    f"source.labels to false{or_carry}."
                )
        images, folders, others = (
            dict.fromkeys(map(self.class_of, names))
            for names in (tally.records, tally.folders, tally.others)
        )
        if given is None:
            return classes_by_folder(folder, images, folders, others)
        classes = read_classes(given)
        check_known(folder, images, classes)
        return classes

    def class_of(self, folder: str) -> str:
        """Returns the class of the images in a folder: its path below that of its part."""
        for part in self._folders.values():
            if f"{folder}/".startswith(part):
                return f"{folder}/".removeprefix(part).rstrip("/") or "."
        return folder


def _describe_metadata(names: Sequence[str]) -> str:
    """Says that there are metadata files, which the config does not ask for."""
    if not names:
        return ""
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]}{more}: found, not read; name columns to carry in source.carry"


def _key_of(line: bytes) -> str:
    return ListedImage.from_line(line).key
