"""Class folders: the classes of an image folder, from its folders or from a given list."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated

import pydantic

from fsq.dataset.class_names import names_file_of, storable
from fsq.dataset.manifest import has_manifest, read_listed, read_manifest
from fsq.dataset.records import encode_key
from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.yaml_config import PathStr

# Folders of these names hold the images of a split, not of a class.
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
# So are those beside each other, where more is in the name: train2017, trainA, test_set.
_SPLIT = re.compile(
    rf"(?i:{'|'.join(sorted(SPLITS))})([A-Z]|(?i:[-_ ]?(set|images|data|[0-9]+)))?",
)
NAMES_FILE = names_file_of("label")


def _check_given(classes: object) -> object:
    if isinstance(classes, list | tuple):
        for name in classes:
            if not isinstance(name, str):
                raise ValueError(f"expected the names of classes, got {name!r}. Put it in quotes.")
    elif classes is not None and not isinstance(classes, str):
        raise ValueError(f"expected a list of names or a path, got {classes!r}")
    return classes


# Names of classes in the order of their labels, or where they are read; see `read_classes`.
Classes = Annotated[PathStr | tuple[str, ...], pydantic.BeforeValidator(_check_given)]


def classes_by_folder(
    root: str, images: Collection[str], folders: Collection[str], others: Collection[str]
) -> tuple[str, ...]:
    """Returns the folders with images and those that are empty, sorted by name.

    Args:
      root: The image folder, for messages.
      images: The folders, relative to it, that have images.
      folders: All folders.
      others: The folders that have other files.

    Raises:
      RequestError: A folder has other files only, belongs to a split, or has a name
        that the file of class names does not give back.
    """
    filled = {above for name in images for above in (*_parents(name), name)}
    parents = {parent for name in folders for parent in _parents(name)}
    # Below the folder of a class, a folder is a class only if it has images.
    barren = [
        name
        for name in sorted({*folders, *others}, key=encode_key)
        if name not in filled and not any(parent in images for parent in _parents(name))
    ]
    empty = {name for name in barren if name not in parents and name not in others}
    _refuse_splits(root, images, empty)
    for name in barren:
        if name in others:
            raise RequestError(
                f"{filesystem.join(root, name)}: expected images in the folder of a class, found "
                "other files only. Move it away, name all classes in source.classes, or set "
                "source.labels to false."
            )
    classes = {*images, *empty}
    for name in classes:
        if not storable(name):
            raise RequestError(
                f"{filesystem.join(root, name)!a}: expected the name of a class, in UTF-8, on one "
                "line and without white space around it. Rename the folder, or set source.labels "
                "to false."
            )
    return tuple(sorted(classes, key=encode_key))


def check_known(root: str, images: Mapping[str, object], classes: Collection[str]) -> None:
    """Raises a RequestError if a folder with images is none of the given classes."""
    known = set(classes)
    unknown = [name for name in sorted(images, key=encode_key) if name not in known]
    if unknown:
        raise RequestError(
            f"{filesystem.join(root, unknown[0])}: expected a folder of source.classes, "
            f"{len(classes):,} names, got another. Add it to source.classes, or move the "
            "folder away."
        )


def read_classes(classes: tuple[str, ...] | str) -> tuple[str, ...]:
    """Returns the given classes: names, or the path of a text file or of a dataset.

    Raises:
      RequestError: They cannot be read, come twice, or cannot be stored.
      DataError: The dataset was edited.
    """
    where = "source.classes" if isinstance(classes, tuple) else classes
    names = classes if isinstance(classes, tuple) else _read_names(classes)
    seen: set[str] = set()
    for number, name in enumerate(names):
        if not storable(name):
            raise RequestError(
                f"{where}: expected the name of a class, on one line and without white space "
                f"around it, got {name!a} for class {number}. Correct it."
            )
        if name in seen:
            raise RequestError(
                f"{where}: expected each class once, got {name!r} twice. Remove one."
            )
        seen.add(name)
    if not names:
        raise RequestError(f"{where}: expected names of classes, got none. Add them.")
    return tuple(names)


def _read_names(path: str) -> list[str]:
    listed = filesystem.join(path, NAMES_FILE)
    try:
        if has_manifest(path):
            data = read_listed(path, read_manifest(path), NAMES_FILE)
        else:
            data = filesystem.read(listed if filesystem.exists(listed) else path)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(
            "source.classes: expected a list, a text file with a class per line, or the directory "
            f"of a dataset with {NAMES_FILE}, got {path!r}: {reason}. Correct it."
        ) from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def _refuse_splits(root: str, images: Collection[str], empty: Collection[str]) -> None:
    groups = _split_folders(images, empty)
    if not groups:
        return
    splits = groups[0]
    found = " and ".join(f"{name}/" for name in splits[:3])
    names = (re.sub("[^a-z0-9]", "_", name.rpartition("/")[2].lower()) for name in splits)
    parts = ", ".join(f"{name}: {folder}" for name, folder in zip(names, splits, strict=True))
    # One job has one folder for each split, so that those of several groups do not fit in.
    by_folder = f"Set output.split to {{{parts}}}, or " if len(groups) == 1 else "Set "
    raise RequestError(
        f"{root}: expected the folders of classes, found {found}, which are names of splits. "
        f"{by_folder}source.directory to {filesystem.join(root, splits[0])}, or source.labels to "
        "false; if they are classes, name them in source.classes."
    )


def _split_folders(images: Collection[str], empty: Collection[str]) -> list[list[str]]:
    """Returns the folders of splits, those beside each other together."""
    beside: dict[str, set[str]] = defaultdict(set)
    for name in (*images, *empty):
        for folder in (*_parents(name), name):
            above, _, last = folder.rpartition("/")
            if _SPLIT.fullmatch(last):
                beside[above].add(folder)
    groups = [sorted(beside[above]) for above in sorted(beside) if len(beside[above]) > 1]
    if groups:
        return groups
    tops = {name.partition("/")[0] for name in images}
    splits = sorted(top for top in tops if top.lower() in SPLITS)
    nested = any(name.partition("/")[0] in splits and "/" in name for name in images)
    return [splits] if splits and (nested or len(splits) == len(tops)) else []


def _parents(name: str) -> Iterator[str]:
    """Yields the folders above a folder."""
    at = name.find("/")
    while at >= 0:
        yield name[:at]
        at = name.find("/", at + 1)
