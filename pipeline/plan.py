"""The plan of a job: all that can be settled before the first record."""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import re
from typing import Any

from fsq import lattice
from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract
from fsq.errors import RequestError
from fsq.tokenizer import check_weights, parse_contract
from fsq.version import __version__
from pipeline import storage
from pipeline.config import TokenizeConfig, dump_config
from pipeline.job import WORK_FOLDER, Job, describe_source
from pipeline.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    REJECTS_FILE,
    STATS_FILE,
    read_manifest,
)
from pipeline.parts import is_done
from pipeline.records import Unit
from pipeline.sources import Listing, open_source
from pipeline.sources.listing import cut_units, place_text

RECORDS_PER_SHARD = 10_000
JOB_FILE = "job.json"
# Their versions decide pixels, latents or bytes.
PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "opencv-python-headless", "protobuf")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A job with its units, not yet begun.

    Attributes:
      job: What the workers get.
      units: The slices of the input.
      listing: The input.
      contract_data: tokenizer.json of the dataset.
      weights_data: The tokenizer's weights.
      config_text: The resolved config, YAML.
      fields: What the fingerprint is made of.
      tokenizer: Where contract and weights were read, for messages.
    """

    job: Job
    units: list[Unit]
    listing: Listing
    contract_data: bytes
    weights_data: bytes
    config_text: str
    fields: dict[str, Any]
    tokenizer: str


def make_plan(config: TokenizeConfig, *, limit: int | None = None) -> Plan:
    """Reads the tokenizer's contract, lists the source and cuts it into units.

    Args:
      config: The job's config.
      limit: Take just the first so many images.

    Raises:
      RequestError: Tokenizer, source or config do not fit together.
      DataError: A file of the source is damaged.
    """
    where = config.tokenizer
    contract = parse_contract(_read_file(where, CONTRACT_FILE), f"{where}/{CONTRACT_FILE}")
    weights_data = _read_file(where, WEIGHTS_FILE)
    check_weights(weights_data, contract, f"{where}/{WEIGHTS_FILE}")
    contract = contract.model_copy(
        update={"views": config.views, "dtype": _storage_name(contract, config)}
    )
    listing = open_source(config.source).list()
    units = cut_units(listing, config.batch_size, limit)
    num_records = sum(unit.num_records for unit in units)
    num_written = num_records * len(config.views)
    num_shards = config.output.num_shards or math.ceil(num_written / RECORDS_PER_SHARD)
    contract_data = contract.to_json().encode()
    packages = (*PACKAGES, "onnxruntime") if contract.network.kind == "onnx" else PACKAGES
    fields = {
        "tokenizer": hashlib.sha256(contract_data).hexdigest(),
        "source": config.source.model_dump(mode="json", exclude_none=True),
        "input": listing.digest(),
        "limit": limit,
        "name": config.output.name,
        "split": config.output.split,
        "num_shards": num_shards,
        "batch_size": config.batch_size,
        "decode": config.decode.model_dump(mode="json"),
        "versions": {
            "fsq-tokenizer": __version__,
            **{name: _version(name, where) for name in packages},
        },
    }
    job = Job(
        source=config.source,
        output=config.output.directory.rstrip("/"),
        name=config.output.name,
        split=config.output.split,
        contract=contract,
        features=listing.features,
        decode=config.decode,
        batch_size=config.batch_size,
        num_records=num_records,
        num_units=len(units),
        num_shards=num_shards,
        max_reject_fraction=config.max_reject_fraction,
        fingerprint=hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest(),
    )
    return Plan(
        job, units, listing, contract_data, weights_data, dump_config(config), fields, where
    )


def is_finished(plan: Plan) -> bool:
    """Says whether the output already holds the finished dataset of this very plan.

    Raises:
      RequestError: It holds another job, finished or not, or files of somebody else.
    """
    output = plan.job.output
    if storage.exists(storage.join(output, MANIFEST_FILE)):
        refuse_other(plan, read_manifest(output)["fingerprint"]["fields"], "a dataset")
        return True
    fields = read_job_fields(output)
    if fields is not None:
        refuse_other(plan, fields, "parts")
    strangers = find_strangers(output, fields)
    if strangers:
        raise RequestError(
            f"{output}: expected no files but this job's, found {strangers[0]!r}. "
            "Choose another directory."
        )
    return False


def count_done(plan: Plan) -> int:
    """Counts the units that an interrupted run of this job has done."""
    if read_job_fields(plan.job.output) is None:
        return 0
    return sum(is_done(plan.job, unit.name) for unit in plan.units)


def read_job_fields(output: str) -> dict[str, Any] | None:
    """Reads what the fingerprint of an unfinished job is made of; None if there is no job.

    Raises:
      RequestError: It is damaged.
    """
    path = storage.join(output, WORK_FOLDER, JOB_FILE)
    if not storage.exists(path):
        return None
    try:
        fields = json.loads(storage.read(path))
        shard_pattern(fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RequestError(
            f"{path}: expected the description of a job, got something else. "
            f"Remove {storage.join(output, WORK_FOLDER)} and run again."
        ) from error
    return fields


def find_strangers(output: str, fields: dict[str, Any] | None) -> list[str]:
    """Lists the files of an output that a job with these fields does not write."""
    ours = {MANIFEST_FILE, CONFIG_FILE, STATS_FILE, REJECTS_FILE, CONTRACT_FILE, WEIGHTS_FILE}
    ours |= {"features.json", "dataset_info.json"}
    pattern = shard_pattern(fields) if fields else None
    return [
        name
        for name, _ in storage.list_files(output)
        # What was being written when the job was killed bears the name of what it would become.
        if (plain := re.sub(r"^\.(.*)\.tmp$", r"\1", name)) not in ours
        and not (pattern and (re.fullmatch(pattern, plain) or plain.endswith(".labels.txt")))
    ]


def shard_pattern(fields: dict[str, Any]) -> str:
    """A regular expression for the names of a job's shards."""
    return rf"{re.escape(fields['name'])}-{re.escape(fields['split'])}\.tfrecord-\d+-of-\d+"


def refuse_other(plan: Plan, fields: dict[str, Any], what: str) -> None:
    """Raises a RequestError that names the first field in which the two jobs differ."""
    for name, value in plan.fields.items():
        if fields.get(name) != value:
            old, new = _first_difference(fields.get(name), value)
            raise RequestError(
                f"{plan.job.output}: expected {what} of this job, found {what} of another: "
                f"{name} was {old}, is {new}. Choose another directory, or --overwrite."
            )


def describe_plan(plan: Plan, *, overwrite: bool) -> list[tuple[str, str]]:
    """Describes a plan as (name, value) pairs, without changing anything.

    Raises:
      RequestError: The output belongs to another job, and overwrite is not set.
    """
    job, contract = plan.job, plan.job.contract
    if overwrite:
        state = "anew"
    elif is_finished(plan):
        state = "finished already"
    else:
        done = count_done(plan)
        state = f"to go on, {done} of {job.num_units} units done" if done else "new"
    return [
        ("source", f"{describe_source(job)}, {job.num_records:,} images"),
        ("units", f"{job.num_units}, batches of {job.batch_size}"),
        (
            "tokens",
            f"{contract.grid[0]} x {contract.grid[1]}, each in [0, {contract.vocab_size}), "
            f"stored as {contract.dtype}",
        ),
        ("views", ", ".join(job.views)),
        ("carried", ", ".join(feature.name for feature in job.features) or "nothing"),
        (
            "output",
            f"{job.output}, {job.num_records * len(job.views):,} records "
            f"in {job.num_shards} shards",
        ),
        ("state", state),
    ]


def begin(plan: Plan) -> list[Unit]:
    """Lays the work folder out and returns the units with their final paths.

    Raises:
      RequestError: The output cannot be written.
    """
    try:
        return _begin(plan)
    except OSError as error:
        raise RequestError(
            f"{plan.job.output}: expected a directory that can be written, "
            f"got: {error.strerror or error}. Choose another."
        ) from error


def _begin(plan: Plan) -> list[Unit]:
    work = plan.job.work
    if read_job_fields(plan.job.output) is None:
        storage.remove(work)  # parts without their job could be anybody's
    storage.write(storage.join(work, CONTRACT_FILE), plan.contract_data)
    storage.write(storage.join(work, WEIGHTS_FILE), plan.weights_data)
    # Not part of the fingerprint (a tolerance may change), so the last one counts.
    storage.write(storage.join(work, CONFIG_FILE), plan.config_text.encode())
    place_text(plan.listing, work)
    storage.write(storage.join(work, JOB_FILE), json.dumps(plan.fields, indent=2).encode())
    if plan.listing.text is None:
        return plan.units
    return [dataclasses.replace(unit, path=storage.join(work, unit.path)) for unit in plan.units]


def clear_output(output: str) -> None:
    """Removes an earlier job from the output, and nothing but what such a job writes.

    Raises:
      RequestError: The directory holds no job of ours but other files.
    """
    if storage.exists(storage.join(output, MANIFEST_FILE)):
        fields = read_manifest(output)["fingerprint"]["fields"]
    else:
        fields = read_job_fields(output)
    strangers = find_strangers(output, fields)
    if strangers:
        raise RequestError(
            f"{output}: expected nothing but a dataset of ours to overwrite, "
            f"found {strangers[0]!r}. Choose another directory."
        )
    # The manifest first: what remains after an interruption is then no dataset.
    storage.remove(storage.join(output, MANIFEST_FILE))
    for entry in storage.list_files(output):
        storage.remove(storage.join(output, entry.name))
    storage.remove(storage.join(output, WORK_FOLDER))


def _read_file(folder: str, name: str) -> bytes:
    try:
        return storage.read(storage.join(folder, name))
    except OSError as error:
        raise RequestError(
            f"tokenizer: expected a tokenizer in {folder!r}, found no {name} that can be read. "
            "Train one with 'fsq train', or correct the path."
        ) from error


def _version(package: str, where: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise RequestError(
            f"{where}: expected {package}, which runs this tokenizer, found it not installed. "
            "Install the extra: pip install 'fsq-tokenizer[onnx]'."
        ) from error


def _storage_name(contract: TokenContract, config: TokenizeConfig) -> str:
    if config.output.tokens == "int64_list":
        return "int64_list"
    return lattice.storage_dtype(contract.vocab_size)


def _first_difference(old: Any, new: Any) -> tuple[str, str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                older, newer = _first_difference(old.get(name), new.get(name))
                return f"{name} {older}", f"{name} {newer}"
    shorten = lambda value: value[:12] if isinstance(value, str) and len(value) == 64 else value
    return str(shorten(old)), str(shorten(new))
