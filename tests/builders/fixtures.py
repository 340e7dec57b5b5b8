"""Fixtures: the sample images of the repository, and a small untrained tokenizer."""

import io
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# What another run found out is nothing that a test may lean on.
os.environ["FSQ_CACHE"] = "off"

import numpy as np
import pytest
from PIL import Image

from builders.jobs import MakeConfig, job_config, job_fields
from builders.paths import ROOT
from builders.sources import SOURCES, SourceBuilder
from pipeline.job.config import TokenizeConfig
from tools.fork_server import start
from tools.kills import Victim

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer for 16 x 16 RGB images with 4 x 4 tokens of 60; its weights are random."""
    import keras

    from fsq.images.spec import ImageSpec
    from fsq.models.autoencoder import build_autoencoder
    from fsq.spec.contract import TokenizerSpec
    from fsq.spec.network_spec import ConvNetwork
    from fsq.tokenizer import Tokenizer

    keras.utils.set_random_seed(7)
    spec = TokenizerSpec(
        levels=(3, 5, 4),
        image=ImageSpec(size_pixels=16, channels=3),
        network=ConvNetwork(encoder_widths=(8, 8), decoder_widths=(8, 8), decoder_blocks=1),
    )
    directory = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.of(build_autoencoder(spec)).save(directory)
    return directory


def encode_image(pixels: np.ndarray, format_name: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_name)
    return file.getvalue()


def make_images(count: int, seed: int = 0) -> list[bytes]:
    """Makes RGB pictures of several sizes: smooth ones, so that they are like photos."""
    random = np.random.default_rng(seed)
    images = []
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        size = [(16, 16), (24, 16), (17, 31)][number % 3]
        images.append(encode_image(np.asarray(small.resize(size, Image.Resampling.BICUBIC))))
    return images


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 PNG images in two classes, cats and dogs."""
    folder = tmp_path_factory.mktemp("images")
    for number, data in enumerate(make_images(100)):
        target = folder / ("cats" if number % 2 else "dogs") / f"{number:03d}.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    return folder


@pytest.fixture
def make_config(image_folder: Path, tokenizer_directory: Path, tmp_path: Path) -> MakeConfig:
    """Makes configs of jobs over `image_folder`, by the name of the output and what is changed."""

    def make(name: str = "out", **changes: object) -> TokenizeConfig:
        usual = {"source": image_folder, "tokenizer": tokenizer_directory}
        return job_config(directory=tmp_path / name, **(usual | changes))

    return make


@pytest.fixture(scope="session")
def small_images() -> list[bytes]:
    """30 encoded images."""
    return make_images(30)


@pytest.fixture(scope="session", params=SOURCES)
def source(request: pytest.FixtureRequest) -> SourceBuilder:
    """Each input format in turn."""
    return SOURCES[request.param]


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs `fsq` with some arguments in a folder: a process of its own, without the long start."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        from tools.faults import run_fsq

        streams = str(tmp_path_factory.mktemp("streams") / "std")
        child = start(run_fsq, arguments=arguments, directory=str(cwd), streams=streams)
        code = child.wait()
        out, err = (Path(f"{streams}.{name}").read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(["fsq", *arguments], code, out, err)

    return run


@pytest.fixture(scope="session")
def small_victim(
    image_folder: Path,
    tokenizer_directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Victim:
    """A job of 56 images in 7 units and 3 shards, to be disturbed."""
    output = {"formats": ["tfrecord", "array_record"]}
    config = job_fields(image_folder, tokenizer_directory, Path("out"), output=output)
    folder = tmp_path_factory.mktemp("victim")
    return Victim(folder, config, arguments=["--limit", "56"])
