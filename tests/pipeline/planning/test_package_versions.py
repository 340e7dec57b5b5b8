"""Another version of a package that decides pixels, latents or bytes is another job."""

from pathlib import Path

import pytest
from builders.jobs import MakeConfig

from pipeline.planning.plan import PACKAGES, make_plan

DECIDING = [
    "fsq-tokenizer",
    "keras",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "protobuf",
    "simplejpeg",
    "tensorflow",
]


def test_the_versions_are_those_of_what_decides_the_bytes(make_config: MakeConfig):
    assert sorted(make_plan(make_config()).fingerprint.versions) == DECIDING


@pytest.mark.slow
def test_another_version_of_a_package_is_another_job(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = make_config()
    before = make_plan(config).fingerprint
    for name in PACKAGES:
        version = before.versions[name]
        folder = tmp_path / f"with another {name}"
        info = folder / f"{name.replace('-', '_')}-99.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99\n")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            after = make_plan(config).fingerprint
        assert after.sha256 != before.sha256
        assert before.first_difference(after) == f"versions {name} was {version}, is 99"
    assert make_plan(config).fingerprint == before
