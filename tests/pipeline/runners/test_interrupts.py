"""Ctrl-C in a fresh process, as a job has it."""

import subprocess
import sys
from pathlib import Path

import pytest
from builders.paths import ROOT

pytestmark = pytest.mark.slow


def test_ctrl_c_in_a_process_of_its_own(tmp_path: Path):
    tests = Path(__file__).with_name("interrupts.py")
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tests)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout[-2000:].count("3 passed")) == (0, 1), done.stdout
