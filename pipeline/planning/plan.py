"""The plan of a job: all that can be settled before the first record."""

import dataclasses
import importlib.metadata
import math
import secrets
from collections.abc import Callable
from typing import Any

from fsq.errors import RequestError
from fsq.quantizer import lattice
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract
from fsq.spec.serialization import check_weights, parse_contract
from fsq.storage import filesystem
from fsq.version import __version__
from fsq.yaml_config import dump_config
from pipeline.core.records import Unit
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.planning.fingerprint import PACKAGES, fingerprint_of
from pipeline.planning.runtime_request import request_runtime
from pipeline.sources import Listing
from pipeline.sources.stall_timeout import Heartbeat, run_with_stall_timeout
from pipeline.sources.units import cut_units

RECORDS_PER_SHARD = 10_000


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


def make_plan(
    config: TokenizeConfig,
    *,
    limit: int | None = None,
    stride: int | None = None,
    list_ahead: Callable[[], Listing] | None = None,
) -> Plan:
    """Reads the tokenizer's contract, lists the source and cuts it into units.

    Args:
      config: The job's config.
      limit: Take just the first so many images.
      stride: See `Source.list`; a batch unless said.
      list_ahead: Returns the listing, with a stride of a batch, where that was begun already.

    Raises:
      RequestError: Tokenizer, source or config do not fit together.
      DataError: A file of the source is damaged.
    """
    where = config.tokenizer
    contract = parse_contract(_read_file(where, CONTRACT_FILE), f"{where}/{CONTRACT_FILE}")
    weights_data = _read_file(where, WEIGHTS_FILE)
    check_weights(weights_data, contract, f"{where}/{WEIGHTS_FILE}")
    contract = contract.model_copy(
        update={"views": config.view_names, "dtype": _storage_name(contract, config)}
    )
    listing = (
        list_ahead() if list_ahead else list_source(config, stride=stride or config.batch_size)
    )
    if limit is not None and limit >= listing.num_records:
        limit = None  # the same job as without
    units = cut_units(listing, config.batch_size, limit)
    num_records = sum(unit.num_records for unit in units)
    num_written = num_records * len(config.view_names)
    num_shards = config.output.num_shards or math.ceil(num_written / RECORDS_PER_SHARD)
    contract_data = contract.to_json().encode()
    runtime = request_runtime(config, contract, num_written)
    fields: dict[str, Any] = {
        "tokenizer": contract.model_dump(mode="json", exclude_none=True),
        "source": config.source.model_dump(mode="json", exclude_none=True),
        "input": listing.describe(),
        "limit": limit,
        "name": config.output.name,
        "split": config.output.split,
        "num_shards": num_shards,
        "batch_size": config.batch_size,
        "runtime": runtime,
        "decode": config.decode.model_dump(mode="json"),
        "versions": {
            "fsq-tokenizer": __version__,
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }
    if "array_record" in config.output.formats:
        fields["formats"] = sorted(config.output.formats)
    policies = [policy.model_dump(mode="json") for policy in config.views]
    if policies != list(config.view_names):  # what the names in the contract do not say
        fields["views"] = policies
    job = Job(
        source=config.source,
        output=config.output.directory.rstrip("/"),
        name=config.output.name,
        split=config.output.split,
        contract=contract,
        features=listing.features,
        view_policies=config.views,
        decode=config.decode,
        batch_size=config.batch_size,
        runtime=runtime["name"],
        precision=config.precision,
        num_records=num_records,
        num_units=len(units),
        num_shards=num_shards,
        max_reject_fraction=config.max_reject_fraction,
        read_timeout_seconds=config.read_timeout_seconds,
        read_tries=config.read_tries,
        fingerprint=fingerprint_of(fields),
        run=secrets.token_hex(8),
        array_record="array_record" in config.output.formats,
    )
    return Plan(
        job, units, listing, contract_data, weights_data, dump_config(config), fields, where
    )


def list_source(config: TokenizeConfig, *, stride: int) -> Listing:
    """Lists the source of a job within its time limits.

    Raises:
      RequestError, DataError: See `Source.list`.
    """
    source = config.source.open()

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
        raise RequestError(
            f"tokenizer: expected a tokenizer in {folder!r}, found no {name} that can be read. "
            "Train one with 'fsq train', or correct the path."
        ) from error


def _storage_name(contract: TokenContract, config: TokenizeConfig) -> str:
    if config.output.tokens == "int64_list":
        return "int64_list"
    return lattice.storage_dtype(contract.vocab_size)
