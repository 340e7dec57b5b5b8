"""The long version of the fault tests.

    python -m tools.torture [--points N] [--fuzz-seconds S] [SECTION ...]

Writes docs/torture.md. A section is a function that takes a `Torture` and
returns its figures by name; 'records lost', 'records doubled' and 'damaged'
must be 0.
"""

import argparse
import dataclasses
import functools
import multiprocessing
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import psutil

from fsq.cores import count_cores
from pipeline.core.hardware import machine_kind
from pipeline.core.records import ImageRecord
from pipeline.job.config import TokenizeConfig
from pipeline.planning.plan import make_plan
from tools.fuzz import READERS, fuzz
from tools.kills import Resumption, Victim, count_keys, pairs
from tools.memory import memory_figures

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "docs" / "torture.md"
NUM_RECORDS = 112
MUST_BE_ZERO = ("records lost", "records doubled", "damaged")

Figures = dict[str, int | float | str]


@dataclasses.dataclass(frozen=True)
class Torture:
    """What a section works with.

    Attributes:
      folder: An empty folder.
      points: How often to strike.
      seed: For the choice of moments.
      fuzz_seconds: How long each reader gets damaged input.
    """

    folder: Path
    points: int
    seed: int
    fuzz_seconds: float

    def victim(self, **changes: object) -> Victim:
        """A job over the sample images of the repository: 112 images, 7 units, 3 shards."""
        config = {
            "source": {
                "kind": "tfds",
                "directory": str(ROOT / "samples" / "fashion_mnist"),
                "split": "test",
            },
            "tokenizer": str(ROOT / "tokenizers" / "fashion_mnist"),
            "output": {"name": "tortured", "num_shards": 3},
            "batch_size": 16,
        }
        limit = ["--limit", str(NUM_RECORDS)]
        return Victim(self.folder, config, arguments=limit, **changes)  # type: ignore[arg-type]


def kill_at_changes(torture: Torture) -> Figures:
    """SIGKILL before, or amid, a change of a file; every change once, then twice in a row."""
    return _kill_at_changes(torture, torture.victim())


def kill_in_a_store(torture: Torture) -> Figures:
    """The same where the output lies in a store without folders, under a lease."""
    torture = dataclasses.replace(torture, points=torture.points // 5)
    victim = torture.victim(output="disk://out", faults={"seconds_between_renewals": 0.05})
    return _kill_at_changes(torture, victim)


def kill_at_times(torture: Torture) -> Figures:
    """SIGKILL from outside at any time, with as many threads as usual."""
    victim = torture.victim(beam_options=())
    rng = random.Random(torture.seed)
    tally = _Tally(victim)
    for pair in pairs(victim.place() for _ in range(torture.points // 5)):
        for place in pair:
            began, seconds = time.monotonic(), rng.uniform(0, victim.seconds)
            child = victim.start(place)
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            child.kill()
            tally.killed += child.wait() == -signal.SIGKILL
        tally.add(victim.resume_all(pair))
    return tally.figures()


def memory_at_a_million(torture: Torture) -> Figures:
    """Peak resident memory of 10,000 and of 1,000,000 records, each job with one shard alone."""
    found = memory_figures(10_000, 1_000_000)
    small, large = found["small"], found["large"]
    return {
        "records, the smaller job": small["records"],
        "peak MB, the smaller job": small["peak_mb"],
        "records, the larger job": large["records"],
        "peak MB, the larger job": large["peak_mb"],
        "more memory for 100 times the records": f"{large['peak_mb'] / small['peak_mb'] - 1:.1%}",
        "records lost": 1_010_000 - small["records"] - large["records"],
        "images/s, the larger job as a whole process": round(large["records"] / large["seconds"]),
    }


def fuzz_every_reader(torture: Torture) -> Figures:
    """Every reader under damaged input: right by its own checks, or refused as documented."""
    figures: Figures = {"seconds for each reader": torture.fuzz_seconds}
    damaged = 0
    # Side by side, each in a process of its own: a hang is noticed in the main thread alone.
    cores, spawn = count_cores(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=spawn) as pool:
        try_reader = functools.partial(fuzz, seconds=torture.fuzz_seconds, seed=torture.seed)
        for found in pool.map(try_reader, READERS):
            damaged += len(found.crashes)
            figures[found.reader] = (
                f"{found.tried:,} tried, {found.accepted:,} accepted, {found.refused:,} refused"
            )
            for crash in found.crashes:
                print(found.reader, crash, file=sys.stderr)
    return {**figures, "damaged": damaged}


SECTIONS: tuple[Callable[[Torture], Figures], ...] = (
    kill_at_changes,
    kill_in_a_store,
    kill_at_times,
    memory_at_a_million,
    fuzz_every_reader,
)


def _kill_at_changes(torture: Torture, victim: Victim) -> Figures:
    rng = random.Random(torture.seed)
    once = victim.choose(torture.points, torture.seed)
    numbers = [[moment.number] for moment in once]
    while len(numbers) < torture.points:
        numbers.append([rng.choice(victim.moments).number, rng.randrange(45)])
    tally = _Tally(victim)
    for few in pairs(numbers):
        places = {victim.place(): chain for chain in few}
        for strike in range(max(map(len, few))):
            struck = {
                place: chain[strike] for place, chain in places.items() if strike < len(chain)
            }
            tally.killed += sum(victim.kill_all(struck).values())
        tally.add(victim.resume_all(places))
    return tally.figures()


class _Tally:
    """Adds up what became of killed jobs, by the keys in their shards and by their bytes.

    Attributes:
      killed: How many processes were killed.
    """

    def __init__(self, victim: Victim):
        self.killed = self._jobs = self._lost = self._doubled = self._damaged = 0
        self._resumed = self._encoded = 0
        self._expected = source_keys(victim)

    def add(self, found: dict[Path, Resumption]) -> None:
        """Adds jobs that were resumed, and removes them."""
        for place, resumption in found.items():
            keys = count_keys(place / "out")
            self._jobs += 1
            self._lost += (self._expected - keys).total()
            self._doubled += (keys - self._expected).total()
            good = resumption.exit_code == 0 and not resumption.differing
            if not good:
                print(f"{place}: {resumption}", file=sys.stderr)
            else:
                shutil.rmtree(place)
            self._damaged += not good
            self._resumed += resumption.resumed
            self._encoded += len(resumption.encoded)

    def figures(self) -> Figures:
        return {
            "jobs": self._jobs,
            "processes killed": self.killed,
            "survived, in the same bytes": self._jobs - self._damaged,
            "damaged": self._damaged,
            "records per job": self._expected.total(),
            "records lost": self._lost,
            "records doubled": self._doubled,
            "units kept": self._resumed,
            "units encoded after a kill": self._encoded,
        }


def source_keys(victim: Victim) -> Counter[str]:
    """Counts the keys of a job's records as its source has them."""
    plan = make_plan(
        TokenizeConfig.model_validate(
            {**victim.config, "output": {**victim.config["output"], "directory": "out"}}
        ),
        limit=NUM_RECORDS,
    )
    source = plan.job.config.open_source()
    keys: Counter[str] = Counter()
    with plan.listing.on_disk():
        for unit in plan.units:
            for record in source.read(unit, plan.job.features):
                assert isinstance(record, ImageRecord), record
                keys[record.key] += 1
    return keys


def describe_machine() -> str:
    """Names hardware, system and the versions that matter."""
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("apache-beam", "tensorflow"))
    return (
        f"{machine_kind()}, {count_cores()} cores, {memory:.0f} GB, "
        f"Linux {platform.release()}, Python {platform.python_version()}, {packages}"
    )


def render(results: dict[str, tuple[str, Figures]], options: argparse.Namespace) -> str:
    """Renders the report."""
    command = (
        f"python -m tools.torture --points {options.points} --seed {options.seed} "
        f"--fuzz-seconds {options.fuzz_seconds:g}"
    )
    lines = [
        "# Torture",
        "",
        f"Written by `{command}`; `make torture` takes 500 points and 600 seconds.",
        "A killed job is started again with the same command. It survives if every file but",
        "timing.json then has the bytes of an undisturbed run and nothing else is left behind;",
        "lost and doubled records are counted by their keys, shards against source.",
        "",
        f"Machine: {describe_machine()}.",
    ]
    for name, (text, figures) in results.items():
        lines += ["", f"## {name.replace('_', ' ').capitalize()}", "", text, "", "| | |", "|-|-:|"]
        lines += [f"| {what} | {_show(value)} |" for what, value in figures.items()]
    return "\n".join(lines) + "\n"


def _show(value: int | float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def main(arguments: Iterable[str] | None = None) -> None:
    """Runs the sections and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [section.__name__ for section in SECTIONS]
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of: {' '.join(names)}")
    parser.add_argument("--points", type=int, default=500, help="how often to strike")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fuzz-seconds", type=float, default=600, help="for each reader")
    parser.add_argument("--output", type=Path, default=REPORT)
    options = parser.parse_args(arguments if arguments is None else list(arguments))
    if unknown := set(options.sections) - set(names):
        parser.error(
            f"expected sections among {', '.join(names)}, got {', '.join(sorted(unknown))}"
        )
    results: dict[str, tuple[str, Figures]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for section in SECTIONS:
            name = section.__name__
            if options.sections and name not in options.sections:
                continue
            began = time.monotonic()
            torture = Torture(
                Path(folder, name), options.points, options.seed, options.fuzz_seconds
            )
            figures = section(torture)
            figures["seconds"] = round(time.monotonic() - began, 1)
            results[name] = ((section.__doc__ or "").strip(), figures)
            print(name, figures, flush=True)
    options.output.write_text(render(results, options))
    if any(figures.get(name) for _, figures in results.values() for name in MUST_BE_ZERO):
        sys.exit(f"{options.output}: expected nothing lost, doubled or damaged.")


if __name__ == "__main__":
    main()
