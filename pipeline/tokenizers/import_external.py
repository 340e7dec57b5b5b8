"""The job of `fsq import`: turns networks trained elsewhere into a tokenizer with its card."""

import dataclasses
import math

import numpy as np

from fsq.errors import DataError
from fsq.imported.reference_batch import Agreement, read_reference
from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer
from pipeline.tokenizers.card import render_import_card
from pipeline.tokenizers.config import ImportConfig
from pipeline.tokenizers.describe import REFERENCE_BATCH_SIZE, describe_contract
from pipeline.tokenizers.output_checks import CARD_FILE


@dataclasses.dataclass(frozen=True)
class ImportResult:
    """An imported tokenizer and its check against the reference batch; nothing is written yet.

    Attributes:
      tokenizer: Built from the arrays that will be written.
      agreement: With the reference batch.
      indistinct: Other presets that agree with the reference batch at least as well.
      psnr_db: Of the reference images, decoded from the reference tokens; None
        without a decoder.
    """

    tokenizer: Tokenizer
    agreement: Agreement
    indistinct: tuple[str, ...]
    psnr_db: float | None


def import_tokenizer(config: ImportConfig) -> ImportResult:
    """Imports the networks of a config and checks them against the reference batch.

    Raises:
      RequestError: A file is missing, of another format, not safe to run, or of
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
            f"got {worst.percent} of the reference's among others. Export it for inference."
        )
    return ImportResult(tokenizer, agreement, indistinct_presets(imported), _psnr(tokenizer))


def save_import(config: ImportConfig, config_path: str, result: ImportResult) -> None:
    """Writes the card and the tokenizer, its contract last."""
    contract, agreement = result.tokenizer.contract, describe_agreement(result)
    card = render_import_card(config, config_path, contract, agreement, result.psnr_db)
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
    """Renders how many tokens agree, and which other presets agree as well."""
    text = str(result.agreement)
    if result.indistinct:
        text += f"; as many with the preset {' or '.join(result.indistinct)}"
    return text


def _psnr(tokenizer: Tokenizer) -> float | None:
    reference = tokenizer.reference
    if reference is None or not tokenizer.contract.has_decoder:
        return None
    decoded = tokenizer.decode(reference.tokens)
    error = np.square(decoded.astype(np.float64) - reference.images).mean()
    return 10 * math.log10(255**2 / max(error, 1e-9))
