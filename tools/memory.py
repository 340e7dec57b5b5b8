"""How much memory a job takes, by the number of its records.

    python -m tools.memory 10000 100000

The source is the Fashion-MNIST sample, repeated in TFRecord files; everything
goes into one shard, so that the shuffle is measured too.
"""

import argparse
import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from fsq.dataset.formats.tfrecord import frame, read_records

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "samples/fashion_mnist/fashion_mnist-test.tfrecord-00000-of-00001"
RECORDS_PER_FILE = 50_000

# The peak that the system notes of a child would be that of whoever started it, if that is more.
_RUN = """
import sys
from pathlib import Path
from pipeline.cli import main
try:
    main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    Path("peak").write_text(peak)
"""


@dataclasses.dataclass(frozen=True)
class Peak:
    """What one run took.

    Attributes:
      records: Token records written.
      peak_mb: The most memory that was resident, in MB of 10^6 bytes.
      seconds: From start to end.
    """

    records: int
    peak_mb: float
    seconds: float


def memory_figures(small: int, large: int) -> dict[str, dict[str, Any]]:
    """Runs `fsq tokenize` on two numbers of records, one after the other.

    Returns:
      'small' and 'large', each with the fields of a `Peak`.
    """
    figures = {}
    for name, count in (("small", small), ("large", large)):
        with tempfile.TemporaryDirectory() as folder:
            source = write_records(Path(folder), count)
            figures[name] = dataclasses.asdict(measure(source, Path(folder)))
    return figures


def write_records(folder: Path, count: int) -> dict[str, Any]:
    """Writes so many records of the sample; returns the source that reads them.

    Keys come from file names and numbers, so that none comes twice.
    """
    with SAMPLE.open("rb") as file:
        framed = itertools.cycle([frame(data) for data in read_records(file, str(SAMPLE))])
    for number, first in enumerate(range(0, count, RECORDS_PER_FILE)):
        with (folder / f"images-{number:05d}.tfrecord").open("wb") as file:
            file.writelines(itertools.islice(framed, min(RECORDS_PER_FILE, count - first)))
    return {"kind": "tfrecord", "files": f"{folder}/images-*.tfrecord", "image": "image"}


def measure(source: dict[str, Any], folder: Path) -> Peak:
    """Tokenizes a source into one shard, in a process of its own, inside a folder.

    Raises:
      RuntimeError: It failed; the message is what it said.
    """
    config = {
        "source": source,
        "tokenizer": str(ROOT / "tokenizers/fashion_mnist"),
        "output": {"directory": str(folder / "out"), "name": "measured", "num_shards": 1},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", _RUN, "tokenize", "job.yaml"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(done.stderr)
    manifest = json.loads((folder / "out/manifest.json").read_text())
    peak_bytes = int((folder / "peak").read_text()) * 1024
    return Peak(manifest["records"], round(peak_bytes / 1e6, 1), round(seconds, 1))


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("small", type=int)
    parser.add_argument("large", type=int)
    arguments = parser.parse_args()
    print(json.dumps(memory_figures(arguments.small, arguments.large), indent=2))


if __name__ == "__main__":
    main()
