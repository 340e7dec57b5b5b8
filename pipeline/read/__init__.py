"""How a prior reads the tokens: one order of records and one parser, behind several faces.

`token_dataset` for TensorFlow and `TokenBatches` for everybody else read the
TFRecord shards in batches, `TokenSource` single records of ArrayRecord files. None
of it but `token_dataset` imports TensorFlow, and nothing imports Beam.
"""

from pipeline.read.batches import TokenBatches
from pipeline.read.opened import read_contract, tokens_of
from pipeline.read.sequence import Caption, SequenceSpec
from pipeline.read.source import TokenSource
from pipeline.read.tensors import token_dataset

__all__ = [
    "Caption",
    "SequenceSpec",
    "TokenBatches",
    "TokenSource",
    "read_contract",
    "token_dataset",
    "tokens_of",
]
