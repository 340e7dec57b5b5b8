"""Functions stay short enough to be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.paths import ROOT

FOLDERS = ("fsq", "pipeline", "examples", "tools", "benchmarks")
# From the line of `def` to the last line, docstring included, decorators not.
MOST_LINES = 60


def functions_of(code: str) -> Iterator[tuple[str, int]]:
    """Yields name and number of lines of every function, methods and inner functions too."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_lines_are_counted_from_def_to_the_end():
    code = 'class A:\n  @one\n  @two\n  def f(\n    self):\n    """Doc."""\n\n    return 1\n'
    assert list(functions_of(code)) == [("f", 5)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_function_is_longer_than_sixty_lines(folder: str):
    paths: list[Path] = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    too_long = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in paths
        for name, lines in functions_of(path.read_text())
        if lines > MOST_LINES
    }
    assert not too_long
