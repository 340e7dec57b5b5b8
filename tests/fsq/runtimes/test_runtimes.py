"""Every runtime gives the tokens of the reference; what one job began with, it ends with."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from builders.jobs import MakeConfig

import fsq.runtimes.autoselect
import pipeline.planning.runtime_request
from fsq.errors import RequestError
from fsq.images.spec import ImageSpec
from fsq.installation import install_command
from fsq.models.autoencoder import Autoencoder, build_autoencoder
from fsq.runtimes.autoselect import candidates, choose_runtime
from fsq.runtimes.base import NetworkKind
from fsq.runtimes.factory import make_runtime
from fsq.runtimes.openvino.convert import convert_encoder
from fsq.runtimes.openvino.streams import OpenVinoStreams
from fsq.runtimes.probe import ROUNDING_ERROR, compare_runtimes, fill_batches, probe_images
from fsq.runtimes.registry import reference_runtime
from fsq.spec.contract import TokenizerSpec
from fsq.spec.network_spec import ConvNetwork, ResidualNetwork
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.reports.inspect import inspect_directory
from pipeline.run import tokenize

pytestmark = pytest.mark.slow

BATCH_SIZE = 32
NETWORKS = {
    "conv": ConvNetwork(encoder_widths=(16, 32), encoder_blocks=1, decoder_widths=(8, 8)),
    "group norm": ResidualNetwork(kind="residual", widths=(8, 16, 16), blocks=1),
    "layer norm": ResidualNetwork(kind="residual", widths=(8, 16, 16), blocks=1, norm="layer"),
    "attention": ResidualNetwork(kind="residual", widths=(8, 16, 16), blocks=1, attention=True),
}


def make_autoencoder(network: ConvNetwork | ResidualNetwork, preset: str = "atanh") -> Autoencoder:
    image = ImageSpec(size_pixels=32, channels=3)
    spec = TokenizerSpec(levels=(8, 5, 5, 5), preset=preset, image=image, network=network)
    return build_autoencoder(spec, seed=3)


def make_probe(autoencoder: Autoencoder) -> np.ndarray:
    return probe_images(autoencoder.spec.image, 64, BATCH_SIZE)[: 2 * BATCH_SIZE]


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    return make_autoencoder(NETWORKS["group norm"])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["xla", "openvino"])
def test_a_fast_runtime_gives_the_reference_s_tokens_but_at_a_boundary(name: str, network: str):
    autoencoder = make_autoencoder(NETWORKS[network])
    reference = make_runtime("tensorflow", autoencoder, BATCH_SIZE)
    candidate = make_runtime(name, autoencoder, BATCH_SIZE)
    result = compare_runtimes(autoencoder, reference, candidate, make_probe(autoencoder))
    assert result.agrees, str(result)
    assert result.total == 2 * BATCH_SIZE * 64
    assert result.changed <= 4
    assert result.farthest < ROUNDING_ERROR / 5


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_trained_tokenizers_have_the_same_tokens_on_every_runtime(root: Path, name: str):
    tokenizer = Tokenizer.load(root / "tokenizers" / name, batch_size=64)
    for runtime in ("tensorflow", "xla", "openvino"):
        tokenizer.use_runtime(runtime)
        result = tokenizer.probe_runtime()
        assert result.agrees, f"{runtime}: {result}"
        assert result.total >= 16_384
        assert result.changed <= 4


def test_openvino_s_tokens_depend_on_neither_streams_nor_neighbours_nor_callers(
    autoencoder: Autoencoder,
):
    images = make_probe(autoencoder)[:BATCH_SIZE]
    model = convert_encoder(autoencoder, BATCH_SIZE)
    one = OpenVinoStreams(model, streams=1)
    expected = one(images)
    others = 255 - images
    others[5] = images[5]
    assert (one(others)[5] == expected[5]).all()
    assert (one(images[::-1].copy())[::-1] == expected).all()
    padded = np.zeros_like(images)
    padded[:3] = images[:3]
    assert (one(padded)[:3] == expected[:3]).all()
    many = OpenVinoStreams(model, streams=3)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(many, [images, others] * 20))
    assert all((tokens == expected).all() for tokens in found[::2])
    assert all((tokens[5] == expected[5]).all() for tokens in found[1::2])
    assert len({tokens.tobytes() for tokens in found}) == 2


def test_two_devices_share_the_batches_and_give_the_reference_s_tokens(tmp_path: Path, root: Path):
    """In a process of its own: the number of devices is fixed when TensorFlow starts."""
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.threading.set_intra_op_parallelism_threads(1)
from fsq.runtimes.tensorflow import multi_device
from fsq.tokenizer import Tokenizer
tokenizer = Tokenizer.load(sys.argv[1], batch_size=64)
batches = np.split(tokenizer._probe()[:256], 4) * 5
expected = [tokenizer.encode_batch(batch) for batch in batches]
multi_device.gpus = lambda: [device.name for device in tf.config.list_logical_devices("CPU")]
tokenizer.use_runtime("tensorflow")
assert type(tokenizer._runtime) is multi_device.MultiDeviceGraph
used, device = [], tf.device
tf.device = lambda name: used.append(name) or device(name)
with ThreadPoolExecutor(4) as threads:
    found = list(threads.map(tokenizer.encode_batch, batches))
assert all((a == b).all() for a, b in zip(expected, found, strict=True))
print(sorted(set(used)))
"""
    tokenizer = root / "tokenizers" / "fashion_mnist"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tokenizer)],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    names = json.loads(done.stdout.replace("'", '"'))
    assert [name[-5:] for name in names] == ["CPU:0", "CPU:1"]


def test_openvino_reports_to_nobody(tmp_path: Path, root: Path):
    code = """
import sys
from fsq.tokenizer import Tokenizer
tokenizer = Tokenizer.load(sys.argv[1], batch_size=64)
tokenizer.use_runtime("openvino")
tokenizer.encode(tokenizer._probe()[:1])
print([name for name in sys.modules if "telemetry" in name and sys.modules[name] is not None])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(root / "tokenizers" / "fashion_mnist")],
        cwd=root,
        env=os.environ | {"HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "openvino.tools.ovc.telemetry_stub" in done.stdout
    assert "openvino_telemetry" not in done.stdout
    assert not (tmp_path / "intel").exists()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["tensorflow", "xla", "openvino"])
def test_ctrl_c_is_survived_after_a_runtime_was_freed_by_another_thread(root: Path, runtime: str):
    code = """
import gc, os, signal, sys, threading
from fsq.tokenizer import Tokenizer
tokenizers = [Tokenizer.load(sys.argv[1], batch_size=64)]
tokenizers[0].use_runtime(sys.argv[2])
tokenizers[0].encode(tokenizers[0]._probe()[:1])
free = threading.Thread(target=lambda: (tokenizers.clear(), gc.collect()))
free.start()
free.join()
signal.signal(signal.SIGINT, lambda number, frame: print("survived"))
os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(root / "tokenizers" / "fashion_mnist"), runtime],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


def test_a_nan_gives_no_token_on_any_runtime(autoencoder: Autoencoder):
    broken = make_autoencoder(NETWORKS["conv"])
    kernel = broken.encoder.get_layer("latents").kernel
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    images = make_probe(broken)[:BATCH_SIZE]
    for name in ("tensorflow", "xla", "openvino"):
        assert (make_runtime(name, broken, BATCH_SIZE)(images) == -1).all()


class Shifted:
    """The reference, but for one token of every batch, which is its neighbour."""

    batch_size = BATCH_SIZE

    def __init__(self, autoencoder: Autoencoder):
        self._reference = make_runtime("tensorflow", autoencoder, BATCH_SIZE)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        tokens = self._reference(images).copy()
        tokens[0, 0, 0] += 1 if tokens[0, 0, 0] % 8 < 7 else -1
        return tokens


@pytest.mark.parametrize("preset", ["atanh", "official", "torch", "symmetric"])
def test_the_distance_to_the_boundary_is_that_of_the_latent(preset: str):
    from fsq.quantizer import presets

    autoencoder = make_autoencoder(NETWORKS["conv"], preset)
    images = make_probe(autoencoder)[:BATCH_SIZE]
    reference = make_runtime("tensorflow", autoencoder, BATCH_SIZE)
    result = compare_runtimes(autoencoder, reference, Shifted(autoencoder), images)
    assert (result.changed, result.total) == (1, images.shape[0] * 64)
    spec = autoencoder.spec
    floats = images[:1].astype(np.float32) * np.float32(2 / 255) - 1
    latents = np.asarray(autoencoder.encoder(floats))[0, 0, 0]
    bounded = float(presets.bound(latents, spec.levels, preset, spec.eps)[0])
    up = int(reference(images)[0, 0, 0]) % 8 < 7
    step = np.floor(bounded) if preset == "symmetric" else np.round(bounded)
    half = 0.0 if preset == "symmetric" else 0.5
    boundary = step + (1 - half if up else -half)
    assert result.farthest == pytest.approx(abs(bounded - boundary), abs=1e-5)
    assert not result.agrees
    assert f"1 of {result.total:,} tokens of the probe are others" in str(result)


def test_the_fastest_runtime_is_chosen_if_its_tokens_are_right(
    autoencoder: Autoencoder, monkeypatch: pytest.MonkeyPatch
):
    images = make_probe(autoencoder)
    speeds = {"openvino": 10.0, "tensorflow": 12.0}
    monkeypatch.setattr(fsq.runtimes.autoselect, "measure", lambda runtimes, images: speeds)
    chosen, runtime = choose_runtime(autoencoder, BATCH_SIZE, images)
    assert (chosen.name, type(runtime)) == ("openvino", OpenVinoStreams)
    speeds["tensorflow"] = 14.0  # clearly faster
    assert choose_runtime(autoencoder, BATCH_SIZE, images)[0].name == "tensorflow"
    speeds["openvino"] = 1000.0

    def make(name: str, *rest: object) -> object:
        return Shifted(autoencoder) if name == "openvino" else make_runtime(name, *rest)

    monkeypatch.setattr(fsq.runtimes.autoselect, "make_runtime", make)
    assert choose_runtime(autoencoder, BATCH_SIZE, images)[0].name == "tensorflow"


def test_the_candidates_are_the_first_fast_runtime_installed_and_the_reference(
    monkeypatch: pytest.MonkeyPatch,
):
    for network in get_args(NetworkKind):
        fast = () if network == "onnx" else ("openvino",)
        assert candidates(network) == (*fast, reference_runtime(network))
    monkeypatch.setitem(sys.modules, "openvino", None)  # not to be found
    assert candidates("conv") == ("xla", "tensorflow")
    assert candidates("onnx") == ("onnxruntime",)


def test_a_precision_is_had_by_the_runtime_that_has_it(monkeypatch: pytest.MonkeyPatch):
    assert candidates("conv", "bfloat16") == ("openvino",)
    with pytest.raises(
        RequestError, match=r"precision: expected float32 .* \(onnx\), got bfloat16"
    ):
        candidates("onnx", "bfloat16")
    # Not installed it is named all the same, so that the error tells what to install.
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert candidates("conv", "bfloat16") == ("openvino",)


def test_every_candidate_is_measured(autoencoder: Autoencoder):
    images = make_probe(autoencoder)
    calls: dict[str, set[int]] = {}

    def runtime(name: str) -> Callable[[np.ndarray], np.ndarray]:
        def run(batch: np.ndarray) -> np.ndarray:
            assert batch.shape == images[:BATCH_SIZE].shape
            calls.setdefault(name, set()).add(threading.get_ident())
            return np.zeros(0)

        run.batch_size = BATCH_SIZE
        return run

    speeds = fsq.runtimes.autoselect.measure(
        {"xla": runtime("xla"), "openvino": runtime("b")}, images
    )
    assert set(calls) == {"xla", "b"}
    assert min(speeds.values()) > 0


def test_the_probe_is_the_same_every_time_and_fills_batches():
    spec = ImageSpec(size_pixels=20, channels=1)
    images = probe_images(spec, 25, 48)
    assert (images == probe_images(spec, 25, 48)).all()
    assert images.shape == (672, 20, 20, 1)  # 14 batches, 16,800 tokens
    assert images.dtype == np.uint8
    assert 100 < images.mean() < 156
    assert 40 < images.std() < 90
    assert (fill_batches(images[:5], 8)[:5] == images[:5]).all()
    assert (fill_batches(images[:5], 8)[5:] == images[:3]).all()


def runtime_of(config: TokenizeConfig) -> dict[str, object]:
    manifest = json.loads(Path(config.output.directory, "manifest.json").read_text())
    return manifest["fingerprint"]["fields"]["runtime"]


def test_a_job_says_which_runtime_made_its_tokens(make_config: MakeConfig):
    config = make_config(runtime="openvino")
    summary = tokenize(config)
    found = runtime_of(config)
    assert (found["name"], found["precision"]) == ("openvino", "float32")
    assert found["version"]
    assert found["probe"] == {"total": 16_384, "changed": 0, "farthest": 0.0}
    expected = "openvino; all 16,384 tokens of the probe are the reference's"
    assert summary.runtime == expected
    assert ("runtime", expected) in inspect_directory(config.output.directory)
    plain = make_config("plain", runtime="tensorflow")
    assert tokenize(plain).runtime is None
    shards = sorted(path.name for path in Path(plain.output.directory).glob("*.tfrecord*"))
    for name in shards:
        paths = [Path(c.output.directory, name) for c in (config, plain)]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_job_that_chose_for_itself_chooses_once(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline.planning.runtime_request, "SMALL_JOB", 0)
    speeds = {"openvino": 100.0, "tensorflow": 1.0}
    monkeypatch.setattr(fsq.runtimes.autoselect, "measure", lambda runtimes, images: speeds)
    config = make_config()
    tokenize(config)
    assert runtime_of(config)["name"] == "openvino"
    speeds["tensorflow"] = 1000.0
    assert tokenize(config).units_resumed > 0
    assert runtime_of(config)["name"] == "openvino"
    with pytest.raises(RequestError, match="runtime name was openvino, is tensorflow"):
        tokenize(make_config(runtime="tensorflow"))
    tokenize(config, overwrite=True)
    assert runtime_of(config) == {"name": "tensorflow", "precision": "float32"}


def test_a_small_job_takes_the_reference(make_config: MakeConfig):
    config = make_config()
    tokenize(config)
    assert runtime_of(config) == {"name": "tensorflow", "precision": "float32"}


def test_half_precision_is_asked_for_and_its_price_is_told(make_config: MakeConfig):
    config = make_config(precision="bfloat16")
    summary = tokenize(config)
    found = runtime_of(config)
    assert (found["name"], found["precision"]) == ("openvino", "bfloat16")
    assert summary.runtime is not None
    assert summary.runtime.startswith("openvino in bfloat16; ")
    assert found["probe"]["total"] == 16_384
    with pytest.raises(RequestError, match="precision was bfloat16, is float32"):
        tokenize(make_config(runtime="openvino"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runtime": "onnxruntime"}, "runtime: expected tensorflow, xla or openvino for this"),
        ({"runtime": "xla", "precision": "bfloat16"}, "precision: expected float32 with runtime"),
    ],
)
def test_a_runtime_that_cannot_be_is_refused_before_anything_is_written(
    make_config: MakeConfig, changes: dict[str, str], message: str
):
    config = make_config(**changes)
    with pytest.raises(RequestError, match=message):
        tokenize(config)
    assert not Path(config.output.directory).exists()


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RequestError) as error:
        tokenize(make_config(runtime="openvino"))
    assert str(error.value).endswith(f"Install the extra: {install_command('openvino')}.")
