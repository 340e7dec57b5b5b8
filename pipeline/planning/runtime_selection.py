"""Settling the runtime of a job: as it began, or by trying on this machine."""

import dataclasses
from typing import cast

from fsq.dataset.fingerprint import Fingerprint, RuntimeChoice
from fsq.runtimes import RUNTIMES, RuntimeName, reference_runtime
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.runtimes.cache import Cache
from fsq.runtimes.factory import check_runtime
from fsq.runtimes.probe import ProbeResult
from fsq.tokenizer import Tokenizer
from pipeline.core.hardware import machine_kind
from pipeline.job.job import Job
from pipeline.planning.plan import Plan
from pipeline.planning.runtime_request import describe_runtime


def reuse_runtime(plan: Plan, begun: Fingerprint | None) -> Plan:
    """Gives a plan the runtime that its output was begun with, where that is what it asks for.

    So a job that chose for itself chooses once.

    Args:
      plan: The plan.
      begun: The fingerprint of the job in the output, finished or not.

    Raises:
      RequestError: That runtime is not installed here.
    """
    asked = plan.fingerprint.runtime
    if begun is None or begun.runtime.precision != asked.precision:
        return plan
    name = begun.runtime.name
    if name not in RUNTIMES or asked.name not in ("auto", name):
        return plan
    check_runtime(name, plan.job.config.precision, plan.job.contract.network.kind)
    # The version is that of today, so that another one is noticed.
    found = describe_runtime(name, asked.precision)
    return _with(plan, found.model_copy(update={"probe": begun.runtime.probe}))


def recall_choice(plan: Plan) -> Plan:
    """Gives a plan the runtime that an earlier run on this machine chose, if that is OpenVINO.

    An encoder for it may have been kept too; see `kept_encoder`.
    """
    asked = plan.fingerprint.runtime
    if asked.probe is not None:
        return plan
    choice = cache_of(plan.job).choice(asked.name, asked.precision)
    return plan if choice is None or choice[0] != "openvino" else _with_choice(plan, *choice)


def has_kept_encoder(plan: Plan) -> bool:
    """Says whether `settle_by_cache` has something to try, before anything heavy is imported."""
    plan = recall_choice(plan)
    runtime = plan.fingerprint.runtime
    return runtime.probe is not None and cache_of(plan.job).has_encoder(runtime.precision)


def settle_by_cache(plan: Plan) -> tuple[Plan, BatchEncoder] | None:
    """Settles a plan by what an earlier run on this machine kept, without TensorFlow.

    Returns:
      The plan with its runtime, and the encoder; None if one of the two is not there.
    """
    plan = recall_choice(plan)
    # How the tokens agreed stands in the fingerprint: an encoder alone is not enough.
    if plan.fingerprint.runtime.probe is None or (encoder := kept_encoder(plan.job)) is None:
        return None
    return plan, encoder


def kept_encoder(job: Job) -> BatchEncoder | None:
    """Takes the encoder that an earlier run on this machine kept, without TensorFlow."""
    if job.runtime != "openvino":
        return None
    runtime = cache_of(job).encoder(job.config.precision)
    return None if runtime is None else BatchEncoder(job.contract, runtime)


def settle_runtime(plan: Plan, tokenizer: Tokenizer) -> Plan:
    """Chooses a runtime if that is still to be done, tries the one that was asked for, keeps both.

    Args:
      plan: The plan; one that is settled stays as it is.
      tokenizer: The job's; it is set to the runtime.
    """
    asked = plan.fingerprint.runtime
    name, precision = cast(RuntimeName, asked.name), plan.job.config.precision
    if name == reference_runtime(plan.job.contract.network.kind):
        tokenizer.use_runtime(name, precision)
        return plan
    cache = cache_of(plan.job)
    kept = cache.choice(name, precision)
    if asked.probe is not None:
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
        cache.keep_choice(asked.name, precision, name, probe)
        plan = _with_choice(plan, name, probe)
    tokenizer.keep_encoder(cache, precision)
    return plan


def cache_of(job: Job) -> Cache:
    """What is kept on this machine of a job's encoder."""
    return Cache(job.contract, job.config.batch_size, machine_kind())


def _with_choice(plan: Plan, name: RuntimeName, probe: ProbeResult) -> Plan:
    found = describe_runtime(name, plan.fingerprint.runtime.precision)
    if name == reference_runtime(plan.job.contract.network.kind):
        return _with(plan, found)
    fields = {**dataclasses.asdict(probe), "farthest": float(f"{probe.farthest:.3g}")}
    return _with(plan, found.model_copy(update={"probe": fields}))


def _with(plan: Plan, runtime: RuntimeChoice) -> Plan:
    fingerprint = plan.fingerprint.model_copy(update={"runtime": runtime})
    name = cast(RuntimeName, runtime.name)
    job = dataclasses.replace(plan.job, runtime=name, fingerprint=fingerprint.sha256)
    return dataclasses.replace(plan, fingerprint=fingerprint, job=job)
