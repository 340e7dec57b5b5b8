"""Accounting: checks images listed = images written + rejected for every source file."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from fsq.dataset.manifest import SourceFileEntry
from fsq.errors import DataError
from pipeline.core.records import hex_of_hashes
from pipeline.job.job import Job
from pipeline.work.unit_files import UnitStatus


class Accounting:
    """Sums the counts of a job's units.

    Attributes:
      listed: Images listed, by source file.
      written: Token records written, by source file.
      rejected: Images rejected, by source file and reason.
      content: Sum of the hashes of the images written, by source file.
      token_counts: How often each token occurs.
      seconds: Worker seconds by stage.
      machines: Hardware kinds of the workers.
      num_unwished: Number of rejects that `max_reject_fraction` limits.
      first_rejects: The first of these, for a message.
    """

    def __init__(self, num_first_rejects: int = 5) -> None:
        self.listed: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.rejected: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.content: Counter[str] = Counter()
        self.token_counts: Counter[int] = Counter()
        self.seconds: Counter[str] = Counter()
        self.machines: set[str] = set()
        self.num_unwished = 0
        self.first_rejects: list[str] = []
        self._num_first_rejects = num_first_rejects

    def add(self, status: UnitStatus) -> None:
        """Adds the counts of one unit."""
        self.listed.update(status.listed)
        self.written.update(status.written)
        for reject in status.rejects:
            self.rejected[reject.file][f"{reject.stage}: {reject.reason}"] += 1
            if not reject.is_wished and len(self.first_rejects) < self._num_first_rejects:
                self.first_rejects.append(f"{reject.key}: {reject.stage}: {reject.reason}")
        self.num_unwished += status.num_unwished
        self.content.update({name: int(total, 16) for name, total in status.content.items()})
        self.token_counts.update(status.token_counts)
        self.seconds.update(status.seconds)
        self.machines.add(status.machine)

    def adding(self, statuses: Iterable[UnitStatus]) -> Iterator[UnitStatus]:
        """Yields the statuses unchanged and adds each."""
        for status in statuses:
            self.add(status)
            yield status

    @property
    def num_listed(self) -> int:
        """Number of images listed in all files."""
        return self.listed.total()

    @property
    def num_rejected(self) -> int:
        """Number of images rejected in all files."""
        return sum(reasons.total() for reasons in self.rejected.values())

    def reasons(self) -> dict[str, int]:
        """Returns the number of rejects by reason, sorted by reason."""
        total: Counter[str] = Counter()
        for reasons in self.rejected.values():
            total.update(reasons)
        return dict(sorted(total.items()))

    def check(self, job: Job) -> None:
        """Checks listed = written + rejected for every source file.

        Raises:
          DataError: The counts differ.
        """
        if self.num_listed != job.num_records:
            raise DataError(
                f"{job.output}: expected {job.num_records:,} images read, "
                f"got {self.num_listed:,}. This is a bug; please report it."
            )
        for name, listed in self.listed.items():
            rejected = self.rejected[name].total() if name in self.rejected else 0
            if self.written[name] != (listed - rejected) * len(job.views):
                raise DataError(
                    f"{name}: expected {listed:,} images written or rejected, got "
                    f"{self.written[name]:,} records of {len(job.views)} view(s) and "
                    f"{rejected:,} rejects. This is a bug; please report it."
                )

    def by_file(self, num_views: int) -> dict[str, SourceFileEntry]:
        """Returns the manifest entries by source file, sorted by name; counts are of images."""
        return {
            name: SourceFileEntry(
                listed=self.listed[name],
                written=self.written[name] // num_views,
                rejected=dict(sorted(self.rejected.get(name, {}).items())),
                content=hex_of_hashes(self.content[name]),
            )
            for name in sorted(self.listed)
        }
