"""python -m tools.notebook examples/first_steps.ipynb

Runs a notebook in the root of the checkout and saves its outputs: pictures, and what is
printed to stdout. The progress and what libraries log differ from run to run; they are left out.
"""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
SECONDS_PER_CELL = 300


def run_notebook(path: Path, folder: Path) -> NotebookNode:
    """Runs the cells of a notebook in a kernel; returns it with the outputs to save.

    Args:
      path: The notebook.
      folder: The kernel's working directory.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    # `fsq` in a cell is this environment's, and the checkout's.
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": search, "PYTHONPATH": str(ROOT)}
    client = NotebookClient(notebook, timeout=SECONDS_PER_CELL, resources=resources)
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_lasting(output)]
    notebook.metadata.pop("language_info", None)  # the version of Python
    return notebook


def text_of(cell: NotebookNode) -> str:
    """Returns what a cell printed; where it is tagged 'figures', with # for each number.

    These numbers come from a network, whose last decimals differ between machines.
    """
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    text = text.replace("\r\n", "\n")
    if "figures" in cell.metadata.get("tags", []):
        text = re.sub(r"[\d,.]+", "#", text)
        text = re.sub(r"[ \n]+", " ", text)
    return text


def _is_lasting(output: NotebookNode) -> bool:
    if output.output_type == "stream":
        return bool(output.name == "stdout")
    # An error of what displays a value does not end the cell.
    assert output.output_type != "error", output.evalue
    return not output.data.get("text/plain", "").startswith("tokenize: ")


def main() -> None:
    """Runs the notebook that the command line names, and saves it."""
    path = Path(sys.argv[1])
    nbformat.write(run_notebook(path, ROOT), path)


if __name__ == "__main__":
    main()
