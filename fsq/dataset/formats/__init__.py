"""Shard formats: one file per member of the registry."""

from typing import Literal

FileFormat = Literal["tfrecord", "array_record"]
