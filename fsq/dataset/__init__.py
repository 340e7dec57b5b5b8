"""Token datasets: manifest, record formats, and readers for training a prior.

`token_dataset` (for TensorFlow) and `TokenBatches` (without it) read the TFRecord
shards in batches, `TokenSource` reads single records of ArrayRecord files; all three
share one parser. They are loaded on first use; only `token_dataset` imports
TensorFlow, and nothing here imports Beam.
"""

from typing import TYPE_CHECKING

from fsq.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from fsq.dataset.open_dataset import read_contract, tokens_of
    from fsq.dataset.sequence import Caption, SequenceSpec
    from fsq.dataset.tf_dataset import token_dataset
    from fsq.dataset.token_batches import TokenBatches
    from fsq.dataset.token_source import TokenSource

__all__ = [
    "Caption",
    "SequenceSpec",
    "TokenBatches",
    "TokenSource",
    "read_contract",
    "token_dataset",
    "tokens_of",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Caption": "sequence",
        "SequenceSpec": "sequence",
        "TokenBatches": "token_batches",
        "TokenSource": "token_source",
        "read_contract": "open_dataset",
        "token_dataset": "tf_dataset",
        "tokens_of": "open_dataset",
    },
)
