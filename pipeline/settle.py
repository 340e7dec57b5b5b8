"""Settling the runtime of a job: as it began, or by trying on this machine."""

import dataclasses
from typing import Any

from fsq.runtimes import RUNTIMES, reference_runtime
from fsq.runtimes.make import check_runtime
from fsq.runtimes.probe import ProbeResult
from fsq.tokenizer import Tokenizer
from pipeline import storage
from pipeline.description import read_job
from pipeline.manifest import MANIFEST_FILE, read_manifest
from pipeline.plan import Plan, fingerprint_of
from pipeline.runtime import describe_runtime


def recall_runtime(plan: Plan) -> Plan:
    """Gives a plan the runtime that its output was begun with, where that is what it asks for.

    So a job that chose for itself chooses once.

    Raises:
      RequestError: That runtime is not installed here.
    """
    output = plan.job.output
    if storage.exists(storage.join(output, MANIFEST_FILE)):
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


def settle_runtime(plan: Plan, tokenizer: Tokenizer) -> Plan:
    """Chooses a runtime if that is still to be done, and tries the one that was asked for.

    Args:
      plan: The plan; one that is settled stays as it is.
      tokenizer: The job's; it is set to the runtime.
    """
    asked = plan.fields["runtime"]
    name, precision = asked["name"], asked["precision"]
    reference = reference_runtime(plan.job.contract.network.kind)
    if name == reference or "probe" in asked:
        tokenizer.use_runtime(name, precision)
        return plan
    if name == "auto":
        name, probe = tokenizer.choose_runtime()
    else:
        tokenizer.use_runtime(name, precision)
        probe = tokenizer.probe_runtime()
    found = describe_runtime(name, precision)
    return _with(plan, found if name == reference else {**found, "probe": _to_dict(probe)})


def _to_dict(probe: ProbeResult) -> dict[str, Any]:
    return {**dataclasses.asdict(probe), "farthest": float(f"{probe.farthest:.3g}")}


def _with(plan: Plan, runtime: dict[str, Any]) -> Plan:
    fields = {**plan.fields, "runtime": runtime}
    job = dataclasses.replace(plan.job, runtime=runtime["name"], fingerprint=fingerprint_of(fields))
    return dataclasses.replace(plan, fields=fields, job=job)
