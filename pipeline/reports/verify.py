"""Reads a finished dataset back and checks every promise it makes."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from fsq.dataset import read_contract, tokens_of
from fsq.dataset.example.proto import Example
from fsq.dataset.formats.array_record import read_array_record
from fsq.dataset.formats.tfrecord import read_records
from fsq.dataset.manifest import (
    MANIFEST_FILE,
    REJECTS_FILE,
    STATS_FILE,
    TIMING_FILE,
    files_of_shard,
    read_manifest,
    render,
)
from fsq.dataset.records import Place, place_of
from fsq.errors import DataError, FsqError
from fsq.quantizer import lattice
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract
from fsq.spec.serialization import check_weights
from fsq.storage import filesystem
from fsq.storage.digest import sha256_of
from pipeline.planning.changed_input import first_difference
from pipeline.reports.verify_unfinished import verify_job


def verify_dataset(directory: str) -> Iterator[str]:
    """Yields every problem found, one line each; nothing if all is well.

    Checked are: the sha256 of every file; every record's checksum, key, place
    and order (which shows that no key comes twice); the number, length and
    range of its tokens; the accounts; the statistics; the weights. Of a job that
    is not finished: its parts.

    Raises:
      RequestError: The directory is not a finished dataset.
      DataError: The manifest cannot be read.
    """
    path = filesystem.join(directory, MANIFEST_FILE)
    files = {entry.name for entry in filesystem.list_files(directory)}
    if filesystem.exists(path) and MANIFEST_FILE not in files:
        yield f"{path}: expected a file, found something else. Tokenize it again."
        return
    if MANIFEST_FILE not in files:
        problems = list(verify_job(directory))
        if problems:
            yield from problems
            return
    manifest = read_manifest(directory)
    if filesystem.read(path) != render(manifest):
        yield f"{path}: expected its text as it was written, got other spaces. Tokenize it again."
    try:
        damaged: set[str] = set()
        for name, problem in _check_files(directory, manifest):
            damaged.add(name)
            yield problem
        # What is known to be something else is not read: it may be anything, without an end.
        if damaged & {CONTRACT_FILE, WEIGHTS_FILE}:
            return
        contract = read_contract(directory)
        difference = first_difference(
            manifest["fingerprint"]["fields"]["tokenizer"],
            contract.model_dump(mode="json", exclude_none=True),
        )
        if difference is not None:
            yield (
                f"{filesystem.join(directory, CONTRACT_FILE)}: expected the tokenizer of this "
                f"dataset, got another: {difference}."
            )
        weights = filesystem.join(directory, WEIGHTS_FILE)
        check_weights(filesystem.read(weights), contract, weights)
        counts: Counter[int] = Counter()
        for number, shard in enumerate(manifest["shards"]):
            if shard["file"] in files:
                yield from _check_shard(directory, manifest, contract, number, shard, counts)
            if not damaged & {file["file"] for file in files_of_shard(shard)}:
                yield from _check_twin(directory, shard)
        if not damaged:
            yield from _check_accounts(directory, manifest, counts)
    except FsqError as error:
        yield str(error)
    except OSError as error:
        yield f"{error.filename or directory}: {error.strerror or error}."
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        path = filesystem.join(directory, MANIFEST_FILE)
        yield f"{path}: expected all its entries, got: {error!r}."


def _check_files(directory: str, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the name of every file that is not as the manifest says, and what is wrong."""
    expected = dict(manifest["files"])
    for shard in manifest["shards"]:
        expected |= {file["file"]: file["sha256"] for file in files_of_shard(shard)}
    present = {entry.name for entry in filesystem.list_files(directory)}
    for name in sorted(present - expected.keys() - {MANIFEST_FILE, TIMING_FILE}):
        path = filesystem.join(directory, name)
        yield name, f"{path}: expected no such file in the dataset. Remove it."
    for name, digest in expected.items():
        path = filesystem.join(directory, name)
        if name not in present:
            yield (
                name,
                f"{path}: expected a file, found none. The dataset is damaged; tokenize it again.",
            )
        elif (found := sha256_of(path)) != digest:
            yield (
                name,
                f"{path}: expected sha256 {digest[:12]}, got {found[:12]}. "
                "The dataset is damaged; tokenize it again.",
            )


def _check_shard(
    directory: str,
    manifest: dict[str, Any],
    contract: TokenContract,
    number: int,
    shard: dict[str, Any],
    counts: Counter[int],
) -> Iterator[str]:
    """Checks the records of one shard and adds their tokens to the counts."""
    path = filesystem.join(directory, shard["file"])
    last: Place | None = None
    records = 0
    tokens: list[np.ndarray] = []
    try:
        with filesystem.open_read(path) as file:
            for data in read_records(file, path):
                feature = Example.FromString(data).features.feature
                place, found = _check_record(
                    feature, contract, len(manifest["shards"]), number, f"{path}: record {records}"
                )
                if last is not None and (place.high, place.low) <= (last.high, last.low):
                    raise DataError(
                        f"{path}: record {records}: expected a key after that of the record "
                        "before, got one out of order or twice."
                    )
                tokens.append(found)
                last = place
                records += 1
    except (OSError, FsqError, ValueError) as error:
        yield str(error)
        return
    except Exception as error:  # protobuf's DecodeError
        yield f"{path}: record {records}: expected a tf.train.Example, got: {error}."
        return
    if records != shard["records"]:
        yield (
            f"{path}: expected {shard['records']:,} records, got {records:,}. "
            "The dataset is damaged; tokenize it again."
        )
    if tokens:
        values, times = np.unique(np.concatenate(tokens), return_counts=True)
        counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))


def _check_twin(directory: str, shard: dict[str, Any]) -> Iterator[str]:
    """Compares the records of a shard's ArrayRecord file with those of its TFRecord."""
    *_, twin = files_of_shard(shard)
    if twin is shard:
        return
    paths = [filesystem.join(directory, each["file"]) for each in (shard, twin)]
    try:
        with filesystem.open_read(paths[0]) as file:
            pairs = itertools.zip_longest(read_records(file, paths[0]), read_array_record(paths[1]))
            for number, (ours, theirs) in enumerate(pairs):
                if ours != theirs:
                    yield (
                        f"{paths[1]}: record {number}: expected that of {shard['file']}, "
                        f"got {'none' if theirs is None else 'another'}. "
                        "The dataset is damaged; tokenize it again."
                    )
                    return
    except (OSError, FsqError) as error:
        yield str(error)


def _check_record(
    feature: Any, contract: TokenContract, num_shards: int, shard: int, where: str
) -> tuple[Place, np.ndarray]:
    (key,) = feature["key"].bytes_list.value
    view = feature["view"].bytes_list.value[0].decode()
    place = place_of(key, view)
    if place.shard(num_shards) != shard:
        raise DataError(
            f"{where}: expected in shard {place.shard(num_shards)} by its key, got it in {shard}."
        )
    tokens = tokens_of(feature, contract)
    if len(tokens) != contract.tokens_per_image:
        raise DataError(f"{where}: expected {contract.tokens_per_image} tokens, got {len(tokens)}.")
    try:
        return place, lattice.check_tokens(tokens, contract.vocab_size)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def _check_accounts(
    directory: str, manifest: dict[str, Any], counts: Counter[int]
) -> Iterator[str]:
    listed, rejected = manifest["images_listed"], manifest["images_rejected"]
    written = (listed - rejected) * len(manifest["views"])
    where = filesystem.join(directory, MANIFEST_FILE)
    if manifest["records"] != written:
        yield (
            f"{where}: expected {written:,} records of {listed:,} images, {rejected:,} of them "
            f"rejected, got {manifest['records']:,}."
        )
    if (total := sum(shard["records"] for shard in manifest["shards"])) != manifest["records"]:
        yield f"{where}: expected {manifest['records']:,} records in the shards, got {total:,}."
    rejects = Counter[tuple[str, str]]()
    for line in filesystem.read(filesystem.join(directory, REJECTS_FILE)).splitlines():
        reject = json.loads(line)
        rejects[reject["file"], f"{reject['stage']}: {reject['reason']}"] += 1
    if rejects.total() != rejected:
        yield (
            f"{filesystem.join(directory, REJECTS_FILE)}: expected {rejected:,} rejects, "
            f"got {rejects.total():,}."
        )
    by_file = manifest["by_file"]
    for name, entry in by_file.items():
        if entry["listed"] != entry["written"] + sum(entry["rejected"].values()):
            yield f"{where}: expected listed = written + rejected for {name}, got {entry}."
        for reason, count in entry["rejected"].items():
            if rejects[name, reason] != count:
                yield (
                    f"{filesystem.join(directory, REJECTS_FILE)}: expected {count:,} rejects of "
                    f"{name} for {reason!r}, got {rejects[name, reason]:,}."
                )
    if (total := sum(entry["listed"] for entry in by_file.values())) != listed:
        yield f"{where}: expected {listed:,} images in its source files, got {total:,}."
    stats = json.loads(filesystem.read(filesystem.join(directory, STATS_FILE)))
    if {int(token): n for token, n in stats["token_counts"].items()} != counts:
        yield (
            f"{filesystem.join(directory, STATS_FILE)}: expected the counts of the tokens in the "
            "shards, got others."
        )
