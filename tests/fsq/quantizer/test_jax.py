"""The layer on Keras' JAX backend. A backend is for a whole process, so the laws get their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_the_laws_hold_on_jax(tmp_path: Path):
    here = Path(__file__).parent
    laws = [str(here / name) for name in ("test_backend_laws.py", "test_functional_laws.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *laws],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=here.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    # Also proof that it was JAX: the laws about it are skipped elsewhere.
    assert "skipped" not in done.stdout, done.stdout[-500:]
