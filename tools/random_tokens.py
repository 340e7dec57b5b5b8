"""Writes datasets of random tokens, as `fsq tokenize` would, without an encoder.

For tests and the benchmark of reading, where the content of the tokens does not
matter. They can be read but not decoded: the weights are missing.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fsq.dataset.example.encoder import ExampleWriter
from fsq.dataset.fingerprint import Fingerprint, Input, RuntimeChoice
from fsq.dataset.formats import FORMATS
from fsq.dataset.formats.base import describe_file
from fsq.dataset.formats.tfrecord import frame
from fsq.dataset.manifest import Manifest, seal_fingerprint, write_manifest
from fsq.dataset.records import CarriedFeature, place_of
from fsq.images.crop import CropBox
from fsq.images.spec import ImageSpec
from fsq.images.view import View
from fsq.quantizer.lattice import storage_dtype
from fsq.spec.contract import CONTRACT_FILE, TokenContract, TokenizerSpec
from fsq.spec.network_spec import ConvNetwork
from fsq.storage.digest import sha256_of_file
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job, JobSplit
from pipeline.planning.plan_splits import describe_splits
from pipeline.stages.finalize import count_splits, shard_entry, write_tfds_metadata
from pipeline.stages.merge_shards import ShardResult

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
    labels: bool = True,
    captions: bool = False,
    array_record: bool = False,
) -> np.ndarray:
    """Writes a dataset; image n has key 'n' and, if wanted, label n % 5 and caption 'number n'.

    Returns:
      The tokens of image n and view v, int64 [images, views, side * side]. The first two
      are the ends of the range.
    """
    contract = _contract(side, levels, views, token_format)
    features = [CarriedFeature("label", "label", "int64", CLASSES)] if labels else []
    if captions:
        features.append(CarriedFeature("caption", "caption", "bytes"))
    formats = ("tfrecord", "array_record") if array_record else ("tfrecord",)
    job = _job(directory, contract, tuple(features), images, num_shards, formats)
    tokens = np.random.default_rng(images).integers(
        0, contract.vocab_size, (images, len(views), side * side)
    )
    tokens.flat[:2] = 0, contract.vocab_size - 1
    shards: list[list[tuple[Any, bytes]]] = [[] for _ in range(num_shards)]
    writer = ExampleWriter(contract.vocab_size, job.features, token_format)
    values = writer.tokens_to_values(tokens.reshape(-1, side * side))
    for number, value in enumerate(values):
        image, view = divmod(number, len(views))
        key = f"{image}".encode()
        place = place_of(key, views[view])
        made = {"label": image % len(CLASSES), "caption": f"number {image}".encode()}
        carried = tuple(made[feature.name] for feature in features)
        shown = View(views[view], CropBox(0, 0, 9, 9), False, source_size=(9, 9))
        data = writer.serialize(value, key, shown, carried)
        shards[place.shard(num_shards)].append((place, data))
    results = []
    for index, records in enumerate(shards):
        frames = [frame(record) for _, record in sorted(records)]
        files = {}
        for name in job.config.output.formats:
            path = str(directory / job.shard_name(index, name))
            with FORMATS[name].open_writer(path) as target:
                target.write(frames)
            files[name] = describe_file(path)
        results.append(ShardResult(index, len(records), files))
    write_dataset_files(job, results)
    return tokens


def write_dataset_files(job: Job, shards: list[ShardResult]) -> None:
    """Writes the files that a reader needs beside the shards."""
    directory = Path(job.output)
    (directory / CONTRACT_FILE).write_text(job.contract.to_json())
    write_tfds_metadata(job, shards)
    names = {job.shard_name(s.index, name) for s in shards for name in job.config.output.formats}
    fingerprint = Fingerprint(
        tokenizer=job.contract,
        source={},
        input=Input(files={}, sha256=""),
        name=job.config.output.name,
        splits=describe_splits(job.config.output, job.splits),
        formats=job.config.output.formats,
        batch_size=job.config.batch_size,
        runtime=RuntimeChoice(name="tensorflow", precision="float32"),
        decode=job.config.decode,
        versions={},
    )
    manifest = Manifest(
        name=job.config.output.name,
        splits=count_splits(job, shards),
        images_listed=job.num_records,
        images_written=job.num_records,
        images_rejected=0,
        rejects_by_reason={},
        by_file={},
        views=job.views,
        records=sum(shard.records for shard in shards),
        machines=(),
        shards=tuple(shard_entry(job, shard) for shard in shards),
        files={
            path.name: sha256_of_file(str(path))
            for path in sorted(directory.iterdir())
            if path.name not in names and path.name != "manifest.json"
        },
        fingerprint=seal_fingerprint(fingerprint),
    )
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
    formats: Sequence[str],
) -> Job:
    directory.mkdir(parents=True, exist_ok=True)
    config = TokenizeConfig.model_validate(
        {
            "source": {"kind": "image_folder", "directory": "nowhere"},
            "tokenizer": "nowhere",
            "output": {
                "directory": str(directory),
                "name": "random",
                "num_shards": num_shards,
                "tokens": "int64_list" if contract.dtype == "int64_list" else "bytes",
                "formats": formats,
            },
        }
    )
    return Job(
        config=config,
        contract=contract,
        features=features,
        runtime="tensorflow",
        num_records=images,
        num_units=1,
        splits=(JobSplit("train", num_shards, images),),
        fingerprint="0" * 64,
        run="random",
    )
