"""The arithmetic of the throughput benchmark, and what it reads; its peers are not needed."""

import doctest
import io
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks import limit, measured, rounds, scale, token_files
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.machine import encoder_flops
from benchmarks.measured import FailedError, run_measured
from benchmarks.peers.pixels import load_pixels
from benchmarks.report import contenders_table, limit_table, markdown
from benchmarks.rounds import Run, Sizes, summarize
from benchmarks.throughput import QUICK_IMAGES, sizes_of
from benchmarks.workloads import WORKLOADS
from fsq.images.spec import ImageSpec


def run_of(speed: float, tokens: list[int]) -> Run:
    return Run(100, speed, 2 * speed, 1.0, 500.0, {0: np.array(tokens)})


@pytest.mark.parametrize("module", [limit, rounds, scale, token_files])
def test_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


def test_ratios_are_medians_of_the_ratios_within_a_round():
    measured_rounds = [
        {"ours": run_of(10.0, [1, 2]), "ray": run_of(5.0, [1, 2])},
        {"ours": run_of(90.0, [1, 2]), "ray": run_of(10.0, [1, 3])},
        {"ours": run_of(20.0, [1, 2]), "ray": run_of(5.0, [1, 2])},
    ]
    found = summarize([], measured_rounds, {"daft": "not installed: daft"})

    assert found["limit"] is None
    assert found["contenders"]["daft"] == {"skipped": "not installed: daft"}
    ray = found["contenders"]["ray"]
    assert (ray["whole"], ray["ours_over_whole"], ray["ours_over_steady"]) == (5.0, 4.0, 4.0)
    assert ray["tokens_equal"] == 1.0


def test_the_limit_is_summed_up_and_drawn():
    report = {
        "decode": 300.0,
        "encode": {"tensorflow": 500.0, "openvino": 600.0},
        "runtime": "openvino",
        "limit": 200.0,
        "encoder_gflop": 0.5,
        "encoder_gflops": 300.0,
        "matrix_gflops": 400.0,
    }
    found = summarize([report], [{"ours": run_of(50.0, [1])}], {"ray": "failed: no"})

    assert found["limit"]["ours_over_limit"] == 0.5
    assert found["limit"]["encode"] == report["encode"]
    assert limit_table(WORKLOADS["S"], found["limit"]).row_count == 8
    assert contenders_table(found["contenders"]).row_count == 2
    lines = list(markdown({"workloads": {"S": found}}))
    assert lines[0] == "### S: Fashion-MNIST, PNG 28 x 28, small encoder"
    assert "| encode, openvino | 600 |" in lines
    (row,) = [line for line in lines if line.startswith("| fsq tokenize |")]
    assert row == "| fsq tokenize | 100 | 50.0 | 100 | 1.00 | 1.00 | 1.00 | 500 | 100.000% |"
    assert len({line.count("|") for line in lines[-5:] if line}) == 1


def test_only_slow_peers_are_bounded():
    sizes = Sizes(60_000, 22_000, slow_images=10_000, encode_seconds=1.0, timeout_seconds=1.0)
    assert sizes.of(Contender("any", "any")) == (60_000, 22_000)
    assert sizes.of(Contender("any", "any", slow=True)) == (10_000, 2_500)


def test_the_small_run_of_a_whole_workload_chooses_its_runtime_as_the_whole_one():
    from pipeline.planning.runtime_request import SMALL_JOB

    for workload in (WORKLOADS["S"], WORKLOADS["M"]):
        few = sizes_of(workload, None, 10_000, 1.0).few
        assert few * np.prod(workload.contract.image.shape) >= SMALL_JOB
    for name in ("L", "D"):
        workload = WORKLOADS[name]
        assert workload.few * np.prod(workload.spec.image.shape) >= SMALL_JOB


def test_every_workload_has_a_quick_size():
    assert QUICK_IMAGES.keys() == WORKLOADS.keys()


def test_a_contender_without_its_packages_says_which():
    contender = Contender("any", "any", needs=("numpy", "nowhere_to_be_found"))
    assert contender.missing() == "not installed: nowhere_to_be_found"


def test_every_peer_has_a_module(root: Path):
    peers = [contender for contender in CONTENDERS if not contender.name.startswith("ours")]
    assert len(peers) == len(CONTENDERS) - 2
    for contender in peers:
        assert (root / f"benchmarks/peers/{contender.module}.py").exists(), contender


def test_flops_of_convolutions_are_counted():
    from fsq.models.autoencoder import build_autoencoder

    encoder = build_autoencoder(WORKLOADS["D"].spec).encoder
    # Three of 4 x 4 with stride 2, to 128, 64 and 32 pixels, and one of 1 x 1 to five channels.
    expected = 2 * (128**2 * 16 * 3 * 4 + 64**2 * 16 * 4 * 4 + 32**2 * (16 * 4 * 4 + 4 * 5))
    assert encoder_flops(encoder) == expected


def test_what_people_write_gives_the_pixels_of_the_image_contract():
    pixels = np.random.default_rng(0).integers(0, 256, (53, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    spec = ImageSpec(size_pixels=16, channels=3)
    assert np.array_equal(load_pixels(file.getvalue(), 16, 3), limit.decode(file.getvalue(), spec))


def test_tokens_are_read_from_arrays_and_examples(tmp_path: Path):
    import tensorflow as tf

    np.save(tmp_path / "000003.npy", np.array([[5, 6]]))
    example = tf.train.Example()
    example.features.feature["key"].bytes_list.value.append(b"images/000004.jpg")
    example.features.feature["tokens"].int64_list.value.extend([7, 8])
    with tf.io.TFRecordWriter(str(tmp_path / "tokens.tfrecord")) as writer:
        writer.write(example.SerializeToString())

    found = token_files.read_tokens(tmp_path)
    assert {number: tokens.tolist() for number, tokens in found.items()} == {3: [5, 6], 4: [7, 8]}

    np.save(tmp_path / "again-3.npy", np.array([[5, 6]]))
    with pytest.raises(ValueError, match="expected one record of image 3, got two"):
        token_files.read_tokens(tmp_path)


def test_a_command_is_measured_with_its_children(tmp_path: Path):
    work = "sum(i * i for i in range(5_000_000))"
    code = f"import subprocess as s, sys; s.run([sys.executable, '-c', '{work}']); print('done')"
    cost = measure(code, tmp_path)
    assert cost.output == "done\n"
    assert 0 < cost.cpu_seconds < 60
    assert cost.seconds > 0


def test_a_command_that_fails_says_why(tmp_path: Path):
    with pytest.raises(FailedError, match="ValueError: not so"):
        measure("raise ValueError('not so')", tmp_path)


def test_nothing_that_a_command_started_is_left_behind(tmp_path: Path):
    code = (
        "import subprocess, sys, time; "
        "subprocess.Popen(['sleep', '600.25'], start_new_session=True, stdout=2); "
        "time.sleep(600)"
    )
    with pytest.raises(FailedError, match="did not end within 3 s"):
        measure(code, tmp_path, timeout_seconds=3.0)
    # Dying takes a moment.
    deadline = time.monotonic() + 30
    while sleeping := commands_with(["sleep", "600.25"]):
        assert time.monotonic() < deadline, sleeping
        time.sleep(0.05)


def commands_with(words: list[str]) -> list[psutil.Process]:
    """The processes whose command line these words are."""
    return [
        process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == words
    ]


def measure(code: str, folder: Path, timeout_seconds: float = 60.0) -> measured.Cost:
    return run_measured(
        [sys.executable, "-c", code],
        cwd=folder,
        environment={},
        log=folder / "log",
        timeout_seconds=timeout_seconds,
    )


def test_what_an_image_costs_is_taken_without_the_start():
    def one(seconds: float, cpu: float, peak: float) -> dict[str, float]:
        return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak}

    measured_rounds = [
        {"small": one(50, 100, 300), "large": one(55, 100, 330)},
        {"small": one(80, 120, 300), "large": one(80, 126, 300)},
        {"small": one(60, 100, 400), "large": one(61, 101, 400)},
    ]
    found = scale.summarize(measured_rounds)
    assert found["small"] == {"seconds": 60, "cpu_seconds": 100, "peak_mb": 300}
    assert found["ratio"]["seconds"] == pytest.approx(61 / 60)
    assert found["ratio"]["cpu_seconds"] == 1.01
    assert found["ratio"]["peak_mb"] == 1.0
