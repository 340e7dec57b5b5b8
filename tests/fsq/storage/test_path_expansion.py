"""Paths as people write them: ~ and variables are expanded as in a shell, or refused."""

from pathlib import Path

import pytest
import yaml
from builders.jobs import MakeConfig, job_fields
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fsq.errors import InvalidConfigError, RequestError
from fsq.storage.path_expansion import expand_argument, expand_path, literal_path, looked_in
from fsq.validation import parse
from fsq.yaml_config import dump_config, load_config
from pipeline.cli import cli
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("ODD", "/a$b")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("MISSING", raising=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~", "/home/me"),
        ("~/out", "/home/me/out"),
        ("~root/x", "/root/x"),
        ("$SCRATCH/out", "/scratch/me/out"),
        ("${SCRATCH}2/$SCRATCH", "/scratch/me2//scratch/me"),
        ("$ODD/$HOME", "/a$b//home/me"),
        ("gs://bucket$SCRATCH/x", "gs://bucket/scratch/me/x"),
        ("./~x", "./~x"),
        ("out/~", "out/~"),
        ("a$$b/$$$$", "a$b/$$"),
        ("price$", "price$"),
        ("$ 5.png", "$ 5.png"),
        ("/data/train-*?.png", "/data/train-*?.png"),
    ],
)
def test_a_path_is_expanded_as_a_shell_would(text: str, path: str):
    assert expand_path(text) == path
    # What a config holds once it is written again means the same.
    assert expand_path(literal_path(path)) == path


@given(st.text().filter(lambda text: not text.startswith("~")))
def test_any_other_path_can_be_written(path: str):
    assert expand_path(literal_path(path)) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$MISSING/out", "a value of the environment variable 'MISSING', found none"),
        ("${EMPTY}/out", "a value of the environment variable 'EMPTY', found none"),
        ("${}/out", "a value of the environment variable '', found none"),
        ("~nobody-here/x", "a user with a home folder, got '~nobody-here'. For a name that begins"),
    ],
)
def test_what_has_no_value_is_refused_by_its_name(text: str, message: str):
    with pytest.raises(ValueError) as error:
        expand_path(text)
    assert str(error.value).startswith(f"expected {message}")


def test_an_argument_that_is_there_is_taken_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("$MISSING", "~", "a$SCRATCH"):
        Path(name).touch()
        assert expand_argument(name) == name
    assert expand_argument("~/x") == "/home/me/x"


def test_a_relative_path_says_what_it_is_relative_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert looked_in("data/x") == f" (looked for {tmp_path}/data/x)"
    assert looked_in("/data/x") == looked_in("gs://data/x") == ""


PATHS = {
    "image_folder": {"directory": "$SCRATCH/a"},
    "tfds": {"name": "x", "data_dir": "$SCRATCH/a", "split": "test"},
    "tfrecord": {"files": ["$SCRATCH/a", "$ODD/*"], "image": "image"},
}


@pytest.mark.parametrize("kind", PATHS)
def test_a_written_config_holds_the_expanded_paths(kind: str, monkeypatch: pytest.MonkeyPatch):
    source = {"kind": kind, **PATHS[kind]}
    fields = job_fields(source, Path("$ODD/t"), Path("~/out"))  # type: ignore[arg-type]
    config = TokenizeConfig.model_validate(fields)
    assert (config.tokenizer, config.output.directory) == ("/a$b/t", "/home/me/out")
    monkeypatch.setenv("SCRATCH", "/another")
    monkeypatch.setenv("HOME", "/home/you")
    text = dump_config(config)
    assert "/scratch/me/a" in text
    assert TokenizeConfig.model_validate(yaml.safe_load(text)) == config


def test_a_config_names_the_key_whose_variable_has_no_value():
    for source in PATHS.values():
        kind = next(name for name in PATHS if PATHS[name] is source)
        changed = yaml.safe_load(yaml.safe_dump(source).replace("SCRATCH", "MISSING"))
        fields = job_fields({"kind": kind, **changed}, Path("$MISSING"), Path("~nobody-here"))
        with pytest.raises(InvalidConfigError) as error:
            parse(TokenizeConfig, fields, "job.yaml")
        key = next(name for name in ("directory", "data_dir", "files") if name in source)
        assert [problem.partition(": expected")[0] for problem in error.value.problems] == [
            f"job.yaml.source.{key}",
            "job.yaml.tokenizer",
            "job.yaml.output.directory",
        ]


def test_a_job_in_the_home_folder_is_resumed_and_verified_there(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = dump_config(make_config()).replace(f"{tmp_path}/out", "~/tokens")
    (tmp_path / "job.yaml").write_text(text)
    (empty := tmp_path / "empty").mkdir()
    monkeypatch.chdir(empty)
    for resumed in (0, 7):
        summary = tokenize(load_config(f"{tmp_path}/job.yaml", TokenizeConfig), limit=56)
        assert (summary.directory, summary.units_resumed) == (f"{tmp_path}/tokens", resumed)

    def fsq(*arguments: str) -> str:
        return CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout

    assert fsq("verify", "~/tokens") == f"{tmp_path}/tokens: all is well\n"
    assert "\noutput   $x, " in fsq("tokenize", "~/job.yaml", "--output", "$$x", "--dry-run")
    assert list(empty.iterdir()) == []
    for verb in ("verify", "inspect", "tokenize", "train", "import"):
        with pytest.raises(RequestError) as error:
            fsq(verb, "nothing")
        assert f"(looked for {empty}/nothing)" in str(error.value)
