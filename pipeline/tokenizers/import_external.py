"""Importing as a job: networks trained elsewhere in, a tokenizer with its card out."""

import dataclasses
import hashlib
import importlib.metadata
import math
import os
from pathlib import Path

import numpy as np

from fsq.errors import DataError
from fsq.imported.reference_batch import Agreement, read_reference
from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer
from fsq.version import __version__
from fsq.yaml_config import dump_config
from pipeline.tokenizers.config import ImportConfig
from pipeline.tokenizers.describe import REFERENCE_BATCH_SIZE, describe_contract
from pipeline.tokenizers.output_checks import CARD_FILE


@dataclasses.dataclass(frozen=True)
class ImportResult:
    """A tokenizer that has shown what it does, not yet written.

    Attributes:
      tokenizer: Built from the very arrays that will be written.
      agreement: With the reference batch.
      indistinct: Other presets that the reference batch cannot tell from the config's.
      psnr_db: Of the reference images, decoded from the reference tokens; None
        without a decoder.
    """

    tokenizer: Tokenizer
    agreement: Agreement
    indistinct: tuple[str, ...]
    psnr_db: float | None


def import_tokenizer(config: ImportConfig) -> ImportResult:
    """Reads the networks and runs the reference batch through them; writes nothing.

    Raises:
      RequestError: A file is missing, of another kind, not safe to run, or of
        another shape than the config says.
      DataError: The tokens are not those of the reference.
    """
    reference = read_reference(config.reference, config.image)
    from fsq.imported.diagnose import indistinct_presets
    from fsq.imported.importer import import_networks

    imported = import_networks(
        config,
        config.encoder,
        config.decoder,
        grid=config.grid,
        reference=reference,
        reference_path=config.reference,
    )
    tokenizer = Tokenizer.of(imported, batch_size=REFERENCE_BATCH_SIZE)
    agreement = tokenizer.check_reference()
    assert agreement is not None
    neighbours = tokenizer.check_neighbours()
    assert neighbours is not None
    if not (agreement.is_good and neighbours.is_good):
        worst = min(agreement, neighbours, key=lambda one: one.same)
        raise DataError(
            f"{config.encoder}: expected tokens that do not depend on the other images of a batch, "
            f"got {worst.percent} of the reference's beside others. Export it for inference."
        )
    return ImportResult(tokenizer, agreement, indistinct_presets(imported), _psnr(tokenizer))


def save_import(config: ImportConfig, recipe: str, result: ImportResult) -> None:
    """Writes the card and the tokenizer, its contract last."""
    card = render_card(config, recipe, result)
    filesystem.make_folder(config.output)
    filesystem.write(filesystem.join(config.output, CARD_FILE), card.encode())
    result.tokenizer.save(config.output)


def describe_import(config: ImportConfig, result: ImportResult) -> list[tuple[str, str]]:
    """Describes what an import would write as (name, value) pairs."""
    rows = [
        ("encoder", config.encoder),
        ("decoder", config.decoder or "none"),
        *describe_contract(result.tokenizer.contract),
        ("reference", describe_agreement(result)),
        ("output", config.output),
    ]
    if result.psnr_db is not None:
        rows.insert(-1, ("decoded", f"PSNR {result.psnr_db:.2f} dB on the reference batch"))
    return rows


def describe_agreement(result: ImportResult) -> str:
    """Says how many tokens agree, and which presets that does not tell apart."""
    text = str(result.agreement)
    if result.indistinct:
        text += f"; as many with the preset {' or '.join(result.indistinct)}"
    return text


def render_card(config: ImportConfig, recipe: str, result: ImportResult) -> str:
    """Renders the tokenizer's card, Markdown."""
    contract, network = result.tokenizer.contract, result.tokenizer.contract.spec.network
    image = contract.image
    low, high = image.pixel_range
    rows = [
        ("Encoder", f"`{os.path.basename(config.encoder)}`, sha256 `{digest_of(config.encoder)}`"),
        (
            "Images",
            f"{image.size_pixels} x {image.size_pixels} x {image.channels}, pixels in "
            f"[{low:g}, {high:g}], {image.resize}",
        ),
        ("Levels", f"{list(contract.levels)}, preset `{contract.preset}`, eps {contract.eps}"),
        ("Tokens", f"{contract.grid[0]} x {contract.grid[1]} out of {contract.vocab_size:,}"),
        ("Reference batch", describe_agreement(result)),
        ("Weights", f"sha256 `{contract.weights_sha256[:16]}`"),
        ("Kept as", f"{network.kind}"),
        ("Made with", _versions(network.kind)),
    ]
    if config.decoder is not None:
        rows.insert(
            1,
            (
                "Decoder",
                f"`{os.path.basename(config.decoder)}`, sha256 `{digest_of(config.decoder)}`",
            ),
        )
    if result.psnr_db is not None:
        rows.insert(-3, ("PSNR on that batch", f"{result.psnr_db:.2f} dB"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# {os.path.basename(config.output.rstrip('/'))}\n\n"
        f"An FSQ tokenizer, trained elsewhere and imported by `fsq import {recipe}`. The tokens of "
        "the\nreference batch are the original code's; `fsq inspect` compares them again.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"The config, as it was run:\n\n```yaml\n{dump_config(config)}```\n"
    )


def digest_of(path: str) -> str:
    """The sha256 of a file, or of all files in a directory with their names."""
    place = Path(path)
    if place.is_file():
        return hashlib.sha256(place.read_bytes()).hexdigest()[:16]
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(place).as_posix()}\n"
        for file in sorted(place.rglob("*"))
        if file.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _psnr(tokenizer: Tokenizer) -> float | None:
    reference = tokenizer.reference
    if reference is None or not tokenizer.contract.has_decoder:
        return None
    decoded = tokenizer.decode(reference.tokens)
    error = np.square(decoded.astype(np.float64) - reference.images).mean()
    return 10 * math.log10(255**2 / max(error, 1e-9))


def _versions(kind: str) -> str:
    names = {"tensorflow": "TensorFlow", "keras": "Keras"}
    names |= {"onnxruntime": "ONNX Runtime"} if kind == "onnx" else {}
    versions = [f"{name} {importlib.metadata.version(package)}" for package, name in names.items()]
    return ", ".join([f"fsq-tokenizer {__version__}", *versions])
