"""Datasets of random tokens, as `fsq tokenize` would write them but without an encoder.

For the tests and the benchmark of reading, where it does not matter what the
tokens show. They can be read, not decoded: the weights are missing.
"""

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fsq.dataset.example.encoder import ExampleWriter
from fsq.dataset.formats.array_record import open_array_record
from fsq.dataset.formats.tfrecord import frame
from fsq.dataset.manifest import files_of_shard, write_manifest
from fsq.dataset.records import CarriedFeature, place_of
from fsq.dataset.tfds_metadata import write_metadata
from fsq.images.crop import CropBox, View
from fsq.images.spec import DecodeRules, ImageSpec
from fsq.quantizer.lattice import storage_dtype
from fsq.spec.contract import CONTRACT_FILE, TokenContract, TokenizerSpec
from fsq.spec.network_spec import ConvNetwork
from fsq.storage.digest import sha256_of
from pipeline.job.job import Job
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.stages.finalize import shard_entry
from pipeline.stages.merge_shards import ShardResult, WrittenFile

TokenFormat = Literal["bytes", "int64_list"]
CLASSES = ("cat", "dog", "horse", "frog", "bird")


def write_random_tokens(
    directory: Path,
    *,
    images: int,
    side: int = 4,
    levels: tuple[int, ...] = (8, 5, 5, 5),
    views: tuple[str, ...] = ("center",),
    token_format: TokenFormat = "bytes",
    num_shards: int = 3,
    captions: bool = False,
    array_record: bool = False,
) -> np.ndarray:
    """Writes a dataset; image n has key 'n', label n % 5 and, if wanted, caption 'number n'.

    Returns:
      The tokens of image n and view v, int64 [images, views, side * side].
    """
    contract = _contract(side, levels, views, token_format)
    features = [CarriedFeature("label", "label", "int64", CLASSES)]
    if captions:
        features.append(CarriedFeature("caption", "caption", "bytes"))
    job = _job(directory, contract, tuple(features), images, num_shards)
    job = dataclasses.replace(job, array_record=array_record)
    tokens = np.random.default_rng(images).integers(
        0, contract.vocab_size, (images, len(views), side * side)
    )
    shards: list[list[tuple[Any, bytes]]] = [[] for _ in range(num_shards)]
    writer = ExampleWriter(contract.vocab_size, job.features, token_format)
    values = writer.tokens_to_values(tokens.reshape(-1, side * side))
    for number, value in enumerate(values):
        image, view = divmod(number, len(views))
        key = f"{image}".encode()
        place = place_of(key, views[view])
        carried = (image % len(CLASSES), f"number {image}".encode())[: len(features)]
        data = writer.serialize(value, key, View(views[view], CropBox(0, 0, 9, 9), False), carried)
        shards[place.shard(num_shards)].append((place, data))
    results = []
    for index, records in enumerate(shards):
        written = b"".join(frame(record) for _, record in sorted(records))
        Path(job.shard(index)).write_bytes(written)
        digest = hashlib.sha256(written).hexdigest()
        result = ShardResult(index, len(records), len(written), digest)
        if array_record:
            twin = Path(job.shard(index, "array_record"))
            with open_array_record(str(twin)) as write:
                for _, record in sorted(records):
                    write(record)
            file = WrittenFile(twin.stat().st_size, sha256_of(str(twin)))
            result = dataclasses.replace(result, array_record=file)
        results.append(result)
    write_dataset_files(job, results)
    return tokens


def write_dataset_files(job: Job, shards: list[ShardResult]) -> None:
    """Writes what a reader looks at beside the shards."""
    directory = Path(job.output)
    (directory / CONTRACT_FILE).write_text(job.contract.to_json())
    write_metadata(
        job.output,
        name=job.name,
        split=job.split,
        contract=job.contract,
        features=job.features,
        shard_records=[shard.records for shard in shards],
        size_bytes=sum(shard.size_bytes for shard in shards),
        formats=("tfrecord", "array_record") if job.array_record else ("tfrecord",),
    )
    entries = [shard_entry(job, shard) for shard in shards]
    names = {file["file"] for entry in entries for file in files_of_shard(entry)}
    manifest = {
        "name": job.name,
        "split": job.split,
        "images_listed": job.num_records,
        "images_written": job.num_records,
        "images_rejected": 0,
        "rejects_by_reason": {},
        "by_file": {},
        "views": list(job.views),
        "records": sum(shard.records for shard in shards),
        "machines": [],
        "shards": entries,
        "files": {
            path.name: sha256_of(str(path))
            for path in sorted(directory.iterdir())
            if path.name not in names and path.name != "manifest.json"
        },
        "fingerprint": {
            "sha256": "0" * 64,
            "fields": {"tokenizer": job.contract.model_dump(mode="json", exclude_none=True)},
        },
    }
    write_manifest(job.output, manifest)


def _contract(
    side: int, levels: tuple[int, ...], views: tuple[str, ...], token_format: TokenFormat
) -> TokenContract:
    spec = TokenizerSpec(
        levels=levels,
        image=ImageSpec(size_pixels=2 * side, channels=3),
        network=ConvNetwork(encoder_widths=(8,), decoder_widths=(8,)),
    )
    dtype = "int64_list" if token_format == "int64_list" else storage_dtype(math.prod(levels))
    contract = TokenContract.of(spec, weights_sha256="0" * 64)
    return contract.model_copy(update={"views": views, "dtype": dtype})


def _job(
    directory: Path,
    contract: TokenContract,
    features: tuple[CarriedFeature, ...],
    images: int,
    num_shards: int,
) -> Job:
    directory.mkdir(parents=True, exist_ok=True)
    return Job(
        source=ImageFolderConfig(kind="image_folder", directory="nowhere"),
        output=str(directory),
        name="random",
        split="train",
        contract=contract,
        features=features,
        view_policies=(),
        decode=DecodeRules(),
        batch_size=8,
        runtime="tensorflow",
        precision="float32",
        num_records=images,
        num_units=1,
        num_shards=num_shards,
        max_reject_fraction=0.0,
        read_timeout_seconds=1.0,
        read_tries=1,
        fingerprint="0" * 64,
        run="random",
    )
