"""Jobs in a real Jupyter kernel: its progress, its interrupts, and its commands."""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders.fixtures import make_images
from builders.jobs import files_of, job_fields
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.slow

SECONDS_TO_WAIT = 120.0

# As where pandas is not installed, or one that Beam cannot use.
NO_PANDAS = "raise ImportError('pandas')\n"


class Kernel:
    """A kernel whose cells are run one after another.

    Args:
      manager: Its manager.
      client: A client with open channels.
    """

    def __init__(self, manager: KernelManager, client: BlockingKernelClient):
        self.manager, self.client = manager, client
        self.outputs: list[tuple[str, dict[str, Any]]] = []

    def start(self, code: str) -> None:
        self.outputs = []
        self.client.execute(code, store_history=True)

    def finish(self) -> str:
        """Waits for the end of the cell; returns what it printed to stdout, or its error."""
        while True:
            message = self.client.get_iopub_msg(timeout=SECONDS_TO_WAIT)
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            self.outputs.append((kind, content))
        return "".join(
            content["ename"] if kind == "error" else content["text"]
            for kind, content in self.outputs
            if kind == "error" or content.get("name") == "stdout"
        )

    def run(self, code: str) -> str:
        self.start(code)
        return self.finish()

    def shown(self) -> list[tuple[str, str]]:
        """Returns how and what the last cell has displayed, as text."""
        return [
            (kind, content["data"]["text/plain"])
            for kind, content in self.outputs
            if kind.endswith("display_data")
        ]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Kernel]:
    """A kernel in which `import pandas` fails, with `tokenize` imported."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "pandas.py").write_text(NO_PANDAS)
    manager = KernelManager(kernel_name="python3")
    paths = [str(folder), str(root), os.environ.get("PYTHONPATH", "")]
    manager.start_kernel(env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, cwd=str(root))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS_TO_WAIT)
        found = Kernel(manager, client)
        assert found.run("from pipeline.run import tokenize\nprint('imported')") == "imported\n"
        yield found
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, data in enumerate(make_images(3) * 100):
        (folder / f"{number:04d}.png").write_bytes(data)
    return folder


def write_config(path: Path, images: Path, root: Path) -> tuple[str, Path]:
    """Writes the config of a job of some seconds; returns its path and the output directory."""
    source = {"kind": "image_folder", "directory": str(images), "labels": False}
    output = path.with_suffix("")
    slow = root / "tokenizers" / "clothing_photos"
    path.write_text(json.dumps(job_fields(source, slow, output, runtime="tensorflow")))
    return str(path), output


def test_an_interrupted_kernel_survives_and_the_same_call_ends_in_the_same_bytes(
    kernel: Kernel, images: Path, root: Path, tmp_path: Path
):
    config, output = write_config(tmp_path / "stopped.yaml", images, root)
    other, uninterrupted = write_config(tmp_path / "uninterrupted.yaml", images, root)
    kernel.start(f"tokenize({config!r}, progress=True)")
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not list(output.glob(".work/parts-*/*.json")):
        assert time.monotonic() < deadline, kernel.finish()
    kernel.manager.interrupt_kernel()
    assert kernel.finish() == "KeyboardInterrupt"
    assert not (output / "manifest.json").exists()

    again = f"summary = tokenize({config!r}, progress=True)\n"
    printed = "print(summary.records, 0 < summary.units_resumed < summary.num_units)"
    assert kernel.run(again + printed) == "300 True\n"
    # One output, which every later line replaces; it begins where the first run ended.
    (how, first), *others = kernel.shown()
    assert re.fullmatch(r"tokenize: 0 of 300", first) and how == "display_data"
    assert {how for how, _ in others} == {"update_display_data"}
    assert re.fullmatch(
        r"tokenize: 300 of 300  [\d,]+ images/s  0 rejects  \d+ s passed.*", others[-1][1]
    )

    assert kernel.run(f"print(tokenize({other!r}).records)") == "300\n"
    assert kernel.shown() == []
    assert files_of(output) == files_of(uninterrupted)


def test_a_command_in_a_cell_gives_the_bytes_of_the_function(
    kernel: Kernel, image_folder: Path, tokenizer_directory: Path, tmp_path: Path
):
    paths = []
    for name in ("command", "function"):
        fields = job_fields(image_folder, tokenizer_directory, tmp_path / name)
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(json.dumps(fields))
    command = kernel.run(
        "import os, sys\nprint('MPLBACKEND' in os.environ)\n"
        f"!{{sys.executable}} -m fsq tokenize {paths[0]}\nprint(_exit_code)"
    )
    assert command.startswith("True\n") and command.endswith("0 rejected\r\n0\n"), command
    assert kernel.run(f"print(tokenize({str(paths[1])!r}).records)") == "100\n"
    assert files_of(tmp_path / "command") == files_of(tmp_path / "function")


def test_a_job_in_a_kernel_leaves_beams_interactive_environment_alone(kernel: Kernel):
    module = "apache_beam.runners.interactive.interactive_environment"
    assert kernel.run(f"import sys\nprint({module!r} in sys.modules, get_ipython() is None)") == (
        "False False\n"
    )
