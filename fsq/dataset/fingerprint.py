"""Fingerprint of a dataset: everything that decides its bytes, field by field."""

import json
from typing import Any

import pydantic

from fsq.dataset.class_names import describe_classes
from fsq.images.spec import DecodeRules
from fsq.spec.contract import TokenContract
from fsq.storage.json_documents import first_difference, sha256_of_json
from fsq.validation import Count, FrozenModel


class InputFile(FrozenModel):
    """A source file, or a folder of image files.

    Attributes:
      records: Number of records.
      bytes: Size of the file, or of all image files.
      images: Hash over names and sizes of the image files; None for a file of records.
    """

    records: Count
    bytes: Count
    images: str | None = None


class Input(FrozenModel):
    """The input of a source.

    Attributes:
      classes: Label of each class, by carried feature.
      files: By path relative to the source's location.
      sha256: Digest over names, sizes and counts.
    """

    classes: dict[str, dict[str, Count]] | None = None
    files: dict[str, InputFile]
    sha256: str

    def describe_classes(self) -> tuple[str, ...]:
        """Describes the classes of each carried feature, a line each."""
        lines = []
        for feature, labels in (self.classes or {}).items():
            names = sorted(labels, key=lambda name: labels[name])
            line = describe_classes(names, self._without_images(names))
            lines.append(line if feature == "label" else f"{feature}: {line}")
        return tuple(lines)

    def _without_images(self, names: list[str]) -> list[str]:
        """Returns the classes without a folder of images; none if files are no classes."""
        missing = [name for name in names if name not in self.files]
        return missing if any(name in self.files for name in names) else []

    def describe_empty(self) -> str | None:
        """Describes the files that are empty, by the first of them; None if there are none."""
        empty = [name for name, file in self.files.items() if file.records == file.bytes == 0]
        if not empty:
            return None
        more = f" and {len(empty) - 1:,} more" if len(empty) > 1 else ""
        return f"{empty[0]}{more}, {len(empty):,} of {len(self.files):,} source files"


class RuntimeChoice(FrozenModel):
    """How the encoder is run.

    Attributes:
      name: Name of the runtime; 'auto' until one is selected.
      precision: Precision of the encoder.
      version: Version of the runtime's package; None for TensorFlow.
      probe: Agreement of its tokens with the reference's, if measured.
    """

    name: str
    precision: str
    version: str | None = None
    probe: dict[str, Any] | None = None


class Split(FrozenModel):
    """A split of a dataset, and which images belong to it: all, unless a share or a part is given.

    Attributes:
      number: Its place among the splits, from 0.
      num_shards: Number of shards in each format.
      share: Share of the images, by `split_by_key.split_of`.
      part: What the source calls the part of it that these images are.
    """

    number: Count
    num_shards: Count
    share: float | None = None
    part: str | None = None


class Fingerprint(FrozenModel):
    """Everything that decides a dataset's bytes; two jobs are the same if all fields are equal.

    Attributes:
      tokenizer: The token contract, with the dataset's views and dtype.
      source: Config of the source.
      input: What the source listed.
      limit: Number of images taken; None for all.
      name: Name of the dataset.
      splits: The splits by name.
      formats: Names of the shard formats.
      batch_size: Images per call of the encoder.
      runtime: How the encoder was run.
      views: View policies that have parameters; the contract has only the names of views.
      decode: Which image files were decoded.
      filter: Which images were tokenized, by their size; None for all.
      versions: Versions of the packages that decide pixels, latents or bytes.
    """

    tokenizer: TokenContract
    source: dict[str, Any]
    input: Input
    limit: int | None = None
    name: str
    splits: dict[str, Split]
    formats: tuple[str, ...]
    batch_size: Count
    runtime: RuntimeChoice
    views: list[Any] | None = None
    decode: DecodeRules
    filter: dict[str, float | None] | None = None
    versions: dict[str, str]

    @property
    def num_shards(self) -> int:
        """Number of shards of all splits, in each format."""
        return sum(split.num_shards for split in self.splits.values())

    @property
    def shares(self) -> dict[str, float] | None:
        """The share of each split, in order; None if they are not divided by shares."""
        splits = sorted(self.splits.items(), key=lambda item: item[1].number)
        return {name: split.share for name, split in splits if split.share is not None} or None

    @property
    def sha256(self) -> str:
        """The digest that names parts and is stored in the manifest."""
        return sha256_of_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Returns the fingerprint as JSON data, without fields that are None."""
        # Not in pydantic's JSON mode, which changes names that are not UTF-8.
        found: dict[str, Any] = json.loads(json.dumps(self.model_dump(exclude_none=True)))
        return found

    def first_difference(self, after: "Fingerprint") -> str | None:
        """Names the first field in which another fingerprint differs, with both values."""
        return first_difference(self.to_dict(), after.to_dict())


class SealedFingerprint(FrozenModel):
    """A fingerprint with its digest, as stored in the manifest."""

    sha256: str
    fields: Fingerprint

    @pydantic.model_validator(mode="after")
    def _digest_fits(self) -> "SealedFingerprint":
        if self.sha256 != self.fields.sha256:
            raise ValueError(f"expected sha256 {self.fields.sha256[:12]}, got {self.sha256[:12]}")
        return self
