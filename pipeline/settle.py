"""Settling the runtime of a job: as it began, or by trying on this machine."""

import dataclasses
from typing import Any

from fsq.runtimes import RUNTIMES, RuntimeName, reference_runtime
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.runtimes.cache import Cache
from fsq.runtimes.make import check_runtime
from fsq.runtimes.probe import ProbeResult
from fsq.tokenizer import Tokenizer
from pipeline.description import read_job
from pipeline.machine import machine_kind
from pipeline.manifest import has_manifest, read_manifest
from pipeline.plan import Plan, fingerprint_of
from pipeline.runtime import describe_runtime


def recall_runtime(plan: Plan) -> Plan:
    """Gives a plan the runtime that its output was begun with, where that is what it asks for.

    So a job that chose for itself chooses once.

    Raises:
      RequestError: That runtime is not installed here.
    """
    output = plan.job.output
    if has_manifest(output):
        fields = read_manifest(output)["fingerprint"]["fields"]
    else:
        fields = (read_job(output) or {}).get("fields", {})
    return recall_from(plan, fields)


def recall_from(plan: Plan, fields: dict[str, Any]) -> Plan:
    """Does what `recall_runtime` does, by the fingerprint of the job that was begun."""
    before, asked = fields.get("runtime"), plan.fields["runtime"]
    if not isinstance(before, dict) or before.get("precision") != asked["precision"]:
        return plan
    if before.get("name") not in RUNTIMES or asked["name"] not in ("auto", before["name"]):
        return plan
    check_runtime(before["name"], before["precision"], plan.job.contract.network.kind)
    # The version is that of today, so that another one is noticed.
    return _with(plan, {**before, **describe_runtime(before["name"], before["precision"])})


def has_kept_encoder(plan: Plan) -> bool:
    """Says whether `kept_encoder` has something to try, before anything heavy is imported."""
    settled = _with_kept_choice(plan)
    return settled is not None and _cache(plan).has_encoder(plan.job.precision)


def kept_encoder(plan: Plan) -> tuple[Plan, BatchEncoder] | None:
    """Takes the runtime and the encoder that an earlier run kept, without TensorFlow.

    Returns:
      The settled plan, and what to encode with; None if nothing that can be used was kept.
    """
    settled = _with_kept_choice(plan)
    if settled is None or (runtime := _cache(plan).encoder(plan.job.precision)) is None:
        return None
    return settled, BatchEncoder(plan.job.contract, runtime)


def _with_kept_choice(plan: Plan) -> Plan | None:
    """Settles a plan by what an earlier run found, if that is OpenVINO."""
    asked = plan.fields["runtime"]
    if "probe" not in asked:
        choice = _cache(plan).choice(asked["name"], asked["precision"])
        if choice is None:
            return None
        plan = _with_choice(plan, *choice)
    return plan if plan.job.runtime == "openvino" else None


def settle_runtime(plan: Plan, tokenizer: Tokenizer) -> Plan:
    """Chooses a runtime if that is still to be done, tries the one that was asked for, keeps both.

    Args:
      plan: The plan; one that is settled stays as it is.
      tokenizer: The job's; it is set to the runtime.
    """
    asked = plan.fields["runtime"]
    name, precision = asked["name"], asked["precision"]
    if name == reference_runtime(plan.job.contract.network.kind):
        tokenizer.use_runtime(name, precision)
        return plan
    cache = _cache(plan)
    kept = cache.choice(name, precision)
    if "probe" in asked:
        tokenizer.use_runtime(name, precision)
    elif kept is not None and kept[0] != "openvino":
        tokenizer.use_runtime(kept[0], precision)
        plan = _with_choice(plan, *kept)
    else:
        if name == "auto":
            name, probe = tokenizer.choose_runtime()
        else:
            tokenizer.use_runtime(name, precision)
            probe = tokenizer.probe_runtime()
        cache.keep_choice(asked["name"], precision, name, probe)
        plan = _with_choice(plan, name, probe)
    tokenizer.keep_encoder(cache, precision)
    return plan


def _cache(plan: Plan) -> Cache:
    return Cache(plan.job.contract, plan.job.batch_size, machine_kind())


def _with_choice(plan: Plan, name: RuntimeName, probe: ProbeResult) -> Plan:
    found = describe_runtime(name, plan.fields["runtime"]["precision"])
    if name == reference_runtime(plan.job.contract.network.kind):
        return _with(plan, found)
    return _with(plan, {**found, "probe": _to_dict(probe)})


def _to_dict(probe: ProbeResult) -> dict[str, Any]:
    return {**dataclasses.asdict(probe), "farthest": float(f"{probe.farthest:.3g}")}


def _with(plan: Plan, runtime: dict[str, Any]) -> Plan:
    fields = {**plan.fields, "runtime": runtime}
    job = dataclasses.replace(plan.job, runtime=runtime["name"], fingerprint=fingerprint_of(fields))
    return dataclasses.replace(plan, fields=fields, job=job)
