"""Cores: those that this process may use, wherever it runs."""

import os
from pathlib import Path

import pytest

from fsq.cores import count_cores


def test_the_cores_of_this_process_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7})
    assert count_cores() == 3


def test_a_system_that_does_not_tell_them_has_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert count_cores() == 6


def test_nothing_else_asks_for_what_macos_does_not_have(root: Path):
    asking = {
        path.relative_to(root).as_posix()
        for package in ("fsq", "pipeline", "examples", "tools", "benchmarks")
        for path in (root / package).rglob("*.py")
        if "os.sched_" in path.read_text()
    }
    assert asking == {"fsq/cores.py"}
