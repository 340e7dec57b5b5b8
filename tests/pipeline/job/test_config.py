"""Configs: every mistake is one line that names the key, what was expected and what to do."""

import copy
from pathlib import Path

import pytest
import yaml

from fsq.errors import RequestError
from fsq.validation import parse
from fsq.yaml_config import dump_config, load_config
from pipeline.cli import main
from pipeline.job.config import TokenizeConfig
from pipeline.sources import KINDS
from pipeline.tokenizers.config import TrainConfig

TOKENIZE = {
    "source": {"kind": "image_folder", "directory": "images"},
    "tokenizer": "tokenizers/x",
    "output": {"directory": "out/x", "name": "x"},
}
TRAIN = {
    "source": {"kind": "image_folder", "directory": "images"},
    "held_out": {"kind": "image_folder", "directory": "images"},
    "tokenizer": {
        "levels": [8, 5, 5, 5],
        "image": {"size_pixels": 28, "channels": 1},
        "network": {"kind": "conv", "encoder_widths": [8, 8], "decoder_widths": [8, 8]},
    },
    "training": {"epochs": 1},
    "output": "tokenizers/x",
}


def changed(base: dict, path: str, value: object) -> dict:
    config = copy.deepcopy(base)
    *parents, last = path.split(".")
    place = config
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("source.directroy", "x", "source.directroy: unknown key (did you mean 'directory'?)"),
        ("sources", {}, "sources: unknown key (did you mean 'source'?)"),
        ("tokenizer", None, "tokenizer: expected a value, got none. Add the key 'tokenizer'."),
        ("output.name", "my-set", "output.name: expected text that matches ^[a-z]"),
        ("output.directory", "/", "output.directory: expected a directory below the root, got '/'"),
        ("output.directory", "a\0b", "output.directory: expected text that matches"),
        ("output.directory", "", "output.directory: expected length 1 or more, got ''."),
        ("output.split", "all", "output.split: expected a name other than 'all', which"),
        ("runtime", "cuda", "runtime: expected 'auto', 'tensorflow', 'xla', 'openvino' or 'onnx"),
        (
            "output.num_shards",
            0,
            "output.num_shards: expected an integer from 1 to 100,000",
        ),
        (
            "output.num_shards",
            "many",
            "output.num_shards: expected an integer from 1 to 100",
        ),
        (
            "output.num_shards",
            {"val": 1},
            "output: expected num_shards for ['train'], got it",
        ),
        ("output.split", {"train": 0.9}, "output.split: expected shares that add up to 1, got 0.9"),
        (
            "output.split",
            {"a": 0.5, "b": 0.6},
            "output.split: expected shares that add up to 1",
        ),
        (
            "output.split",
            {"a": 0, "b": 1},
            "output.split: expected shares above 0 and at most",
        ),
        (
            "output.split",
            {"a": 0.5, "b": "b"},
            "output.split: expected shares above 0 and at most 1",
        ),
        (
            "output.split",
            {"a": True},
            "output.split: expected shares above 0 and at most",
        ),
        ("output.split", {"a": ".9"}, "output.split: expected shares as numbers such as 0.9, got"),
        ("output.split", {"a": "90%"}, "output.split: expected shares as numbers such as 0.9, got"),
        ("output.split", {"all": "x"}, "output.split: expected a name other than 'all', which"),
        ("output.split", {"a-b": 1.0}, "output.split: expected names of splits with lower-case"),
        ("output.split", {1: 1.0}, "output.split: expected names of splits with lower-case"),
        ("output.split", {}, "output.split: expected a name, or a mapping of names to shares"),
        ("output.split", ["a"], "output.split: expected a name, or a mapping of names to shares"),
        ("split", {"a": 0.5, "b": 0.5}, "split: unknown key (did you mean 'output.split'?)"),
        ("source.split", "train", "source.split: unknown key (did you mean 'output.split'?)"),
        (
            "decode",
            {"animated": "loop"},
            "decode.animated: expected 'refuse' or 'first_frame', got 'loop'.",
        ),
        ("decode", {"max_pixels": 0}, "decode.max_pixels: expected greater than or equal to 1"),
        (
            "decode",
            {"truncate": "fill"},
            "decode.truncate: unknown key (did you mean 'truncated'?)",
        ),
        ("batch_size", 1, "batch_size: expected greater than or equal to 8, got 1."),
        ("max_reject_fraction", 2, "max_reject_fraction: expected less than or equal to 1, got 2."),
        (
            "views",
            ["center", "left"],
            "views.1: expected 'center', 'center_flipped', 'flip', 'five_crop', 'ten_crop' or "
            "'random', got 'left'.",
        ),
        ("views", ["center", 3], "views.1: expected 'center', 'center_flipped', 'flip', "),
        ("views", [{"center": 1}], "views.0: expected a key 'kind', got none. Add it."),
        (
            "views",
            [{"kind": "centre"}],
            "views.0.kind: expected one of 'center', 'center_flipped', 'flip', 'five_crop', "
            "'ten_crop', 'random', got 'centre' (did you mean 'center'?).",
        ),
        (
            "views",
            [{"kind": "center", "flip": True}],
            "views.0.flip: unknown key (known: kind)",
        ),
        (
            "views",
            ["center", "center"],
            "views: expected each view once, got ['center', 'center']",
        ),
        ("views", [], "views: "),
        (
            "source.kind",
            "image_foldr",
            f"source.kind: expected one of {', '.join(map(repr, KINDS))}, "
            "got 'image_foldr' (did you mean 'image_folder'?).",
        ),
        ("source.kind", None, "source: expected a key 'kind', got none. Add it."),
        (
            "source",
            {"kind": "tfds", "split": "train"},
            "source: expected either 'directory' or 'name', got both or neither",
        ),
        ("source", [], "source: "),
    ],
)
def test_a_mistake_in_a_tokenize_config_is_one_line(tmp_path: Path, path, value, message):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(changed(TOKENIZE, path, value)))
    with pytest.raises(RequestError) as error:
        load_config(str(file), TokenizeConfig)
    assert str(error.value).startswith(f"{file}.{message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tokenizer.levels", [8, 1], "tokenizer.levels: levels: expected values in [2, 1001], "),
        ("tokenizer.levels", [2, 2], "tokenizer: levels: expected 3 or more for the preset"),
        ("tokenizer.levels", "8,5", "tokenizer.levels: levels: expected a list of integers"),
        ("tokenizer.image.channels", 2, "tokenizer.image.channels: expected 1 or 3, got 2."),
        (
            "tokenizer.image.size_pixels",
            30,
            "tokenizer: expected image.size_pixels to be a multiple of the network's downsampling, "
            "4, got 30",
        ),
        (
            "tokenizer.network.decoder_widths",
            [8],
            "tokenizer.network: expected as many decoder_widths as encoder_widths, got 1 and 2",
        ),
        ("training.epochs", 0, "training.epochs: expected greater than or equal to 1, got 0."),
        ("training.epoch", 3, "training.epoch: unknown key (did you mean 'epochs'?)"),
        (
            "tokenizer.preset",
            "tan",
            "tokenizer.preset: expected 'atanh', 'official', 'torch', 'symmetric' or 'ifsq', "
            "got 'tan'.",
        ),
    ],
)
def test_a_mistake_in_a_train_config_is_one_line(tmp_path: Path, path, value, message):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(changed(TRAIN, path, value)))
    with pytest.raises(RequestError) as error:
        load_config(str(file), TrainConfig)
    assert str(error.value).startswith(f"{file}.{message}")
    assert "\n" not in str(error.value)


def test_all_mistakes_of_a_config_are_shown_each_key_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "job.yaml"
    file.write_text(
        "source: {kind: tfds, directorry: x, splits: train, carry: label}\n"
        "tokenizr: x\n"
        "output: {directory: out, name: Train, num_shards: few}\n"
        "views: center\n"
        "decode: 3\n"
        "batch_size: 1\n"
    )
    monkeypatch.setattr("sys.argv", ["fsq", "tokenize", str(file)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    pattern = "^[a-z][a-z0-9_]*$"
    assert capsys.readouterr().err.splitlines() == [
        f"fsq: {file}.{line}"
        for line in (
            "source.directorry: unknown key (did you mean 'directory'?)",
            "source.splits: unknown key (did you mean 'split'?)",
            "tokenizr: unknown key (did you mean 'tokenizer'?)",
            "source.carry: expected a list, got 'label'. Write [...].",
            f"output.name: expected text that matches {pattern}, got 'Train'.",
            "output.num_shards: expected an integer from 1 to 100,000, or one for each split, "
            "got 'few'",
            "views: expected a list, got 'center'. Write [...].",
            "decode: expected a mapping of keys, got 3.",
            "batch_size: expected greater than or equal to 8, got 1.",
        )
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2", ":1: expected YAML, got: "),
        (b"a: 1\nb: 2\na: 3\n", ":3: expected every key once, got 'a' in line 1 too. Remove one."),
        (b"x:\n- {a: 1, a: 1}\n", ":2: expected every key once, got 'a' in line 2 too. Remove "),
        (b"- a\n- b\n", ": expected a mapping, got list."),
        (b"", ": expected a mapping, got NoneType."),
        (b"a: \xff", ": expected a config file, got: "),
        (b"!!python/object/apply:os.system ['true']", ": expected YAML, got: "),
        (b"a: !!int ''", ": expected a config that can be read, got: "),
        (b"a: !!bool maybe", ": expected a config that can be read, got: "),
        (b"a: !!timestamp soon", ": expected a config that can be read, got: "),
        (b"&a [*a]", ": expected a mapping, got list."),
    ],
)
def test_what_is_no_config_is_one_line(tmp_path: Path, content: bytes, message: str):
    file = tmp_path / "job.yaml"
    file.write_bytes(content)
    with pytest.raises(RequestError) as error:
        load_config(str(file), TokenizeConfig)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_aliases_do_not_make_a_message_of_any_length(tmp_path: Path):
    file = tmp_path / "job.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    file.write_text("\n".join([*lines, "tokenizer: *a11"]))
    with pytest.raises(RequestError, match="unknown key"):
        load_config(str(file), TokenizeConfig)
    with pytest.raises(RequestError) as error:
        parse(TokenizeConfig, {**TOKENIZE, "tokenizer": yaml.safe_load(file.read_text())}, "job")
    assert str(error.value).startswith("job.tokenizer: expected a valid string, got {'a0': ['x'")
    assert len(str(error.value)) < 200


def test_a_missing_config_is_named():
    with pytest.raises(RequestError, match=r"nowhere\.yaml: expected a config file, got: No such"):
        load_config("nowhere.yaml", TokenizeConfig)


def test_a_resolved_config_reads_back_as_the_same_config(tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(TOKENIZE))
    config = load_config(str(file), TokenizeConfig)
    file.write_text(dump_config(config))
    assert load_config(str(file), TokenizeConfig) == config
