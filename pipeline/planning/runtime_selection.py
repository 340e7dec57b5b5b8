"""Runtime selection: takes it from the output, from the cache, or measures on this machine."""

import dataclasses
from typing import Literal, cast

from fsq.dataset.fingerprint import Fingerprint, RuntimeChoice
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.runtimes.cache import RuntimeCache
from fsq.runtimes.factory import check_runtime
from fsq.runtimes.probe import ProbeResult
from fsq.runtimes.registry import RUNTIMES, RuntimeName, reference_runtime
from fsq.tokenizer import Tokenizer
from pipeline.core.hardware import machine_kind
from pipeline.job.job import Job
from pipeline.planning.plan import Plan
from pipeline.planning.runtime_request import describe_runtime


def reuse_runtime(plan: Plan, earlier: Fingerprint | None) -> Plan:
    """Gives a plan the runtime of the job in its output, if the config allows it.

    So a job whose config says 'auto' selects its runtime once.

    Args:
      plan: The plan.
      earlier: Fingerprint of the job in the output, finished or not.

    Raises:
      RequestError: That runtime is not installed here.
    """
    asked, precision = plan.fingerprint.runtime, plan.job.config.precision
    if earlier is None or earlier.runtime.precision != precision:
        return plan
    name = cast(RuntimeName, earlier.runtime.name)
    if name not in RUNTIMES or asked.name not in ("auto", name):
        return plan
    check_runtime(name, precision, plan.job.contract.network.kind)
    # With the version installed now, so that a change of it is noticed.
    found = describe_runtime(name, precision)
    return _with_runtime(plan, found.model_copy(update={"probe": earlier.runtime.probe}))


def choice_from_cache(plan: Plan) -> Plan:
    """Gives a plan the runtime in the cache of this machine, if its encoder can be cached too.

    Any other runtime needs TensorFlow anyway, and is left to `select_runtime`.
    """
    asked = plan.fingerprint.runtime
    if asked.probe is not None:
        return plan
    choice = cache_of(plan.job).load_choice(asked.name, plan.job.config.precision)
    return plan if choice is None or not _is_cacheable(choice[0]) else _with_choice(plan, *choice)


def has_cached_encoder(plan: Plan) -> bool:
    """Returns whether `runtime_from_cache` has an encoder to load; imports nothing heavy."""
    plan = choice_from_cache(plan)
    name = plan.job.runtime
    if plan.fingerprint.runtime.probe is None or name == "auto" or plan.job.contract.buckets:
        return False
    return cache_of(plan.job).has_encoder(name, plan.job.config.precision)


def runtime_from_cache(plan: Plan) -> tuple[Plan, BatchEncoder] | None:
    """Loads the runtime and the encoder in the cache of this machine, without TensorFlow.

    Returns:
      The plan with its runtime, and the encoder; None if either is not cached.
    """
    plan = choice_from_cache(plan)
    # The result of the probe is part of the fingerprint: an encoder alone is not enough.
    probe = plan.fingerprint.runtime.probe
    if probe is None or (encoder := cached_encoder(plan.job)) is None:
        return None
    return plan, encoder


def cached_encoder(job: Job) -> BatchEncoder | None:
    """Loads a job's encoder from the cache on disk, without TensorFlow; None if not cached.

    None with buckets too: those after the first need TensorFlow, which is better imported before
    there are threads.
    """
    if job.runtime == "auto" or job.contract.buckets is not None:
        return None
    runtime = cache_of(job).load_encoder(job.runtime, job.config.precision)
    return None if runtime is None else BatchEncoder(job.contract, runtime)


def select_runtime(plan: Plan, tokenizer: Tokenizer) -> Plan:
    """Selects the runtime by measuring, unless plan or cache have it; caches choice and encoder.

    Args:
      plan: The plan; a runtime with a probe result stays as it is.
      tokenizer: The job's tokenizer, at the size of the first bucket; its runtime is set.

    Returns:
      The plan with its runtime.
    """
    asked, precision = plan.fingerprint.runtime, plan.job.config.precision
    name = cast(RuntimeName | Literal["auto"], asked.name)
    if name == reference_runtime(plan.job.contract.network.kind):
        tokenizer.use_runtime(name, precision)
        return plan
    cache = cache_of(plan.job)
    choice = cache.load_choice(name, precision)
    if name != "auto" and asked.probe is not None:
        tokenizer.use_runtime(name, precision)
    # A cacheable encoder was not in the cache or gave other tokens: measure again.
    elif choice is not None and not _is_cacheable(choice[0]):
        tokenizer.use_runtime(choice[0], precision)
        plan = _with_choice(plan, *choice)
    else:
        if name == "auto":
            name, probe = tokenizer.choose_runtime()
        else:
            tokenizer.use_runtime(name, precision)
            probe = tokenizer.probe_runtime()
        cache.store_choice(asked.name, precision, name, probe)
        plan = _with_choice(plan, name, probe)
    tokenizer.cache_encoder(cache)
    return plan


def cache_of(job: Job) -> RuntimeCache:
    """Returns the cache of a job's encoder on this machine."""
    return RuntimeCache(job.contract.of_first_bucket, job.config.batch_size, machine_kind())


def _is_cacheable(name: RuntimeName) -> bool:
    return RUNTIMES[name].serialization is not None


def _with_choice(plan: Plan, name: RuntimeName, probe: ProbeResult) -> Plan:
    found = describe_runtime(name, plan.job.config.precision)
    if name == reference_runtime(plan.job.contract.network.kind):
        return _with_runtime(plan, found)
    fields = {**dataclasses.asdict(probe), "farthest": float(f"{probe.farthest:.3g}")}
    return _with_runtime(plan, found.model_copy(update={"probe": fields}))


def _with_runtime(plan: Plan, runtime: RuntimeChoice) -> Plan:
    fingerprint = plan.fingerprint.model_copy(update={"runtime": runtime})
    name = cast(RuntimeName, runtime.name)
    job = dataclasses.replace(plan.job, runtime=name, fingerprint=fingerprint.sha256)
    return dataclasses.replace(plan, fingerprint=fingerprint, job=job)
