"""Installation: how what is missing is installed, from where this copy came from."""

import importlib.metadata
import json
import urllib.parse
from typing import Any

NAME = "fsq-tokenizer"
# Modules of the extra 'pipeline', which a reader of tokens does not need.
PIPELINE_MODULES = frozenset(
    {"apache_beam", "cv2", "keras", "simplejpeg", "tensorflow", "tensorflow_datasets"}
)


def explain_missing(error: ImportError) -> str | None:
    """Returns a message for a module of the extra 'pipeline' that is missing; else None."""
    module = (error.name or "").partition(".")[0]
    if module not in PIPELINE_MODULES:
        return None
    return (
        f"expected the extra 'pipeline', which makes tokens and images, found no module "
        f"{module!r}. Install it: {install_command('pipeline')}."
    )


def install_command(extra: str) -> str:
    """Returns the pip command that adds an extra to this installation.

    Where the package came from a wheel, a folder or a Git repository, pip has noted its
    address (PEP 610), and the command names it: a name alone would be looked up in an index.
    """
    try:
        noted = importlib.metadata.distribution(NAME).read_text("direct_url.json")
        origin: dict[str, Any] = json.loads(noted) if noted else {}
    except (importlib.metadata.PackageNotFoundError, ValueError):
        origin = {}
    return f"pip install {_requirement(extra, origin)}"


def _requirement(extra: str, origin: dict[str, Any]) -> str:
    url = origin.get("url", "")
    if origin.get("dir_info", {}).get("editable"):
        return f"-e '{urllib.parse.unquote(url.removeprefix('file://'))}[{extra}]'"
    if "vcs_info" in origin:
        info = origin["vcs_info"]
        url = f"{info['vcs']}+{url}@{info['commit_id']}"
    return f"'{NAME}[{extra}] @ {url}'" if url else f"'{NAME}[{extra}]'"
