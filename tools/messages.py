"""Lists all texts that the code shows to people: modules' first lines, errors, help.

    python -m tools.messages            # all of it, file by file
    python -m tools.messages pipeline   # one folder or file

Values in a message are shown in braces, as in the code.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOLDERS = ("fsq", "pipeline", "examples", "tools", "benchmarks")
# A text with one of these is a message, wherever it is made.
MARKS = ("expected ", "Choose another", "tokenize it again")


class Message(NamedTuple):
    """A text that people read.

    Attributes:
      path: The module, relative to the checkout.
      line: The line it begins in.
      kind: 'module', 'error' or 'help'.
      text: Values in braces.
      raised: The class of an error that is made with this text; else empty.
    """

    path: str
    line: int
    kind: str
    text: str
    raised: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.text}"


def messages_of(path: Path) -> Iterator[Message]:
    """Yields the texts of a module, in the order of its lines."""
    tree = ast.parse(path.read_text())
    where = path.relative_to(ROOT).as_posix()
    docstring = ast.get_docstring(tree) or ""
    yield Message(where, 1, "module", docstring.partition("\n")[0])
    found = [*_errors(tree), *_helps(tree)]
    for line, kind, text, raised in sorted(set(found)):
        yield Message(where, line, kind, text, raised)


def _errors(tree: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    docstrings = {id(node) for node in _docstrings(tree)}
    inner = {id(value) for node in ast.walk(tree) for value in _parts(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func).endswith("Error") and node.args:
            inner.add(id(node.args[0]))
            if text := _text(node.args[0]):
                yield node.args[0].lineno, "error", text, _name(node.func)
        elif isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in docstrings | inner:
            text = _text(node)
            if any(mark in text for mark in MARKS):
                yield node.lineno, "error", text, ""


def _helps(tree: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in ("help", "short_help") and (text := _text(keyword.value)):
                    yield keyword.value.lineno, "help", text, ""


def _docstrings(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            yield body[0].value


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes inside a text: the pieces of f-strings."""
    if isinstance(node, ast.JoinedStr):
        yield from node.values
    elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
        yield node.format_spec


def _name(function: ast.expr) -> str:
    return getattr(function, "id", None) or getattr(function, "attr", "")


def _text(node: ast.expr) -> str:
    """Renders a text with its expressions in braces; other nodes give an empty text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
    return ""


def find_messages(place: Path) -> Iterator[Message]:
    """Yields the texts of one module, or of all modules in a folder; tests are left out."""
    paths = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    for path in paths:
        if "tests" not in path.relative_to(ROOT).parts:
            yield from messages_of(path)


def main() -> None:
    """Prints the list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("places", nargs="*", default=FOLDERS, metavar="FOLDER_OR_FILE")
    for place in parser.parse_args().places:
        for message in find_messages((ROOT / place).resolve()):
            sys.stdout.write(f"{message}\n")


if __name__ == "__main__":
    main()
