"""Keys are the file system's bytes: the same keys, order and bytes under every locale."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from builders.fixtures import make_images
from builders.jobs import job_fields

# In the order of their bytes, which is not the order of the text that Python makes of them.
KEYS = [
    b"Zug/1.png",
    b"\xc3\xa9t\xc3\xa9/1.png",
    b"\xc3\xa9t\xc3\xa9/\xe2\x82\xac.png",
    b"\xe9t\xe9/1.png",
    b"\xee\x80\x80/1.png",
    b"\xff/1.png",
]
CODE = """
import os
from fsq.dataset.records import encode_key
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.units import one_unit_per_file
from pipeline.sources.listing import file_name

source = ImageFolderConfig(kind="image_folder", directory=".", labels=False).open()
with source.list().on_disk() as listing:
    (unit,) = one_unit_per_file(listing)
    records = list(source.read(unit, listing.features))
print([encode_key(record.key) for record in records])
print([len(record.data) for record in records], listing.text_sha256)
print([encode_key(file_name(name)) for name in sorted(os.listdir(), key=os.fsencode)])
"""


def in_locale(name: str, folder: Path) -> dict[str, str]:
    """The environment of a process in a locale; one that is missing here is made."""
    usual = {key: value for key, value in os.environ.items() if not key.startswith("LC_")}
    usual |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": name}
    if name == "C":
        return usual
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-f", "ISO-8859-1", "-i", "en_US", str(folder / name)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip(f"expected the locale {name} or the means to make it")
    return usual | {"LOCPATH": str(folder)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locales") / "caf\xe9"
    for key, image in zip(KEYS, make_images(len(KEYS)), strict=True):
        path = os.fsencode(folder) + b"/" + key
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(image)
    return folder


def list_in(photos: Path, environment: dict[str, str], root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=photos,
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
def test_keys_order_and_bytes_are_the_same_in_every_locale(
    photos: Path, tmp_path: Path, root: Path, locale: str
):
    found = list_in(photos, in_locale(locale, tmp_path), root)
    assert found == list_in(photos, {**os.environ, "PYTHONUTF8": "1"}, root)
    keys, _, names = found.splitlines()
    assert keys == str(KEYS)
    assert names == str(sorted({os.path.dirname(key) for key in KEYS}))


@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
def test_the_paths_of_a_config_are_utf_8_in_every_locale(
    photos: Path, tokenizer_directory: Path, tmp_path: Path, root: Path, locale: str
):
    source = {"kind": "image_folder", "directory": str(photos), "labels": False}
    config = tmp_path / "\xfc.yaml"
    fields = job_fields(source, tokenizer_directory, tmp_path / "out")
    config.write_text(yaml.safe_dump(fields, allow_unicode=True), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "fsq", "tokenize", os.fsencode(config), "--dry-run"],
        cwd=root,
        env=in_locale(locale, tmp_path),
        capture_output=True,
    )
    assert done.stderr == b""
    assert f"{photos}, {len(KEYS)} images".encode() in done.stdout
