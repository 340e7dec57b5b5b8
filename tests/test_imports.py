"""The house: imports run downhill, light modules stay light."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

# A module may import those above it, never one below. Modules in one row stand side by side.
FLOORS = [
    ["fsq.version", "fsq.errors"],
    ["fsq.lattice", "fsq.jpeg", "fsq.png", "fsq.schema", "fsq.architecture", "fsq.adopted"],
    ["fsq.usage", "fsq.formats", "fsq.presets", "fsq.level_sets"],
    ["fsq.images"],
    ["fsq.ops", "fsq.channels", "fsq.contract", "fsq.latents", "fsq.latent_tokens", "fsq.vq"],
    ["fsq.indexing", "fsq.saved"],
    ["fsq.layers", "fsq.residual"],
    ["fsq.networks"],
    ["fsq.autoencoder"],
    ["fsq.adopted.safe_ops", "fsq.adopted.layouts", "fsq.adopted.reference"],
    ["fsq.adopted.frozen", "fsq.adopted.onnx_file"],
    ["fsq.adopted.model"],
    ["fsq.adopted.remedy"],
    ["fsq.adopted.adopt"],
    ["fsq.runtimes"],
    ["fsq.runtimes.tensorflow_graph", "fsq.runtimes.openvino_model"],
    [
        "fsq.runtimes.batch_encoder",
        "fsq.runtimes.onnx_runtime",
        "fsq.runtimes.on_devices",
        "fsq.runtimes.openvino_streams",
        "fsq.runtimes.probe",
    ],
    ["fsq.runtimes.openvino_convert"],
    ["fsq.runtimes.make"],
    ["fsq.runtimes.cache", "fsq.runtimes.choose"],
    ["fsq.tokenizer"],
    ["fsq.evaluation"],
    ["fsq.training"],
    ["fsq.training.recipe", "fsq.training.devices"],
    ["fsq.training.batches", "fsq.training.losses", "fsq.training.monitor"],
    ["fsq.training.claim"],
    ["fsq.training.step", "fsq.training.dead_start"],
    ["fsq.training.loop"],
    [
        "pipeline.storage",
        "pipeline.tfrecord",
        "pipeline.records",
        "pipeline.progress",
        "pipeline.turn",
        "pipeline.clock",
        "pipeline.machine",
        "pipeline.patience",
        "pipeline.workers",
    ],
    [
        "pipeline.config",
        "pipeline.views",
        "pipeline.manifest",
        "pipeline.lock",
        "pipeline.array_record",
    ],
    ["pipeline.runtime"],
    ["pipeline.example", "pipeline.example_message", "pipeline.tokenizer_output"],
    ["pipeline.parse"],
    ["pipeline.read.arguments", "pipeline.read.order"],
    ["pipeline.read.opened"],
    ["pipeline.read.records"],
    ["pipeline.read.sequence", "pipeline.read.views"],
    ["pipeline.read.batches", "pipeline.read.source"],
    ["pipeline.read.tensors"],
    ["pipeline.read"],
    ["pipeline.sources.listing"],
    ["pipeline.sources.folder", "pipeline.sources.tfrecord"],
    ["pipeline.sources.image_folder", "pipeline.sources.tfds"],
    ["pipeline.sources"],
    ["pipeline.decode", "pipeline.job", "pipeline.training_images"],
    ["pipeline.parts", "pipeline.stop", "pipeline.failure"],
    ["pipeline.batch", "pipeline.engine", "pipeline.plan", "pipeline.accounts"],
    ["pipeline.ahead", "pipeline.description", "pipeline.difference"],
    ["pipeline.settle"],
    ["pipeline.encode", "pipeline.output", "pipeline.stats", "pipeline.shards"],
    ["pipeline.metadata"],
    ["pipeline.close"],
    ["pipeline.kept"],
    ["pipeline.retry"],
    ["pipeline.flow"],
    ["pipeline.watch", "pipeline.verify_job"],
    ["pipeline.verify", "pipeline.sheet", "pipeline.inspect", "pipeline.train"],
    ["pipeline.adopt"],
    ["pipeline.console", "pipeline.picture"],
    ["pipeline.cli"],
]
FLOOR_OF = {module: number for number, floor in enumerate(FLOORS) for module in floor}
# The package files re-export; what they name lies deeper than they are imported.
PACKAGES = {"fsq", "pipeline"}


def modules(root: Path) -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return {name: path for name, path in found.items() if name not in PACKAGES}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name in FLOOR_OF}


def test_every_module_has_its_floor(root: Path):
    assert set(modules(root)) == set(FLOOR_OF)


def test_imports_run_downhill(root: Path):
    uphill = [
        f"{name} imports {other}"
        for name, path in modules(root).items()
        for other in sorted(imported(path) - {name})
        if FLOOR_OF[other] >= FLOOR_OF[name]
    ]
    assert uphill == []


def test_fsq_knows_neither_beam_nor_the_pipeline(root: Path):
    for name, path in modules(root).items():
        if name.startswith("fsq."):
            text = path.read_text()
            assert "apache_beam" not in text, name
            assert "import pipeline" not in text, name
            assert "from pipeline" not in text, name


def test_nothing_of_the_house_knows_the_examples(root: Path):
    for name, path in modules(root).items():
        assert not re.search(r"^\s*(from|import) examples", path.read_text(), re.MULTILINE), name
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert set(wheel["targets"]["wheel"]["packages"]) == PACKAGES


@pytest.mark.parametrize(
    "statement",
    [
        "import fsq",
        "from fsq import levels_for",
        "import fsq.usage, fsq.latents, fsq.presets",
        "from pipeline.config import load_config, TokenizeConfig",
        "import pipeline.plan",
        "import pipeline.settle, pipeline.ahead, pipeline.verify",
        "import pipeline.cli",
        "from fsq.saved import parse_contract",
        "import pipeline.read",
        "import examples.prior.config, examples.prior.data, examples.prior.baselines",
    ],
)
def test_light_modules_import_neither_tensorflow_nor_beam(statement: str):
    code = (
        f"{statement}; import sys; "
        "print([m for m in ('tensorflow', 'keras', 'apache_beam') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
