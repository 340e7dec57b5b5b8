"""The fingerprint of a dataset: all that decides its bytes, field by field."""

import json
from typing import Any

import pydantic

from fsq.images.spec import DecodeRules
from fsq.spec.contract import TokenContract
from fsq.storage.json_documents import first_difference, sha256_of_json
from fsq.validation import Count, FrozenModel


class InputFile(FrozenModel):
    """A source file, or a folder of image files."""

    records: Count
    bytes: Count


class Input(FrozenModel):
    """All of a source's input.

    Attributes:
      files: By name, relative to where the source lies.
      sha256: Over names, sizes and counts.
    """

    files: dict[str, InputFile]
    sha256: str


class RuntimeChoice(FrozenModel):
    """How the encoder is run.

    Attributes:
      name: Of the runtime; 'auto' until one is selected.
      precision: Of the encoder.
      version: Of the package behind it, where that is not TensorFlow.
      probe: How its tokens agreed with the reference's, where that was tried.
    """

    name: str
    precision: str
    version: str | None = None
    probe: dict[str, Any] | None = None


class Fingerprint(FrozenModel):
    """Another value of any field is another job.

    Attributes:
      tokenizer: The token contract, with the dataset's views and storage type.
      source: The config of the source.
      input: What the source listed.
      limit: How many images were taken, if not all.
      name: Of the dataset.
      split: Its split.
      num_shards: Shards in each format.
      formats: Shard formats.
      batch_size: Images per run of the encoder.
      runtime: How the encoder was run.
      views: The view policies, where they have parameters: the contract has the names alone.
      decode: Which image files were decoded.
      versions: Of the packages that decide pixels, latents or bytes.
    """

    tokenizer: TokenContract
    source: dict[str, Any]
    input: Input
    limit: int | None = None
    name: str
    split: str
    num_shards: Count
    formats: tuple[str, ...]
    batch_size: Count
    runtime: RuntimeChoice
    views: list[Any] | None = None
    decode: DecodeRules
    versions: dict[str, str]

    @property
    def sha256(self) -> str:
        """The digest that names parts, and that a manifest bears."""
        return sha256_of_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Returns the fingerprint as JSON has it; fields without a value are left out."""
        # Not by pydantic's JSON mode: that changes names that are not UTF-8.
        found: dict[str, Any] = json.loads(json.dumps(self.model_dump(exclude_none=True)))
        return found

    def first_difference(self, after: "Fingerprint") -> str | None:
        """Names the first field in which another fingerprint differs, with both values."""
        return first_difference(self.to_dict(), after.to_dict())


class SealedFingerprint(FrozenModel):
    """A fingerprint beside its digest, as the manifest has it."""

    sha256: str
    fields: Fingerprint

    @pydantic.model_validator(mode="after")
    def _digest_fits(self) -> "SealedFingerprint":
        if self.sha256 != self.fields.sha256:
            raise ValueError(f"expected sha256 {self.fields.sha256[:12]}, got {self.sha256[:12]}")
        return self
