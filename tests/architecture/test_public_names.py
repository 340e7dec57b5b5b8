"""Public names: what a user may import, and that documentation and examples keep to it."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.paths import ROOT

# A name that is taken away, or moves, is a breaking change. `__all__` of each module says the same.
PUBLIC = {
    "fsq": ["FSQ", "ResidualFSQ", "__version__", "levels_for"],
    "fsq.dataset": [
        "Caption",
        "SequenceSpec",
        "TokenBatches",
        "TokenSource",
        "read_contract",
        "token_dataset",
        "tokens_of",
    ],
    "fsq.errors": ["BadImageError", "DataError", "FsqError", "InvalidConfigError", "RequestError"],
    "fsq.images": [
        "CropBox",
        "DecodeRules",
        "DecodedFile",
        "ImageSpec",
        "center_crop",
        "decode_file",
        "decode_image",
        "fit_image",
        "try_decode_file",
    ],
    "fsq.quantizer.codebook_usage": [
        "Usage",
        "channel_entropy_bits",
        "usage_of_counts",
        "usage_of_tokens",
    ],
    "fsq.quantizer.latent_stats": ["LatentStatistics", "latent_statistics"],
    "fsq.quantizer.vq_layer": ["VQ"],
    "fsq.tokenizer": ["Tokenizer", "load_codes"],
    "fsq.yaml_config": ["dump_config", "load_config"],
    "pipeline.image_dataset": ["ImagesConfig", "image_dataset", "open_images"],
    "pipeline.job.config": ["OutputConfig", "TokenizeConfig"],
    "pipeline.recut": ["Recut", "recut"],
    "pipeline.sources.container": ["ContainerConfig"],
    "pipeline.run": ["Summary", "retry_rejects", "tokenize"],
}

# What the example has in common with our own commands: files, locks, the terminal. Not promised.
COMMON_WITH_EXAMPLES = {
    "fsq.dataset.manifest": ["CONFIG_FILE", "read_listed", "read_manifest"],
    "fsq.dataset.open_dataset": ["OpenedDataset", "open_dataset"],
    "fsq.dataset.records": ["CarriedFeature", "encode_key"],
    "fsq.images.contact_sheet": ["arrange"],
    "fsq.images.image_file": ["check_picture", "save_picture"],
    "fsq.quantizer": ["lattice"],
    "fsq.spec.contract": ["CONTRACT_FILE", "TokenContract", "WEIGHTS_FILE"],
    "fsq.spec.serialization": ["parse_contract", "read_file", "read_metadata"],
    "fsq.storage": ["filesystem"],
    "fsq.storage.directory_lock": ["LOCK_FILE", "locked"],
    "fsq.storage.json_documents": ["first_difference", "has_its_digest", "render"],
    "fsq.terminal.console": ["PATH", "print_pairs", "quiet_start", "run_command"],
    "fsq.terminal.progress_bar": ["progress_bar"],
    "fsq.terminal.streams": ["beside_the_result"],
    "fsq.training.devices": ["devices_of_training"],
    "fsq.training.interruption": ["held_interrupts"],
    "fsq.validation": ["parse"],
    "fsq.yaml_config": ["PathStr"],
    "pipeline.core.records": ["BadRecord", "ImageRecord"],
    "pipeline.sources.units": ["one_unit_per_file"],
}

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").rglob("*.py"))
    if "tests" not in path.relative_to(ROOT).parts
]


def imports_of(code: str) -> Iterator[tuple[str, str | None]]:
    """(module, name) of everything that is imported from our packages; no name for `import x`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            found = [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [(alias.name, None) for alias in node.names]
        else:
            continue
        yield from (pair for pair in found if pair[0].partition(".")[0] in ("fsq", "pipeline"))


def pairs_of(names: dict[str, list[str]]) -> set[tuple[str, str]]:
    return {(module, name) for module, of_module in names.items() for name in of_module}


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_says_which_names_are_public(module: str):
    imported = importlib.import_module(module)
    assert imported.__all__ == PUBLIC[module]
    assert inspect.getdoc(imported)


@pytest.mark.parametrize(
    ("module", "name"), sorted(pairs_of(PUBLIC) | pairs_of(COMMON_WITH_EXAMPLES))
)
def test_a_name_that_others_import_exists_and_has_a_docstring(module: str, name: str):
    value = getattr(importlib.import_module(module), name)
    if inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value):
        assert inspect.getdoc(value)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_documentation_names_public_names_alone(path: Path):
    text = path.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert {pair for block in blocks for pair in imports_of(block)} <= pairs_of(PUBLIC)
    for dotted in re.findall(r"`((?:fsq|pipeline)\.[\w.]+)", text):
        module, _, name = dotted.rpartition(".")
        if name == "md":
            continue
        assert dotted in PUBLIC or name in PUBLIC.get(module, ()), dotted


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_imports_public_names_and_those_in_common(path: Path):
    allowed = pairs_of(PUBLIC) | pairs_of(COMMON_WITH_EXAMPLES)
    assert set(imports_of(path.read_text())) <= allowed


def test_what_is_in_common_with_the_examples_is_what_they_import():
    used = {pair for path in EXAMPLES for pair in imports_of(path.read_text())}
    assert pairs_of(COMMON_WITH_EXAMPLES) <= used
