"""The notebook of the examples, run in a kernel: it gives what it was saved with."""

import re
from pathlib import Path

import nbformat
import pytest

from tools.notebook import run_notebook, text_of

MAX_BYTES = 300_000


def outputs_of(cell: nbformat.NotebookNode) -> list[str]:
    """Returns the kinds of a cell's displayed outputs: 'image/png' for a picture."""
    return [kind for output in cell.outputs if "data" in output for kind in sorted(output.data)]


@pytest.mark.slow
def test_the_notebook_runs_and_gives_the_outputs_that_it_was_saved_with(root: Path, tmp_path: Path):
    for name in ("samples", "tokenizers"):
        (tmp_path / name).symlink_to(root / name)
    path = root / "examples" / "first_steps.ipynb"
    saved = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    run = [cell for cell in run_notebook(path, tmp_path).cells if cell.cell_type == "code"]
    assert [text_of(cell) for cell in run] == [text_of(cell) for cell in saved]
    assert [outputs_of(cell) for cell in run] == [outputs_of(cell) for cell in saved]
    assert sum(kind == "image/png" for cell in saved for kind in outputs_of(cell)) == 2


def test_the_saved_notebook_is_small_and_names_no_place_of_a_machine(root: Path):
    text = (root / "examples" / "first_steps.ipynb").read_text()
    assert len(text) < MAX_BYTES
    assert re.findall(r"/(?:home|tmp|work|root|usr|Users)/", text) == []
