"""Fuzzes the readers with damaged input: python -m tools.fuzz --seconds 60 [READER ...]

Each reader gets valid input with random changes. It must return a correct result, or raise
an error that it documents, within ten seconds. Where a checksum covers the input, it must
not accept a wrong one.
"""

import argparse
import base64
import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import random
import signal
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsq.dataset.formats.tfrecord import frame, read_frames, read_records, scan
from fsq.errors import BadImageError, DataError, FsqError, RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage.json_documents import with_digest

ROOT = Path(__file__).parent.parent
SECONDS_TO_HANG = 10
MAX_CRASHES = 20

# Tries one changed input; returns whether it was accepted.
Attempt = Callable[["Changes"], bool]


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
      attempt: Makes an input and reads it. Raises AssertionError if the reader accepted
        a wrong one.
      refusals: The errors that the reader documents.
    """

    attempt: Attempt
    refusals: tuple[type[Exception], ...] = (FsqError,)


@dataclasses.dataclass(frozen=True)
class Figures:
    """The results of one reader; each of `crashes` holds the input that reproduces it."""

    reader: str
    seconds: float
    tried: int
    accepted: int
    refused: int
    crashes: list[str]


class Changes:
    """Makes random changes to valid input, and keeps the last one for the report."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.last = b""

    def bytes(self, *seeds: bytes) -> bytes:
        """Changes one of the seeds in one to four places."""
        data = bytearray(self.random.choice(seeds))
        for _ in range(self.random.randint(1, 4)):
            self._change(data, seeds)
        self.last = bytes(data)
        return self.last

    def _change(self, data: bytearray, seeds: tuple[bytes, ...]) -> None:
        start = self.random.randrange(len(data) + 1)
        stop = min(len(data), start + self.random.choice([1, 2, 4, 8, 64]))
        match self.random.randrange(8):
            case 0 | 1 if data:
                data[start % len(data)] ^= 1 << self.random.randrange(8)
            case 2 if data:
                data[start % len(data)] = self.random.choice([0, 1, 0x7F, 0x80, 0xFF])
            case 3:
                number = self.random.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
                data[start : start + 8] = number.to_bytes(8, self.random.choice(["big", "little"]))
            case 4:
                del data[start:stop]
            case 5:
                data[start:start] = data[start:stop] * self.random.choice([1, 2, 50])
            case 6:
                del data[start:]
            case _:
                other = self.random.choice(seeds)
                begin = self.random.randrange(len(other) + 1)
                data[start:stop] = other[begin : begin + self.random.choice([1, 8, 64, 4096])]

    def json(self, data: bytes) -> Any:
        """Changes or removes one value in a JSON text; returns the parsed content."""
        content = json.loads(data)
        place, name = self.random.choice(list(_places(content)))
        if self.random.random() < 0.2:
            del place[name]
        else:
            place[name] = self.random.choice(ODD)
        self.last = json.dumps(content).encode()
        return json.loads(self.last)


ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**40, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), "", "x", "a\nb", "\0", "../../etc/passwd", "0" * 64, "\ud800"),
    *([], [[]], [1], ["x", "x"], {}, {"": {}}, {"kind": "onnx"}),
]


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    names = content if isinstance(content, dict) else range(len(content))
    for name in names:
        yield content, name
        if isinstance(content[name], dict | list):
            yield from _places(content[name])


@contextlib.contextmanager
def tfrecord() -> Iterator[Target]:
    """The framing of TFRecord files: records are read byte for byte."""
    seed = b"".join(map(frame, [b"", b"one", bytes(300), b"four" * 20]))

    def attempt(changes: Changes) -> bool:
        data = changes.bytes(seed)
        found = scan(io.BytesIO(data), len(data))
        offset = count = 0
        for record in read_frames(io.BytesIO(data), "file"):
            size = int.from_bytes(data[offset : offset + 8], "little")
            assert record is None or frame(record) == data[offset : offset + 16 + size]
            offset, count = offset + 16 + size, count + 1
        assert offset == len(data)
        assert (found.num_records, found.damage) == (count, None)
        return True

    yield Target(attempt, (DataError,))


@contextlib.contextmanager
def example() -> Iterator[Target]:
    """Records of tf.train.Example: each gives an ImageRecord or a BadRecord."""
    from tensorflow.core.example import example_pb2

    from fsq.dataset.records import CarriedFeature
    from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
    from pipeline.sources.example_reader import Fields, read_examples
    from pipeline.sources.record_formats import TFRECORD

    message = example_pb2.Example()
    message.features.feature["image"].bytes_list.value.append(b"an image")
    message.features.feature["key"].bytes_list.value.append(b"a key")
    message.features.feature["label"].int64_list.value.append(7)
    message.features.feature["weight"].float_list.value.append(0.5)
    seed = message.SerializeToString(deterministic=True)
    carried = (
        CarriedFeature("label", "label", "int64"),
        CarriedFeature("weight", "weight", "float32"),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        unit = Unit("unit", str(path), (Span(0, 0, 1),), file="file")

        def attempt(changes: Changes) -> bool:
            path.write_bytes(frame(changes.bytes(seed)))
            (record,) = read_examples(unit, TFRECORD, Fields("image", "key", carried), "reject", {})
            if isinstance(record, BadRecord):
                raise DataError(record.reason)
            assert isinstance(record, ImageRecord)
            assert [type(value) for value in record.carried] == [int, float]
            assert isinstance(record.data, bytes)
            return True

        yield Target(attempt, (DataError,))


@contextlib.contextmanager
def tfds() -> Iterator[Target]:
    """The metadata of tensorflow-datasets: all records of the split, or a one-line error."""
    from pipeline.sources.tfds import TfdsConfig

    sample = ROOT / "samples" / "fashion_mnist"
    shard = "fashion_mnist-test.tfrecord-00000-of-00001"
    with tempfile.TemporaryDirectory() as folder, (sample / shard).open("rb") as file:
        records = b"".join(map(frame, itertools.islice(read_records(file, shard), 20)))
        Path(folder, shard).write_bytes(records)
        files = {name: (sample / name).read_bytes() for name in ("features.json",)}
        info = json.loads((sample / "dataset_info.json").read_bytes())
        info["splits"][0]["shardLengths"] = ["20"]
        files["dataset_info.json"] = json.dumps(info).encode()
        for name, data in files.items():
            Path(folder, name).write_bytes(data)
        config = {"kind": "tfds", "directory": folder, "split": "test", "carry": ["label"]}
        source = TfdsConfig.model_validate(config).open()

        def attempt(changes: Changes) -> bool:
            name = changes.random.choice(list(files))
            if changes.random.random() < 0.7:
                changes.json(files[name])
            else:
                changes.bytes(files[name])
            Path(folder, name).write_bytes(changes.last)
            try:
                assert source.list().num_records == 20
            finally:
                Path(folder, name).write_bytes(files[name])
            return True

        yield Target(attempt)


@contextlib.contextmanager
def image() -> Iterator[Target]:
    """Image files of every format: pixels, or a BadImageError."""
    from fsq.images.decode import decode_image
    from fsq.images.signatures import FORMATS

    pixels = np.add.outer(np.arange(24), np.arange(17)).astype(np.uint8) * 5
    color = Image.fromarray(np.stack([pixels, pixels // 2, 255 - pixels], -1))
    seeds = []
    orientation = Image.Exif()
    orientation[0x0112] = 6
    metadata = {"exif": orientation.tobytes(), "xmp": b'<x tiff:Orientation="8"/>'}
    for kind in FORMATS:
        file = io.BytesIO()
        color.save(file, kind, **metadata)
        seeds.append(file.getvalue())
        for mode in ("L", "RGB", "P"):
            file = io.BytesIO()
            color.convert("RGB" if (kind, mode) == ("JPEG", "P") else mode).save(file, kind)
            seeds.append(file.getvalue())

    def attempt(changes: Changes) -> bool:
        channels = changes.random.choice([1, 3])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded = decode_image(changes.bytes(*seeds), channels)
        assert decoded.dtype == np.uint8 and decoded.shape[2:] == (channels,)
        return True

    yield Target(attempt, (BadImageError,))


@contextlib.contextmanager
def part() -> Iterator[Target]:
    """Parts of units: every slice is read as written, or refused."""
    from fsq.dataset.records import place_digest
    from pipeline.work.unit_files import PlacedRecord, SliceReader, pack_part

    records = [
        PlacedRecord(place_digest(b"%d" % n, "center"), b"record %d" % n * (n % 4), n)
        for n in range(40)
    ]
    seed = pack_part(records, [2])

    def take(path: Path, shard: int) -> list[bytes]:
        reader = SliceReader(str(path), shard, 2)
        frames = [f for n in (1, 2, 3) for f in reader.read_below(2**64 * n // 3)[1]]
        reader.check()
        return frames

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "part")
        path.write_bytes(seed)
        right = [take(path, shard) for shard in range(2)]

        def attempt(changes: Changes) -> bool:
            path.write_bytes(changes.bytes(seed))
            shard = changes.random.randrange(2)
            assert take(path, shard) == right[shard]
            return True

        yield Target(attempt, (DataError,))


@contextlib.contextmanager
def status() -> Iterator[Target]:
    """The status of a unit: read as written, or refused."""
    from pipeline.core.records import Reject
    from pipeline.work.unit_files import UnitStatus

    right = UnitStatus(
        source="file",
        listed={"file": 8},
        written={"file": 7},
        rejects=(Reject("key", "decode", "expected an image", "file", 3),),
        token_counts={1: 20, 59: 3},
        content={"file": "0123"},
        rejected_content="4567",
        etag="9 bytes of 9",
        machine="x86_64",
        seconds={"read": 0.25},
        part_sha256="4567",
    )
    seed = right.to_json()

    def attempt(changes: Changes) -> bool:
        if changes.random.random() < 0.5:
            data = changes.bytes(seed)
        else:
            changes.json(seed)
            data = changes.last
        assert UnitStatus.from_json(data) == right
        return True

    documented = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
    yield Target(attempt, documented)


@contextlib.contextmanager
def tokenizer() -> Iterator[Target]:
    """Contract and weights: loaded as saved, or a one-line error."""
    from fsq.tokenizer import Tokenizer

    with _small_tokenizer() as folder:
        contract, weights = ((folder / n).read_bytes() for n in (CONTRACT_FILE, WEIGHTS_FILE))
        meaning = Tokenizer.load(folder).contract.meaning_sha256
        size = int.from_bytes(weights[:8], "little")
        header, body = weights[8 : 8 + size], weights[8 + size :]

        def attempt(changes: Changes) -> bool:
            content, data = json.loads(contract), weights
            match changes.random.randrange(4):
                case 0:
                    content = changes.json(contract)
                case 1:
                    data = changes.bytes(weights)
                case 2:
                    changes.json(header)
                    data = len(changes.last).to_bytes(8, "little") + changes.last + body
                case _:
                    text = changes.bytes(contract)
                    Tokenizer.from_bytes(text, weights, where="here", batch_size=8)
                    return True
            if data is not weights:
                content["weights_sha256"] = hashlib.sha256(data).hexdigest()
            loaded = Tokenizer.from_bytes(
                json.dumps(content).encode(), data, where="here", batch_size=8
            )
            assert loaded.contract.meaning_sha256 == meaning
            return True

        yield Target(attempt, (RequestError,))


@contextlib.contextmanager
def dataset() -> Iterator[Target]:
    """A finished dataset: verify reports every change; readers raise documented errors only."""
    import tensorflow as _  # noqa: F401

    from fsq.dataset import TokenBatches, TokenSource, read_contract
    from pipeline.reports.contact_sheet import first_records
    from pipeline.reports.inspect import inspect_directory
    from pipeline.reports.verify import verify_dataset

    with _small_tokenizer() as folder:
        directory = _small_dataset(folder)
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
        uses: list[Callable[[], Any]] = [
            lambda: inspect_directory(str(directory)),
            lambda: list(first_records(str(directory), read_contract(str(directory)), 100)),
            lambda: list(TokenBatches(str(directory), batch_size=8, shuffle_seed=1)),
            lambda: list(TokenSource(str(directory))),
        ]

        def attempt(changes: Changes) -> bool:
            # The manifest as often as all other files together: it decides how they are read.
            name = changes.random.choice([*files, *["manifest.json"] * len(files)])
            signed = name == "manifest.json" and changes.random.random() < 0.5
            content = changes.json(files[name]) if signed else None
            text = (
                json.dumps(with_digest(content)).encode() if signed else changes.bytes(files[name])
            )
            (directory / name).write_bytes(text)
            try:
                problems = list(verify_dataset(str(directory)))
                for use in uses:
                    with contextlib.suppress(FsqError):
                        use()
            finally:
                (directory / name).write_bytes(files[name])
            if problems:
                assert all(isinstance(problem, str) for problem in problems)
                raise DataError(problems[0])
            # Not covered: timing.json, and the name in a manifest that was given a new digest.
            if name == "manifest.json":
                assert signed or json.loads(text) == json.loads(files[name])
            else:
                assert name == "timing.json" or text == files[name]
            return True

        yield Target(attempt)


def _small_dataset(folder: Path) -> Path:
    """Tokenizes 20 images and a corrupted one with the tokenizer in a folder; one reject.

    Returns:
      The directory of the dataset, two shards in both formats.
    """
    from pipeline.job.config import TokenizeConfig
    from pipeline.run import tokenize

    images = folder / "images"
    images.mkdir()
    for number in range(20):
        Image.new("RGB", (16, 16), (number * 9, 99, 0)).save(images / f"{number:02d}.png")
    (images / "bad.png").write_bytes(b"no image")
    directory = folder / "out"
    config = {
        "source": {"kind": "image_folder", "directory": str(images), "labels": False},
        "tokenizer": str(folder),
        "output": {
            "directory": str(directory),
            "name": "fuzzed",
            "num_shards": 2,
            "formats": ["tfrecord", "array_record"],
        },
        "batch_size": 8,
        "max_reject_fraction": 0.1,
    }
    tokenize(TokenizeConfig.model_validate(config))
    return directory


@contextlib.contextmanager
def listing() -> Iterator[Target]:
    """The listing of an image folder: read as written, or a one-line error."""
    from pipeline.sources.image_folder import ImageFolderConfig
    from pipeline.sources.units import cut_units

    with tempfile.TemporaryDirectory() as temporary:
        folder, work = Path(temporary, "images"), Path(temporary, "work")
        work.mkdir()
        for number in range(20):
            path = folder / f"class {number % 3}" / f"line\n{number}\\n.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%d" % number)
        source = ImageFolderConfig(kind="image_folder", directory=str(folder)).open()
        listed = source.list(8).write_to(str(work))
        units = cut_units(listed, 8)
        path = Path(listed.files[0].path)
        seed = path.read_bytes()
        right = [list(source.read(unit, listed.features)) for unit in units]

        def attempt(changes: Changes) -> bool:
            path.write_bytes(changes.bytes(seed))
            number = changes.random.randrange(len(units))
            assert list(source.read(units[number], listed.features)) == right[number]
            return True

        yield Target(attempt, (DataError,))


@contextlib.contextmanager
def config() -> Iterator[Target]:
    """Configs: a model that survives a round trip, or a one-line error."""
    from fsq.yaml_config import dump_config, load_config
    from pipeline.job.config import TokenizeConfig
    from pipeline.tokenizers.config import ImportConfig, TrainConfig

    models = {"tokenize": TokenizeConfig, "train": TrainConfig, "import": ImportConfig}
    seeds = {
        kind: [path.read_bytes() for path in sorted((ROOT / "configs" / kind).glob("*.yaml"))]
        for kind in models
    }
    odd = [b"!!int ''", b"!!python/name:os.system", b"&a [*a]", b"*a", b"{[]: 1}", b"2020-99-99"]
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder, "job.yaml"), Path(folder, "again.yaml")

        def attempt(changes: Changes) -> bool:
            kind = changes.random.choice(list(models))
            model: Any = models[kind]
            path.write_bytes(changes.bytes(*seeds[kind], *odd))
            try:
                loaded = load_config(str(path), model)
            except RequestError as error:
                assert len(str(error)) < 2000
                raise
            again.write_text(dump_config(loaded))
            assert load_config(str(again), model) == loaded
            return True

        yield Target(attempt, (RequestError,))


READERS: dict[str, Callable[[], contextlib.AbstractContextManager[Target]]] = {
    reader.__name__: reader
    for reader in (
        *(tfrecord, example, tfds, image, part, status, tokenizer, dataset, listing, config),
    )
}


@contextlib.contextmanager
def _small_tokenizer() -> Iterator[Path]:
    """Yields a folder with an untrained tokenizer for 16 x 16 RGB images."""
    from fsq.images.spec import ImageSpec
    from fsq.models.autoencoder import build_autoencoder
    from fsq.spec.contract import TokenizerSpec
    from fsq.spec.network_spec import ConvNetwork
    from fsq.tokenizer import Tokenizer

    spec = TokenizerSpec(
        levels=(3, 5, 4),
        image=ImageSpec(size_pixels=16, channels=3),
        network=ConvNetwork(encoder_widths=(8, 8), decoder_widths=(8, 8), decoder_blocks=0),
    )
    with tempfile.TemporaryDirectory() as folder:
        Tokenizer.of(build_autoencoder(spec, seed=7)).save(folder)
        yield Path(folder)


class _HangError(BaseException):
    pass


@contextlib.contextmanager
def _no_hang() -> Iterator[None]:
    """Raises after SECONDS_TO_HANG; in the main thread only, where signals arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise _HangError(f"more than {SECONDS_TO_HANG} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(
    reader: str, *, seed: int = 0, count: int | None = None, seconds: float | None = None
) -> Figures:
    """Fuzzes one reader, for a number of inputs or for some seconds.

    Args:
      reader: One of `READERS`.
      seed: Seed of the changes; the same seed gives the same inputs.
      count: Number of inputs.
      seconds: Time limit, if there is no count.
    """
    changes = Changes(seed)
    accepted = refused = tried = 0
    crashes: list[str] = []
    with READERS[reader]() as target:
        began = time.monotonic()
        for tried in itertools.count():
            if tried == count or (count is None and time.monotonic() - began > (seconds or 0)):
                break
            try:
                with _no_hang():
                    accepted += target.attempt(changes)
            except target.refusals:
                refused += 1
            except (Exception, _HangError) as error:
                if len(crashes) < MAX_CRASHES:
                    crashes.append(_describe(error, changes.last))
        elapsed = time.monotonic() - began
    return Figures(reader, round(elapsed, 1), tried, accepted, refused, crashes)


def _describe(error: BaseException, data: bytes) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = base64.b64encode(data[:3000]).decode()
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno}) {text}"


def main() -> None:
    """Fuzzes the readers one after the other and prints the figures of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("readers", nargs="*", choices=[[], *READERS], metavar="READER")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for reader in arguments.readers or READERS:
        figures = fuzz(reader, seed=arguments.seed, seconds=arguments.seconds)
        print(json.dumps(dataclasses.asdict(figures)), flush=True)


if __name__ == "__main__":
    main()
