"""Measures a workload in rounds, every contender once per round, and computes medians."""

import dataclasses
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import Contender, run_contender, run_limit
from benchmarks.datasets import prepare
from benchmarks.measured import FailedError
from benchmarks.token_files import Tokens, read_tokens, share_equal
from benchmarks.workloads import Workload

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The size of a measurement.

    Attributes:
      images: Images of a whole run.
      few: Images of the small run; 0 for no small run, and no steady speed.
      slow_images: Largest number of images for slow peers.
      encode_seconds: How long each runtime is measured alone.
      timeout_seconds: Time limit of any run.
    """

    images: int
    few: int
    slow_images: int
    encode_seconds: float
    timeout_seconds: float

    def of(self, contender: Contender) -> tuple[int, int]:
        """Returns the images of a contender's whole run and of its small run."""
        if contender.slow and self.images > self.slow_images:
            return self.slow_images, min(self.few, self.slow_images // 4)
        return self.images, self.few


@dataclasses.dataclass(frozen=True)
class Run:
    """The result of one contender in one round.

    Attributes:
      images: Images of the whole run.
      whole: Images/s of the process, from its start to its end.
      steady: Images/s without the start: the difference between the whole and the small
        run. None without a small run, or if that took as long.
      cpu_milliseconds: CPU time of all cores, per image of the whole run.
      peak_mb: See `Cost`.
      tokens: The tokens that it wrote.
    """

    images: int
    whole: float
    steady: float | None
    cpu_milliseconds: float
    peak_mb: float
    tokens: Tokens


def steady_speed(images: int, few: int, seconds: float, few_seconds: float) -> float | None:
    """Returns the images/s of what the whole run did in addition to the small run.

    >>> steady_speed(images=1000, few=200, seconds=10.0, few_seconds=6.0)
    200.0
    """
    return (images - few) / (seconds - few_seconds) if seconds > few_seconds else None


def measure_once(contender: Contender, workload: Workload, sizes: Sizes, folder: Path) -> Run:
    """Runs one contender on few images, then on all.

    Raises:
      FailedError: It failed, or did not write one record per image.
    """
    images, few = sizes.of(contender)
    costs = {}
    for count in (few, images) if few else (images,):
        output = folder / f"{contender.name}-{count}"
        dataset = prepare(workload, count)
        costs[count] = run_contender(
            contender, workload, dataset, count, output, timeout_seconds=sizes.timeout_seconds
        )
        try:
            tokens = read_tokens(output)
        except ValueError as error:
            raise FailedError(str(error)) from error
        shutil.rmtree(output)
        if tokens.keys() != set(range(count)):
            raise FailedError(f"expected a record of each of {count} images, got {len(tokens)}")
        expected = np.prod(workload.contract.grid)
        if any(row.size != expected for row in tokens.values()):
            raise FailedError(f"expected {expected} tokens per image, got others")
    cost = costs[images]
    return Run(
        images=images,
        whole=images / cost.seconds,
        steady=steady_speed(images, few, cost.seconds, costs[few].seconds) if few else None,
        cpu_milliseconds=cost.cpu_seconds / images * 1e3,
        peak_mb=cost.peak_mb,
        tokens=tokens,
    )


def measure_workload(
    workload: Workload,
    contenders: Sequence[Contender],
    sizes: Sizes,
    repeats: int,
    say: Say,
    *,
    with_limit: bool = True,
) -> dict[str, Any]:
    """Measures all contenders in turns.

    Every second round has the reverse order, so that no contender always follows the same
    one. A contender that fails is not run again.

    Returns:
      What `summarize` returns.
    """
    limits: list[dict[str, Any]] = []
    rounds: list[dict[str, Run]] = []
    skipped = {c.name: reason for c in contenders if (reason := c.missing())}
    for contender in contenders:
        if contender.cached:
            say(f"{workload.name}: {contender.name}, not counted, to fill its cache")
            once = dataclasses.replace(sizes, images=sizes.few or sizes.images, few=0)
            with tempfile.TemporaryDirectory(prefix="throughput") as scratch:
                measure_once(contender, workload, once, Path(scratch))
    for number in range(repeats):
        runs: dict[str, Run] = {}
        with tempfile.TemporaryDirectory(prefix="throughput") as scratch:
            folder = Path(scratch)
            if with_limit:
                say(f"{workload.name}, round {number + 1}: limit")
                limits.append(run_limit(workload, sizes.images, sizes.encode_seconds, folder))
            for contender in contenders[:: -1 if number % 2 else 1]:
                if contender.name in skipped:
                    continue
                say(f"{workload.name}, round {number + 1}: {contender.name}")
                try:
                    runs[contender.name] = measure_once(contender, workload, sizes, folder)
                except FailedError as error:
                    skipped[contender.name] = f"failed: {error}"
        rounds.append(runs)
    return summarize(limits, rounds, skipped)


def summarize(
    limits: list[dict[str, Any]], rounds: list[dict[str, Run]], skipped: dict[str, str]
) -> dict[str, Any]:
    """Summarizes rounds: medians, and medians of the ratios within a round.

    Returns:
      'limit': medians of the report of `benchmarks.limit`, and of our steady speed over it.
      'contenders': by name, the medians of its `Run`s; 'ours_over_whole' and
      'ours_over_steady', the speed-up of ours; 'tokens_equal', the share of its tokens that
      equal ours; 'rounds', the single figures. Or 'skipped' with the reason.
    """
    names = list(dict.fromkeys(name for runs in rounds for name in runs))
    found: dict[str, Any] = {name: {"skipped": reason} for name, reason in skipped.items()}
    for name in names:
        if name in skipped:
            continue
        own = [runs[name] for runs in rounds if name in runs]
        pairs = [(runs["ours"], runs[name]) for runs in rounds if {"ours", name} <= runs.keys()]
        found[name] = {
            "images": own[0].images,
            **{field: _median(getattr(run, field) for run in own) for field in _FIELDS},
            "ours_over_whole": _median(_ratio(a.whole, b.whole) for a, b in pairs),
            "ours_over_steady": _median(_ratio(a.steady, b.steady) for a, b in pairs),
            "tokens_equal": _median(share_equal(b.tokens, a.tokens) for a, b in pairs),
            "rounds": [{field: getattr(run, field) for field in _FIELDS} for run in own],
        }
    return {"limit": _summarize_limits(limits, rounds), "contenders": found}


_FIELDS = ("whole", "steady", "cpu_milliseconds", "peak_mb")


def _summarize_limits(
    limits: list[dict[str, Any]], rounds: list[dict[str, Run]]
) -> dict[str, Any] | None:
    if not limits:
        return None
    ours = [runs["ours"].steady if "ours" in runs else None for runs in rounds]
    numbers = [name for name, value in limits[0].items() if isinstance(value, float)]
    return {
        **{name: _median(limit[name] for limit in limits) for name in numbers},
        "encode": {
            name: _median(limit["encode"][name] for limit in limits) for name in limits[0]["encode"]
        },
        "runtime": statistics.mode(limit["runtime"] for limit in limits),
        "ours_over_limit": _median(
            _ratio(steady, limit["limit"]) for steady, limit in zip(ours, limits, strict=True)
        ),
        "rounds": limits,
    }


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b is not None else None


def _median(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
