"""Planning: reads the tokenizer, lists the source, cuts it into units, makes the fingerprint."""

import dataclasses
import importlib.metadata
import secrets
from collections.abc import Callable
from typing import Any, Literal, cast

from fsq.dataset.fingerprint import Fingerprint, Input
from fsq.errors import RequestError
from fsq.quantizer import lattice
from fsq.runtimes.registry import RuntimeName
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract
from fsq.spec.serialization import check_weights, parse_contract
from fsq.storage import filesystem
from fsq.storage.path_expansion import looked_in
from fsq.version import __version__
from fsq.yaml_config import dump_config
from pipeline.core.records import Unit
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.planning.plan_splits import describe_splits, plan_splits
from pipeline.planning.runtime_request import request_runtime
from pipeline.sources import Listing
from pipeline.sources.stall_timeout import Heartbeat, run_with_stall_timeout
from pipeline.sources.units import cut_units

# Their versions decide pixels, latents or bytes.
PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "simplejpeg",
    "protobuf",
)


@dataclasses.dataclass(frozen=True)
class SavedTokenizer:
    """The two files of a tokenizer, checked against each other.

    Attributes:
      where: Its directory, for messages.
      contract: Its contract, with the job's views, crop and storage type.
      weights: Content of the weights file.
    """

    where: str
    contract: TokenContract
    weights: bytes


@dataclasses.dataclass(frozen=True)
class Plan:
    """A planned job with its units; nothing is written yet.

    Attributes:
      job: The settings that are sent to workers.
      units: The units of the input.
      listing: The listed input.
      tokenizer: The job's tokenizer.
      config_text: The resolved config as YAML.
      fingerprint: What decides the bytes of the dataset.
    """

    job: Job
    units: list[Unit]
    listing: Listing
    tokenizer: SavedTokenizer
    config_text: str
    fingerprint: Fingerprint


def make_plan(
    config: TokenizeConfig,
    *,
    limit: int | None = None,
    stride: int | None = None,
    get_listing: Callable[[], Listing] | None = None,
) -> Plan:
    """Reads the tokenizer's contract, lists the source and cuts it into units.

    Args:
      config: The job's config.
      limit: Use only the first `limit` images.
      stride: See `Source.list`; the batch size by default.
      get_listing: Returns a listing that was started earlier, with the default stride.

    Raises:
      RequestError: Tokenizer, source or config do not fit together.
      DataError: A file of the source is damaged.
    """
    config.open_source().check_output(config.output.directory)
    tokenizer = read_tokenizer(config)
    listing = (
        get_listing() if get_listing else list_source(config, stride=stride or config.batch_size)
    )
    if limit is not None and limit >= listing.num_records:
        limit = None  # the same job as without a limit
    units = cut_units(listing, config.batch_size, limit)
    num_records = sum(unit.num_records for unit in units)
    num_written = num_records * len(config.view_names)
    splits = plan_splits(config.output, units, len(config.view_names))
    # A policy without parameters dumps as its name.
    policies: list[Any] = [policy.model_dump(mode="json") for policy in config.views]
    fingerprint = Fingerprint(
        tokenizer=tokenizer.contract,
        source=config.source.model_dump(mode="json", exclude_none=True),
        input=Input.model_validate(listing.describe()),
        limit=limit,
        name=config.output.name,
        splits=describe_splits(config.output, splits),
        formats=config.output.formats,
        batch_size=config.batch_size,
        runtime=request_runtime(config, tokenizer.contract.of_first_bucket, num_written),
        views=None if policies == list(config.view_names) else policies,
        decode=config.decode,
        filter=None if config.filter is None else config.filter.model_dump(),
        versions=_versions(),
    )
    job = Job(
        config=config,
        contract=tokenizer.contract,
        features=listing.features,
        runtime=cast(RuntimeName | Literal["auto"], fingerprint.runtime.name),
        num_records=num_records,
        num_units=len(units),
        splits=splits,
        fingerprint=fingerprint.sha256,
        run=secrets.token_hex(8),
        left_out=tuple(listing.left_out.items()),
    )
    return Plan(job, units, listing, tokenizer, dump_config(config), fingerprint)


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"fsq-tokenizer": __version__, **packages}


def read_tokenizer(config: TokenizeConfig) -> SavedTokenizer:
    """Reads a job's tokenizer; its contract gets what the job adds to it.

    Raises:
      RequestError: A file is missing, or weights and contract do not belong together.
    """
    where = config.tokenizer
    contract = parse_contract(_read_file(where, CONTRACT_FILE), f"{where}/{CONTRACT_FILE}")
    weights = _read_file(where, WEIGHTS_FILE)
    check_weights(weights, contract, f"{where}/{WEIGHTS_FILE}")
    dtype = lattice.storage_dtype(contract.vocab_size)
    if config.output.tokens == "int64_list":
        dtype = "int64_list"
    crop = None if config.crop == contract.image.crop else config.crop
    update = {
        "views": config.view_names,
        "crop": crop,
        "buckets": _check_buckets(config, contract),
        "dtype": dtype,
    }
    return SavedTokenizer(where, contract.model_copy(update=update), weights)


def _check_buckets(
    config: TokenizeConfig, contract: TokenContract
) -> tuple[tuple[int, int], ...] | None:
    """Returns the buckets of a job, each of which the encoder divides into tokens."""
    for number, bucket in enumerate(config.buckets or ()):
        try:
            contract.at_size(*bucket)
        except ValueError as error:
            raise RequestError(f"buckets.{number}: {error}.") from error
    return config.buckets


def list_source(config: TokenizeConfig, *, stride: int) -> Listing:
    """Lists the source of a job, with its stall timeout.

    Raises:
      RequestError, DataError: See `Source.list`.
    """
    source = config.open_source()

    def work(heartbeat: Heartbeat) -> Listing:
        listing = source.list(stride, heartbeat.start_read)
        heartbeat.idle()
        return listing

    return run_with_stall_timeout(
        work,
        timeout_seconds=config.read_timeout_seconds,
        tries=config.read_tries,
        where="source",
    )


def _read_file(folder: str, name: str) -> bytes:
    try:
        return filesystem.read(filesystem.join(folder, name))
    except OSError as error:
        reason = "" if filesystem.is_local(folder) else f": {error.strerror}"
        raise RequestError(
            f"tokenizer: expected a tokenizer in {folder!r}, found no readable {name}"
            f"{looked_in(folder)}{reason}. Correct the path, or train a tokenizer with 'fsq train'."
        ) from error
