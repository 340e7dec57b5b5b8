"""Token datasets: manifest, record formats, and readers for training a prior.

`token_dataset` (for TensorFlow) and `TokenBatches` (without it) read the TFRecord
shards in batches, `TokenSource` reads single records of ArrayRecord files; all three
share one parser. They are loaded on first use; only `token_dataset` imports
TensorFlow, and nothing here imports Beam.
"""

import importlib
from typing import TYPE_CHECKING, Any

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

_MODULES = {
    "Caption": "fsq.dataset.sequence",
    "SequenceSpec": "fsq.dataset.sequence",
    "TokenBatches": "fsq.dataset.token_batches",
    "TokenSource": "fsq.dataset.token_source",
    "read_contract": "fsq.dataset.open_dataset",
    "token_dataset": "fsq.dataset.tf_dataset",
    "tokens_of": "fsq.dataset.open_dataset",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'fsq.dataset' has no attribute '{name}'")
