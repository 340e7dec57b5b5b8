"""Journeys on the command line: exit codes, streams, one-line errors, every recipe."""

import gzip
import io
import math
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from builders.image_cases import NONE_OF_OURS
from builders.paths import ROOT
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import cli

Run = Callable[..., subprocess.CompletedProcess[str]]

FSQ = [sys.executable, "-m", "pipeline.cli"]


def check_refused(done: subprocess.CompletedProcess[str], message: str, code: int = 2) -> None:
    """One line on stderr, nothing on stdout, the exit code that belongs to it."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("fsq: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A folder in which the recipes find what they name, small fixtures standing in for data."""
    for name in ("configs", "samples", "tokenizers"):
        (tmp_path / name).symlink_to(root / name)
    return tmp_path


def copy_beside(source: str, target: str) -> None:
    """Copies an image beside one of the same name: a batch of 128 needs more than 100."""
    shutil.copyfile(source, target.replace(".png", "_again.png"))


@pytest.fixture
def stand_ins(checkout: Path, root: Path, image_folder: Path, small_images: list[bytes]) -> Path:
    import tensorflow as tf

    from tools.fashion_mnist import VERSION, write_dataset

    for split in ("train", "test"):
        for name in ("cifar10_jpeg", "clothing_photos"):
            folder = checkout / "data" / name / split
            shutil.copytree(image_folder, folder)
            shutil.copytree(image_folder, folder, dirs_exist_ok=True, copy_function=copy_beside)
    shutil.copytree(image_folder, checkout / "my_images")
    names = [path.relative_to(image_folder).as_posix() for path in image_folder.rglob("*.png")]
    rows = [f"{name},{name.split('/')[0]}" for name in names]
    manifest = checkout / "data" / "cifar10_jpeg" / "test.csv"
    manifest.write_text("\n".join(["file_name,species", *rows]))
    small = (small_images * 5, [0] * len(small_images) * 5)
    write_dataset(
        checkout / "data" / "fashion_mnist" / VERSION,
        {"train": small, "test": small},  # type: ignore[dict-item]
    )
    (checkout / "my_tfrecords").mkdir()
    with tf.io.TFRecordWriter(str(checkout / "my_tfrecords" / "0.tfrecord")) as writer:
        example = tf.train.Example()
        feature = example.features.feature
        feature["image/encoded"].bytes_list.value.append(small_images[0])
        feature["image/filename"].bytes_list.value.append(b"one")
        feature["image/class/label"].int64_list.value.append(1)
        writer.write(example.SerializeToString())
    _write_arrays(checkout / "data", example)
    pq.write_table(
        pa.table({"image": [{"bytes": small_images[0], "path": None}], "label": [3]}),
        _folder(checkout / "data" / "cifar10_parquet") / "test-00000-of-00001.parquet",
    )
    _write_tars(checkout / "data" / "cifar10_webdataset", small_images[0])
    return checkout


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _write_tars(folder: Path, image: bytes) -> None:
    folder.mkdir()
    for shard in range(4):
        with tarfile.open(folder / f"test-{shard:05d}.tar", "w") as tar:
            for name, data in (("a.jpg", image), ("a.cls", b"3")):
                info = tarfile.TarInfo(f"{shard}/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _write_arrays(data: Path, example: Any) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    for name in ("cifar10_npy", "fashion_mnist_idx", "cifar10_array_record"):
        (data / name).mkdir()
    np.save(data / "cifar10_npy" / "images.npy", np.zeros((128, 32, 32, 3), np.uint8))
    np.save(data / "cifar10_npy" / "labels.npy", np.zeros(128, np.int64))
    for name, shape in (("images-idx3", (128, 28, 28)), ("labels-idx1", (128,))):
        header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
        content = gzip.compress(header + bytes(math.prod(shape)))
        (data / "fashion_mnist_idx" / f"t10k-{name}-ubyte.gz").write_bytes(content)
    path = data / "cifar10_array_record" / "test-00000.array_record"
    writer = ArrayRecordWriter(str(path), "group_size:1")
    writer.write(example.SerializeToString())
    writer.close()


def recipes(kind: str) -> list[str]:
    folder = ROOT / "configs" / kind
    return sorted(f"configs/{kind}/{path.name}" for path in folder.glob("*.yaml"))


@pytest.mark.parametrize("recipe", recipes("tokenize"))
def test_every_recipe_for_tokenizing_passes_a_dry_run(
    stand_ins: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(stand_ins)
    done = CliRunner().invoke(cli, ["tokenize", recipe, "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "state    new"
    assert not (stand_ins / "out").exists()


@pytest.mark.parametrize("recipe", recipes("train"))
def test_every_recipe_for_training_passes_a_dry_run(
    stand_ins: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(stand_ins)
    (stand_ins / "tokenizers").unlink()  # the finished ones would be in the way
    done = CliRunner().invoke(cli, ["train", recipe, "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "state   new"


@pytest.mark.parametrize("recipe", recipes("tokenize") + recipes("train") + recipes("import"))
def test_every_recipe_begins_with_its_command(root: Path, recipe: str):
    verb = recipe.split("/")[1]
    assert (root / recipe).read_text().startswith(f"# fsq {verb} {recipe}\n")


def test_tokenize_verify_inspect_decode(run: Run, checkout: Path):
    done = run("tokenize", "configs/tokenize/demo.yaml", "--limit", "300", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "classes: 10, 'T-shirt/top' to 'Ankle boot'",
        "out/demo: 300 records in 4 shards; 300 images listed = 300 written + 0 rejected",
    ]
    assert "tokenize: 300 of 300 " in done.stderr and "images/s" in done.stderr

    done = run("verify", "out/demo", cwd=checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out/demo: all is well\n", "")

    done = run("inspect", "out/demo", cwd=checkout)
    assert done.returncode == 0 and done.stderr == ""
    assert "records      300 in 4 shards" in done.stdout

    command = ("decode", "out/demo", "--count", "5", "--originals", "--output", "sheet.png")
    done = run(*command, cwd=checkout)
    assert done.returncode == 0, done.stderr
    with Image.open(checkout / "sheet.png") as sheet:
        assert done.stdout == f"sheet.png: {sheet.width} x {sheet.height} pixels\n"

    (checkout / "out" / "demo" / "manifest.json").unlink()
    check_refused(run("verify", "out/demo", cwd=checkout), "found no manifest.json")


def test_train_leaves_a_finished_dataset_and_foreign_files_alone(
    run: Run, checkout: Path, image_folder: Path
):
    source = {"kind": "image_folder", "directory": str(image_folder)}
    spec = {
        "levels": [5, 5, 5],
        "image": {"size_pixels": 16, "channels": 3},
        "network": {"kind": "conv", "encoder_widths": [8, 8], "decoder_widths": [8, 8]},
    }
    base = {
        "source": source,
        "held_out": 0.1,
        "tokenizer": spec,
        "training": {"epochs": 1, "batch_size": 16},
    }
    for name in ("manifest.json", "tokenizer.json", "README.md"):
        output = checkout / name.replace(".", "_")
        output.mkdir()
        (output / name).write_text("mine")
        recipe = checkout / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump({**base, "output": str(output)}))
        done = run("train", recipe.name, "--dry-run", cwd=checkout)
        check_refused(done, f"expected no dataset or tokenizer there, found {name}.")
        assert [path.read_text() for path in output.iterdir()] == ["mine"]


def test_inspect_finds_weights_that_are_missing_or_others(run: Run, checkout: Path, root: Path):
    tokenizer = checkout / "copy"
    shutil.copytree(root / "tokenizers" / "fashion_mnist", tokenizer)
    weights = tokenizer / "tokenizer.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    check_refused(run("inspect", "copy", cwd=checkout), "expected weights with sha256")
    weights.unlink()
    check_refused(run("inspect", "copy", cwd=checkout), "expected tokenizer.safetensors")


@pytest.mark.slow
def test_train_resumes_after_a_kill_and_leaves_a_tokenizer_with_its_card(
    run: Run, checkout: Path, image_folder: Path
):
    (checkout / "tokenizers").unlink()
    shutil.copytree(image_folder, checkout / "images")
    source = {"kind": "image_folder", "directory": "images"}
    config = {
        "source": source,
        "held_out": 0.1,
        "tokenizer": {
            "levels": [5, 5, 5],
            "image": {"size_pixels": 16, "channels": 3},
            "network": {"kind": "conv", "encoder_widths": [8, 8], "decoder_widths": [8, 8]},
        },
        "training": {
            "epochs": 6,
            "batch_size": 16,
            "checkpoint_steps": 10,
            "flip": True,
            "random_crop": 0.8,
            "ema": 0.9,
        },
        "tensorboard": "logs",
    }
    weights = []
    for name in ("undisturbed", "killed"):
        recipe = checkout / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump({**config, "output": f"tokenizers/{name}"}))
        if name == "killed":
            process = subprocess.Popen([*FSQ, "train", recipe.name], cwd=checkout)
            checkpoint = checkout / "tokenizers" / name / ".checkpoints" / "ckpt-10.index"
            while not checkpoint.exists():
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = run("train", recipe.name, cwd=checkout)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"tokenizers/{name}: held-out images 13, MSE / variance ")
        output = checkout / "tokenizers" / name
        assert sorted(path.name for path in output.iterdir()) == [
            "README.md",
            "tokenizer.json",
            "tokenizer.safetensors",
        ]
        card = (output / "README.md").read_text()
        for figure in ("MSE / data variance", "PSNR", "SSIM", "Codes used", "Perplexity"):
            assert f"| {figure} |" in card
        weights.append((output / "tokenizer.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert list((checkout / "logs").glob("events.out.tfevents.*"))


def test_corrupted_records_fail_the_run_unless_tolerated(run: Run, checkout: Path, root: Path):
    config = yaml.safe_load((checkout / "configs/tokenize/demo.yaml").read_text())
    config["source"]["directory"] = str(root / "tests" / "data" / "fashion_mnist_spoilt")
    config["max_reject_fraction"] = 0.0005
    (checkout / "job.yaml").write_text(yaml.safe_dump(config))
    done = run("tokenize", "job.yaml", cwd=checkout)
    assert done.returncode == 1
    assert done.stdout == ""
    *_, message = done.stderr.splitlines()
    name = "fashion_mnist-test.tfrecord-00000-of-00001"
    assert message.startswith("fsq: out/demo: expected at most 0.0005 of 2,000 images rejected, ")
    assert f": {name}__123: decode: expected a whole PNG, got one that ends early; " in message
    assert f"{name}__1500: decode: {NONE_OF_OURS}" in message
    config["max_reject_fraction"] = 0.001
    (checkout / "job.yaml").write_text(yaml.safe_dump(config))
    done = run("tokenize", "job.yaml", cwd=checkout)
    assert done.returncode == 0, done.stderr
    *lines, result = done.stdout.splitlines()
    (resumed,) = (line for line in lines if line.startswith("resumed: "))
    rejected = [line for line in lines if line.startswith("rejected: ")]
    assert re.fullmatch("resumed: [2-8] of 8 units done", resumed)
    assert rejected == [
        "rejected: 1 decode: expected a whole PNG, got one that ends early",
        f"rejected: 1 decode: {NONE_OF_OURS}",
        f"rejected: 2 of 2,000 in {name}",
    ]
    assert result == (
        "out/demo: 1,998 records in 4 shards; 2,000 images listed = 1,998 written + 2 rejected"
    )
    assert run("verify", "out/demo", cwd=checkout).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tokenize", "nowhere.yaml"], "nowhere.yaml: expected a config file, got: No such file"),
        (["tokenize", "bad.yaml"], "bad.yaml.outptu: unknown key (did you mean 'output'?)"),
        (["tokenize", "no_tokenizer.yaml"], "expected a tokenizer in 'nowhere', found no readable"),
        (["tokenize", "no_source.yaml"], "source.directory: expected images"),
        (["tokenize", "good.yaml", "--limit", "0"], "Invalid value for '--limit'"),
        (["tokenize", "good.yaml", "--fast"], "No such option"),
        (["tokenize", "good.yaml", "--output", "file"], "file: expected a directory that can be"),
        (["tokenize", "good.yaml", "--output", "file/x"], "file/x: expected a directory that can"),
        (["tokenize", "good.yaml", "--", "--runner=Fast"], "Unexpected pipeline runner: Fast."),
        (["tokenize", "good.yaml", "--", "--fast=1"], "options that Beam knows, got '--fast=1'."),
        (["tokenize", "good.yaml", "--", "--direct_num_workers=x"], "invalid int value: 'x'."),
        (["verify", "nowhere"], "nowhere: expected a finished dataset, found no manifest.json"),
        (["inspect", "nowhere"], "nowhere: expected a dataset or a tokenizer, found no tokenizer"),
        (["decode", "nowhere", "--output", "x.png"], "nowhere: expected a finished dataset"),
        (["decode", "nowhere"], "Missing option '--output'"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_2(
    run: Run, tmp_path: Path, image_folder: Path, tokenizer_directory: Path, arguments, message: str
):
    good = {
        "source": {"kind": "image_folder", "directory": str(image_folder)},
        "tokenizer": str(tokenizer_directory),
        "output": {"directory": "out", "name": "x"},
        "views": ["center"],
    }
    configs = {
        "good": good,
        "bad": {**good, "outptu": {}},
        "no_tokenizer": {**good, "tokenizer": "nowhere"},
        "no_source": {**good, "source": {"kind": "image_folder", "directory": "nowhere"}},
    }
    for name, config in configs.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "file").touch()
    check_refused(run(*arguments, cwd=tmp_path), message)
    assert not (tmp_path / "out").exists()


def test_without_arguments_the_help_is_laid_out(run: Run, tmp_path: Path):
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "\nCommands:\n  decode " in done.stderr


def test_help_and_version_go_to_stdout(run: Run, tmp_path: Path):
    done = run("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for verb in ("train", "tokenize", "verify", "decode", "inspect"):
        assert f"\n  {verb} " in done.stdout
    assert run("--version", cwd=tmp_path).stdout == "fsq, version 0.1.0\n"
