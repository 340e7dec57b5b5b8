"""Untrusted files: nothing in them is run, followed or believed; only the output is written."""

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
import yaml
from builders.jobs import job_fields
from builders.paths import ROOT
from builders.weights import forge_tokenizer

from fsq.dataset import token_dataset
from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError, FsqError, RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract
from fsq.spec.serialization import check_weights, parse_contract
from fsq.storage.digest import sha256_of_file
from fsq.storage.json_documents import with_digest
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.reports.contact_sheet import draw_sheet
from pipeline.reports.inspect import inspect_directory
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize

pytestmark = pytest.mark.slow

FORBIDDEN_MODULES = {"pickle", "marshal", "dill", "shelve", "cloudpickle", "joblib", "runpy"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
YAML = {"yaml.safe_load", "yaml.safe_dump", "yaml.YAMLError", "yaml.compose", "yaml.SafeLoader"}


def problems_of(path: Path) -> list[str]:
    """Says what in a module could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found += [a.name for a in names if a.name.split(".")[0] in FORBIDDEN_MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FORBIDDEN_MODULES:
                found.append(module)
            case ast.Attribute() if (name := ast.unparse(node)).startswith("yaml."):
                found += [] if name in YAML else [name]
            case ast.Call(func=func, keywords=keywords):
                name = ast.unparse(func)
                given = [ast.unparse(keyword) for keyword in keywords]
                if name in FORBIDDEN_CALLS or "shell=True" in given:
                    found.append(ast.unparse(node))
                if name.endswith(("np.load", "numpy.load", "load_model")):
                    wanted = "safe_mode=True" if name.endswith("_model") else "allow_pickle=False"
                    # safetensors' own load is no NumPy file.
                    if wanted not in given and not name.startswith("safetensors."):
                        found.append(ast.unparse(node))
    return [f"{path.name}: {problem}" for problem in found]


def test_no_module_runs_what_it_reads(root: Path):
    modules = [path for name in ("fsq", "pipeline") for path in (root / name).rglob("*.py")]
    assert len(modules) > 50
    assert [problem for path in modules for problem in problems_of(path)] == []


@pytest.mark.parametrize(
    "statement",
    [
        "import pickle",
        "from marshal import loads",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "yaml.load(text)",
        "np.load(path)",
        "keras.models.load_model(path)",
    ],
)
def test_what_runs_what_it_reads_is_found(tmp_path: Path, statement: str):
    (tmp_path / "module.py").write_text(statement)
    assert len(problems_of(tmp_path / "module.py")) == 1


@pytest.fixture
def tokenizer(tokenizer_directory: Path, tmp_path: Path) -> Path:
    """A copy that may be forged."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        (folder / name).write_bytes((tokenizer_directory / name).read_bytes())
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(RequestError) as error:
        Tokenizer.load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit_contract(folder: Path, **changes: object) -> None:
    content = json.loads((folder / CONTRACT_FILE).read_text())
    (folder / CONTRACT_FILE).write_text(json.dumps({**content, **changes}))


def put_weights(folder: Path, data: bytes) -> None:
    """Puts weights there that have the sha256 in the contract."""
    (folder / WEIGHTS_FILE).write_bytes(data)
    edit_contract(folder, weights_sha256=sha256_of_file(str(folder / WEIGHTS_FILE)))


def split_weights(folder: Path) -> tuple[dict[str, Any], bytes]:
    data = (folder / WEIGHTS_FILE).read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join_weights(header: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON, got: "),
        (b"\xff", "expected JSON, got: "),
        (b"[" * 100_000, "expected JSON, got: maximum recursion depth"),
        (b'{"levels": ' + b"9" * 5000 + b"}", "expected JSON, got: Exceeds the limit"),
        (b"null", "expected a mapping, got NoneType."),
        (b"{}", ".levels: expected a value, got none."),
        (b'{"__class__": "os.system"}', ".__class__: unknown key"),
    ],
)
def test_a_contract_that_is_none_is_one_line(tokenizer: Path, content: bytes, message: str):
    (tokenizer / CONTRACT_FILE).write_bytes(content)
    assert refusal(tokenizer).startswith(f"{tokenizer}/{CONTRACT_FILE}")
    assert message in refusal(tokenizer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": 5}, "eps: expected less than or equal to 0.001, got 5.0."),
        ({"eps": float("nan")}, "eps: expected less than or equal to 0.001, got nan."),
        ({"levels": [1000] * 100}, "levels: levels: expected at most 2**63 - 1 tokens"),
        ({"grid": [1, 1]}, "grid: expected (4, 4), got (1, 1)"),
        ({"format_version": 2}, "format_version: expected 1, got 2."),
        ({"image": {"size_pixels": 10**9, "channels": 3}}, "image.size_pixels: expected less"),
    ],
)
def test_a_contract_that_cannot_be_is_one_line(tokenizer: Path, changes: dict, message: str):
    edit_contract(tokenizer, **changes)
    assert message in refusal(tokenizer)


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "official"},
        {"eps": 1e-4},
        {"levels": [4, 5, 3]},
        {"image": {"size_pixels": 16, "channels": 3, "resize": "lanczos"}},
        {"image": {"size_pixels": 16, "channels": 3, "pixel_range": [0, 1]}},
    ],
)
def test_a_contract_edited_so_that_the_weights_still_fit_is_found(tokenizer: Path, changes: dict):
    edit_contract(tokenizer, **changes)
    assert refusal(tokenizer) == (
        f"{tokenizer}/{WEIGHTS_FILE}: expected the contract that the weights were saved with, got "
        f"another: {CONTRACT_FILE} was edited. Copy both files of the tokenizer again."
    )
    with pytest.raises(RequestError, match=r"tokenizer\.json was edited"):
        inspect_directory(str(tokenizer))


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "tokenizers").iterdir()))
@pytest.mark.parametrize("field", ["preset", "resize", "pixel_range"])
def test_a_shipped_tokenizer_is_refused_with_a_field_edited(name: str, field: str):
    folder = ROOT / "tokenizers" / name
    weights = (folder / WEIGHTS_FILE).read_bytes()
    contract = parse_contract((folder / CONTRACT_FILE).read_bytes(), name)
    check_weights(weights, contract, name)
    content = contract.model_dump(mode="json")
    others = {"preset": "torch", "resize": "lanczos", "pixel_range": [0.0, 1.0]}
    place = content if field in content else content["image"]
    assert place[field] != others[field]
    place[field] = others[field]
    with pytest.raises(RequestError, match=r"tokenizer\.json was edited"):
        check_weights(weights, TokenContract.model_validate(content), name)


def test_weights_that_do_not_name_their_contract_are_refused(tokenizer: Path):
    header, body = split_weights(tokenizer)
    del header["__metadata__"]
    put_weights(tokenizer, join_weights(json.dumps(header).encode(), body))
    assert refusal(tokenizer) == (
        f"{tokenizer}/{WEIGHTS_FILE}: expected safetensors, got: no sha256 of their contract. "
        "Train or import the tokenizer again."
    )


HEADERS: dict[str, Callable[[dict[str, Any], bytes], bytes]] = {
    "empty": lambda header, body: b"",
    "a length beyond the file": lambda h, b: join_weights(json.dumps(h).encode(), b, 2**63),
    "a length of nothing": lambda h, b: join_weights(json.dumps(h).encode(), b, 0),
    "no JSON": lambda h, b: join_weights(b"\xff\xff", b),
    "no mapping": lambda h, b: join_weights(b"[1]", b),
    "too deep": lambda h, b: join_weights(b"[" * 100_000, b),
    "cut off": lambda h, b: join_weights(json.dumps(h).encode(), b[:-3]),
    "too long": lambda h, b: join_weights(json.dumps(h).encode(), b + b"x"),
}
FIELDS: list[dict[str, Any]] = [
    {"dtype": "F16"},
    {"dtype": "I32"},
    {"dtype": "PYTHON"},
    {"shape": [2**62, 2**62]},
    {"shape": [-1]},
    {"data_offsets": [0, 2**63]},
    {"data_offsets": [8, 0]},
]


@pytest.mark.parametrize("forge", HEADERS.values(), ids=HEADERS.keys())
def test_a_forged_file_of_weights_is_one_line(tokenizer: Path, forge):
    put_weights(tokenizer, forge(*split_weights(tokenizer)))
    assert refusal(tokenizer).startswith(f"{tokenizer}/{WEIGHTS_FILE}: expected safetensors, got: ")


@pytest.mark.parametrize("field", FIELDS, ids=[f"{f}" for f in FIELDS])
def test_a_forged_entry_of_weights_is_one_line(tokenizer: Path, field: dict[str, Any]):
    header, body = split_weights(tokenizer)
    name = next(name for name in header if name != "__metadata__")
    header[name] |= field
    put_weights(tokenizer, join_weights(json.dumps(header).encode(), body))
    assert refusal(tokenizer).startswith(f"{tokenizer}/{WEIGHTS_FILE}: ")


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "bool", "complex64"])
def test_weights_of_another_type_are_refused(tokenizer: Path, dtype: str):
    weights = safetensors.numpy.load((tokenizer / WEIGHTS_FILE).read_bytes())
    changed = {name: value.astype(dtype) for name, value in weights.items()}
    forge_tokenizer(tokenizer, changed)
    assert f"weights: expected float32 for 'encoder/down_0/kernel', got {dtype}." in refusal(
        tokenizer
    )


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_weights_of_a_type_that_numpy_lacks_are_refused(tokenizer: Path, dtype: str):
    header, body = split_weights(tokenizer)
    size = 2 if dtype == "BF16" else 1
    offset, rest = 0, {name: entry for name, entry in header.items() if name != "__metadata__"}
    for entry in rest.values():
        end = offset + size * int(np.prod(entry["shape"]))
        entry |= {"dtype": dtype, "data_offsets": [offset, end]}
        offset = end
    put_weights(tokenizer, join_weights(json.dumps(rest).encode(), body[:offset]))
    assert refusal(tokenizer).startswith(f"{tokenizer}/{WEIGHTS_FILE}: ")


def write_records(path: Path, images: list[bytes], keys: list[bytes]) -> None:
    frames = []
    for image, key in zip(images, keys, strict=True):
        example = tf.train.Example()
        example.features.feature["image"].bytes_list.value.append(image)
        example.features.feature["key"].bytes_list.value.append(key)
        frames.append(frame(example.SerializeToString()))
    path.write_bytes(b"".join(frames))


KEYS = [b"../../../etc/passwd", b"/etc/passwd", b"..", b"a\0b", b"", b"\xff\n\x1b[31m", b"C:\\x"]


@pytest.fixture
def job(tmp_path: Path, tokenizer_directory: Path, small_images: list[bytes]) -> dict[str, Any]:
    """A job over records whose keys would lead elsewhere as paths."""
    (tmp_path / "input").mkdir()
    write_records(tmp_path / "input" / "one.tfrecord", small_images[: len(KEYS)], KEYS)
    files = f"{tmp_path}/input/*.tfrecord"
    source = {"kind": "tfrecord", "files": files, "image": "image", "key": "key"}
    return job_fields(source, tokenizer_directory, tmp_path / "out")


def files_below(*folders: Path) -> set[str]:
    return {str(path) for folder in folders for path in folder.rglob("*")}


def test_nothing_is_written_outside_the_output(job: dict[str, Any], tmp_path: Path):
    places = {name: tmp_path / name for name in ("home", "temporary", "cwd")}
    for place in places.values():
        place.mkdir()
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    environment = {
        **os.environ,
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "XDG_CACHE_HOME": str(places["home"] / "cache"),
    }
    # Keras notes its settings at home when it is first imported, and matplotlib its fonts.
    subprocess.run(
        [sys.executable, "-c", "import keras"], cwd=places["cwd"], env=environment, check=True
    )
    before = files_below(tmp_path)
    out, sheet = tmp_path / "out", tmp_path / "out.png"
    for arguments in (
        ["tokenize", str(tmp_path / "job.yaml"), "--dry-run"],
        ["tokenize", str(tmp_path / "job.yaml")],
        ["verify", str(out)],
        ["inspect", str(out)],
        ["decode", str(out), "--originals", "--output", str(sheet)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            cwd=places["cwd"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if "--dry-run" in arguments:
            assert files_below(tmp_path) == before
    new = files_below(tmp_path) - before
    assert {path for path in new if not path.startswith(f"{out}/")} == {str(out), str(sheet)}
    assert sorted(os.listdir(out)) == [
        "config.yaml",
        "dataset_info.json",
        "features.json",
        "manifest.json",
        "pets-train.tfrecord-00000-of-00003",
        "pets-train.tfrecord-00001-of-00003",
        "pets-train.tfrecord-00002-of-00003",
        "rejects.jsonl",
        "stats.json",
        "timing.json",
        "tokenizer.json",
        "tokenizer.safetensors",
    ]


def test_keys_are_names_and_nothing_else(job: dict[str, Any]):
    tokenize(TokenizeConfig.model_validate(job))
    assert list(verify_dataset(job["output"]["directory"])) == []
    batches = token_dataset(job["output"]["directory"], batch_size=8).as_numpy_iterator()
    assert sorted(key for batch in batches for key in batch["key"]) == sorted(KEYS)


def lead_shards_out(manifest: dict[str, Any]) -> None:
    manifest["shards"][0]["file"] = "../../etc/passwd"


def lead_shards_to_the_root(manifest: dict[str, Any]) -> None:
    manifest["shards"][0]["file"] = "/etc/passwd"


def lead_files_out(manifest: dict[str, Any]) -> None:
    manifest["files"]["../../etc/passwd"] = "0" * 64


def name_the_folder(manifest: dict[str, Any]) -> None:
    manifest["shards"][1]["file"] = ".."


def leave_an_entry_out(manifest: dict[str, Any]) -> None:
    del manifest["shards"][0]["records"]


def count_in_words(manifest: dict[str, Any]) -> None:
    manifest["images_listed"] = "many"


def hold_no_fields(manifest: dict[str, Any]) -> None:
    manifest["fingerprint"] = {}


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lead_shards_out, "shards.0.file: expected the name of a file in the dataset, got '../../"),
        (lead_shards_to_the_root, "shards.0.file: expected the name of a file in the dataset, got"),
        (lead_files_out, "expected the name of a file in the dataset, got '../../etc/passwd'"),
        (name_the_folder, "shards.1.file: expected the name of a file in the dataset, got '..'"),
        (leave_an_entry_out, "shards.0.records: expected a value, got none."),
        (count_in_words, "images_listed: expected a valid integer"),
        (hold_no_fields, "fingerprint.sha256: expected a value, got none."),
    ],
)
def test_a_forged_manifest_is_not_followed(
    job: dict[str, Any], forge: Callable[[dict[str, Any]], None], message: str
):
    config = TokenizeConfig.model_validate(job)
    tokenize(config)
    directory = job["output"]["directory"]
    path = Path(directory, "manifest.json")
    manifest = json.loads(path.read_text())
    forge(manifest)
    path.write_text(json.dumps(with_digest(manifest)))
    for use in (
        lambda: list(verify_dataset(directory)),
        lambda: inspect_directory(directory),
        lambda: draw_sheet(directory, 1, originals=False),
        lambda: token_dataset(directory, batch_size=1),
        lambda: tokenize(config),
    ):
        with pytest.raises(DataError) as error:
            use()
        assert str(error.value).startswith(f"{path}.")
        assert message in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["stats.json", "config.yaml"])
def test_a_file_that_differs_from_the_manifest_is_not_read(job: dict[str, Any], name: str):
    tokenize(TokenizeConfig.model_validate(job))
    directory = job["output"]["directory"]
    Path(directory, name).write_text("{}")
    with pytest.raises(FsqError, match=rf"{re.escape(name)}: expected sha256 "):
        if name == "stats.json":
            inspect_directory(directory)
        else:
            draw_sheet(directory, 1, originals=True)


LOCKED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?P<rest>.*)$")


def read_lock(root: Path) -> list[re.Match[str]]:
    text = (root / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    matches = [LOCKED.match(line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches, strict=True) if not match]
    return [match for match in matches if match]


def test_every_requirement_is_pinned_with_its_hash(root: Path):
    locked = read_lock(root)
    assert len(locked) > 50
    bare = [m["name"] for m in locked if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", m["rest"])]
    assert bare == []


def test_the_installed_versions_are_those_of_the_lock(root: Path):
    differ = {}
    for locked in read_lock(root):
        # 'name==1 ; condition': what another system or Python needs is not here.
        if ";" in locked["rest"]:
            continue
        try:
            installed = importlib.metadata.version(locked["name"])
        except importlib.metadata.PackageNotFoundError:
            installed = "none"
        if installed != locked["version"]:
            differ[locked["name"]] = (locked["version"], installed)
    assert differ == {}


def test_no_requirement_has_a_known_weakness(root: Path, tmp_path: Path):
    if importlib.util.find_spec("pip_audit") is None:
        pytest.skip("needs pip-audit, of the extra dev")
    audit = [sys.executable, "-m", "pip_audit", "--strict", "--timeout", "5", "--disable-pip"]
    # A service that does not answer finds nothing; one that does knows those of an old Pillow.
    (tmp_path / "old.txt").write_text("pillow==9.0.0\n")
    known = subprocess.run(
        [*audit, "--no-deps", "-r", str(tmp_path / "old.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "pillow" not in known.stdout:
        pytest.skip("needs a list of weaknesses, and none answers here")
    done = subprocess.run(
        [*audit, "--require-hashes", "-r", "requirements.lock"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
