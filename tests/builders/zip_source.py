"""A source that is no part of the program: images in ZIP archives, as docs/sources.md adds it."""

import re
import zipfile
from pathlib import Path
from typing import Any

from builders.paths import ROOT
from builders.sources import Images, SourceBuilder

PAGE = ROOT / "docs" / "sources.md"
(CODE,) = (
    block
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    if "class ZipConfig" in block
)
_names: dict[str, Any] = {"__name__": __name__}
exec(compile(CODE, str(PAGE), "exec"), _names)
ZipConfig = _names["ZipConfig"]


def build_zip(folder: Path, images: Images) -> Any:
    """Writes all images into one archive."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name, data in images.items():
            archive.writestr(name, data)
    return ZipConfig(kind="zip", files=f"{folder}/*.zip", labels=True)


ZIP = SourceBuilder(build_zip)
