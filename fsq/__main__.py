"""The command `fsq`: imports our package `pipeline` and runs its command line.

A user's own `pipeline.py` on PYTHONPATH hides our package of that name. The command
still works: it imports the package that was installed beside this one, not the first
of that name.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path


def main() -> None:
    """Runs the command line."""
    try:
        use_utf8()
        load_pipeline(Path(__file__).parents[1])
        importlib.import_module("pipeline.cli").main()
    except KeyboardInterrupt:  # while the command line is imported
        print("fsq: interrupted; run the same command again to go on.", file=sys.stderr)
        sys.exit(130)


def use_utf8() -> None:
    """Starts this process again in Python's UTF-8 mode if its locale has another encoding.

    Config files are UTF-8; in another encoding their paths would be other files.
    """
    asked = os.environ.get("PYTHONUTF8") == "1" or "utf8" in sys._xoptions
    if sys.getfilesystemencoding() == "utf-8" or asked:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def load_pipeline(folder: Path) -> None:
    """Makes `import pipeline` import our package in this process.

    Args:
      folder: Folder that contains it.

    Raises:
      SystemExit: It is not there; exit code 2.
    """
    ours = folder / "pipeline" / "__init__.py"
    found = importlib.util.find_spec("pipeline")
    if found is not None and found.origin is not None and Path(found.origin) == ours:
        return
    spec = importlib.util.spec_from_file_location(
        "pipeline", ours, submodule_search_locations=[str(ours.parent)]
    )
    if not ours.is_file() or spec is None or spec.loader is None:
        other = "nothing" if found is None else str(found.origin)
        print(
            f"fsq: expected the package 'pipeline' of fsq-tokenizer in {folder}, found {other}. "
            "Install fsq-tokenizer again.",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.modules["pipeline"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
