"""Kills a job at chosen moments and looks at what the same command makes of it afterwards."""

import dataclasses
import itertools
import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from fsq.dataset.manifest import TIMING_FILE
from tools.fork_server import Child, start

T = TypeVar("T")

# One thread, so that the changes come in the same order in every run.
ONE_WORKER = ("--", "--runner=FnApiRunner", "--direct_num_workers=1")
# A phase begins with the first change, after the phase before, whose path fits.
PHASES = (
    ("plan", ""),
    ("begin", r"\.work"),
    ("tokenize", r"\.work/parts-[\w-]+/\.?unit-.*"),
    ("settle", r"\.?rejects\.jsonl\..*"),
    ("write", r"\.work/staging-[\w-]+/\.?.*tfrecord.*"),
    ("close", r"\.?rejects\.jsonl\..*"),
)


@dataclasses.dataclass(frozen=True)
class Moment:
    """A change that a job makes in its output, before or amid which it is killed."""

    number: int
    phase: str
    what: str
    path: str

    def __str__(self) -> str:
        return f"change {self.number} ({self.phase}: {self.what} {self.path})"


@dataclasses.dataclass(frozen=True)
class Resumption:
    """What the same command made of a killed job.

    Attributes:
      exit_code: Its exit code.
      lines: What it said on stdout.
      committed: The units that were done when it began.
      encoded: Those that it encoded.
      differing: Files that are missing, too many, or not those of an undisturbed run.
    """

    exit_code: int
    lines: list[str]
    committed: list[str]
    encoded: list[str]
    differing: list[str]

    @property
    def resumed(self) -> int:
        """How many units it said to have found done."""
        found = re.match(r"resumed: (\d+) of", self.lines[0]) if self.lines else None
        return int(found[1]) if found else 0


@dataclasses.dataclass
class Victim:
    """A job that is run again and again, each time in a folder of its own.

    Its output is named relative to that folder, so that even the config in the
    finished dataset is the same each time.

    Attributes:
      folder: Holds the folders.
      config: The job, without its output's directory.
      beam_options: How to run it.
      arguments: Further arguments of the command.
      output: The output as the config names it; as a path it is 'out'.
      faults: Of every run; see `tools.faults.run_fsq`.
    """

    folder: Path
    config: dict[str, Any]
    beam_options: Sequence[str] = ONE_WORKER
    arguments: Sequence[str] = ()
    output: str = "out"
    faults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        place = self.place()
        child = self.start(place, report=str(place / "report.json"))
        began = time.monotonic()  # the fork server is ready by now
        assert child.wait() == 0, read_streams(place)
        self.seconds = time.monotonic() - began
        self.expected = contents(place / "out")
        changes = json.loads((place / "report.json").read_text())["changes"]
        self.moments = label(changes)
        self.encoded = json.loads((place / "report.json").read_text())["encoded"]

    def place(self) -> Path:
        """Makes a folder with the config, to run in."""
        place = self.folder / f"run-{next(self._numbers):04d}"
        place.mkdir(parents=True)
        output = {**self.config.get("output", {}), "directory": self.output}
        (place / "job.yaml").write_text(yaml.safe_dump({**self.config, "output": output}))
        return place

    def start(
        self,
        place: Path,
        *more: str,
        beam_options: Sequence[str] | None = None,
        name: str = "stream",
        **faults: Any,
    ) -> Child:
        """Starts the command.

        Args:
          place: Where; see `place`.
          more: Further arguments of the command.
          beam_options: Instead of the usual ones.
          name: Of the files for stdout and stderr.
          faults: See `tools.faults.run_fsq`.
        """
        from tools.faults import run_fsq

        options = self.beam_options if beam_options is None else beam_options
        return start(
            run_fsq,
            arguments=["tokenize", "job.yaml", *self.arguments, *more, *options],
            directory=str(place),
            streams=str(place / name),
            **self.faults,
            **faults,
        )

    def run(self, place: Path, *more: str) -> int:
        """Runs the command undisturbed and notes what it changes; returns its exit code."""
        return self.start(place, *more, report=str(place / "report.json")).wait()

    def choose(self, count: int, seed: int) -> list[Moment]:
        """Chooses moments evenly over the phases, as far as these have so many."""
        rng = random.Random(seed)
        by_phase = [[m for m in self.moments if m.phase == phase] for phase, _ in PHASES]
        for moments in by_phase:
            rng.shuffle(moments)
        turns = itertools.chain.from_iterable(itertools.zip_longest(*by_phase))
        chosen = [moment for moment in turns if moment is not None][:count]
        return sorted(chosen, key=lambda moment: moment.number)

    def kill_all(self, numbers: Mapping[Path, int], *more: str) -> dict[Path, bool]:
        """Runs the command in each folder and kills it at a change; False if it ended before."""
        killed = {}
        for pair in pairs(numbers):
            children = [
                self.start(place, *more, disturb="kill", at=numbers[place]) for place in pair
            ]
            for place, child in zip(pair, children, strict=True):
                code = child.wait()
                assert code in (0, -signal.SIGKILL), read_streams(place)
                killed[place] = code != 0
        return killed

    def resume_all(self, places: Iterable[Path], *more: str) -> dict[Path, Resumption]:
        """Gives the same command again in each folder and compares the results."""
        found = {}
        for pair in pairs(places):
            committed = [committed_units(place / "out") for place in pair]
            children = [
                self.start(place, *more, report=str(place / "report.json")) for place in pair
            ]
            for place, units, child in zip(pair, committed, children, strict=True):
                found[place] = self._resumption(place, child.wait(), units)
        return found

    def _resumption(self, place: Path, code: int, committed: list[str]) -> Resumption:
        found = contents(place / "out")
        names = sorted({*found, *self.expected})
        return Resumption(
            exit_code=code,
            lines=read_streams(place)[0].splitlines(),
            committed=committed,
            encoded=json.loads((place / "report.json").read_text())["encoded"],
            differing=[name for name in names if found.get(name) != self.expected.get(name)],
        )


def pairs(things: Iterable[T]) -> Iterator[list[T]]:
    """Takes things two at a time: so many processes run at once."""
    left = iter(things)
    while pair := list(itertools.islice(left, 2)):
        yield pair


def label(changes: list[list[str]]) -> list[Moment]:
    """Names the phase of every change of an undisturbed run."""
    moments = []
    rest = list(PHASES)
    phase = ""
    for number, (what, path) in enumerate(changes):
        if rest and re.fullmatch(rest[0][1] or ".*", path):
            phase = rest.pop(0)[0]
        moments.append(Moment(number, phase, what, path))
    assert not rest, f"no change of phase {rest[0][0]}"
    return moments


def contents(directory: Path) -> dict[str, bytes]:
    """Reads every file of a dataset, hidden ones too, but for the times, which differ."""
    found = {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
    }
    if TIMING_FILE in found:
        found[TIMING_FILE] = b""
    return found


def committed_units(output: Path) -> list[str]:
    """Lists the units that a killed run has done."""
    if not (output / ".work" / "job.json").exists():
        return []
    return sorted(path.stem for path in output.glob(".work/parts-*/unit-*.json"))


def count_keys(directory: Path) -> Counter[str]:
    """Counts the keys of all records in the shards of a dataset."""
    from fsq.dataset.formats.tfrecord import scan
    from pipeline.stages.merge_shards import key_of

    counts: Counter[str] = Counter()
    for path in sorted(directory.glob("*.tfrecord-*")):
        data = path.read_bytes()
        with path.open("rb") as file:
            offsets = [*scan(file, len(data)).offsets.tolist(), len(data)]
        counts.update(key_of(data[first:end]) for first, end in itertools.pairwise(offsets))
    return counts


def read_streams(place: Path) -> tuple[str, str]:
    """Returns what the last command in a folder said on stdout and stderr."""
    return (place / "stream.out").read_text(), (place / "stream.err").read_text()
