"""TFRecord source: files of tf.train.Example with named fields."""

from typing import ClassVar, Literal

from pipeline.sources.example_source import ExampleConfig
from pipeline.sources.record_formats import TFRECORD, RecordFormat


class TfrecordConfig(ExampleConfig):
    """TFRecord files of tf.train.Example with named fields.

    Attributes:
      files: Name or pattern of the files, or a list of these; exactly what they match is read.
        Required unless `output.split` has names or patterns.
      image: Field with the encoded image.
      key: Field with the key of the record; by default '<file>__<number>'.
      carry: Fields to carry along, by their names in the token records.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
      empty_files: Refuse files of 0 bytes, or allow them: plan, summary and manifest list them.
    """

    noun: ClassVar[str] = "TFRecord files"

    kind: Literal["tfrecord"]
    empty_files: Literal["refuse", "allow"] = "refuse"

    @property
    def record_format(self) -> RecordFormat:
        """How the files are listed and read."""
        return TFRECORD

    @property
    def may_be_empty(self) -> bool:
        """Whether a file of 0 bytes is a file without records."""
        return self.empty_files == "allow"
