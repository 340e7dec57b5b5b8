"""Diagnosis of an import whose tokens differ from those of the reference batch.

Few causes are common: another bound preset, pixel range, channel order or token
order. Combinations of them are tried, and the simplest one that gives the
tokens of the reference is named. If none does, but the tokens that differ lie next
to a rounding boundary, the reference was computed in lower precision.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple, get_args

import numpy as np

from fsq.imported.model import ImportedAutoencoder
from fsq.imported.reference_batch import Agreement, compare
from fsq.models.autoencoder import pixels_to_floats
from fsq.quantizer import lattice
from fsq.quantizer.fsq_layer import FSQ
from fsq.quantizer.presets import Preset
from fsq.quantizer.rounding_distance import rounding_distance

BATCH_IMAGES = 32
DIAGNOSIS_IMAGES = 64  # enough that agreement is no coincidence
# Steps of a level. Of tokens that are simply others, three quarters lie farther from a boundary.
NEAR_BOUNDARY = 0.25
MAX_ROUNDING_SHARE = 0.5  # of the tokens
PIXEL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-0.5, 0.5))


@dataclasses.dataclass(frozen=True)
class _Input:
    """Another preprocessing of the encoder's input, and how it differs from the config's."""

    changes: tuple[str, ...]
    pixel_range: tuple[float, float]
    reverse_channels: bool


def latents_of(
    imported: ImportedAutoencoder,
    *,
    count: int | None = None,
    pixel_range: tuple[float, float] | None = None,
    reverse_channels: bool = False,
) -> np.ndarray:
    """Encodes the reference images.

    Args:
      imported: The networks.
      count: How many images; all if None.
      pixel_range: Instead of the image contract's.
      reverse_channels: Whether to reverse the channels, RGB to BGR.

    Returns:
      Latents float32 [N, rows, columns, D].
    """
    spec = imported.spec.image
    if pixel_range is not None:
        spec = spec.model_copy(update={"pixel_range": pixel_range})
    images = imported.reference.images[:count]
    images = images[..., ::-1] if reverse_channels else images
    return np.concatenate(
        [
            np.asarray(imported.encoder(np.asarray(pixels_to_floats(batch, spec))))
            for batch in np.split(images, range(BATCH_IMAGES, len(images), BATCH_IMAGES))
        ]
    )


def agreement_of(imported: ImportedAutoencoder, latents: np.ndarray) -> Agreement:
    """Compares the tokens of latents [N, rows, columns, D] with those of the reference batch."""
    tokens = np.asarray(imported.quantizer.latents_to_indices(latents))
    return compare(tokens, imported.reference.tokens[: len(latents)])


def diagnose(imported: ImportedAutoencoder) -> str:
    """Finds the simplest change of the config that gives the tokens of the reference batch.

    Returns:
      A sentence that names the change, or the precision of the reference as the
      cause, or says that no usual change gives the tokens.
    """
    attempts = list(_attempts(imported))
    good = [attempt for attempt in attempts if attempt.changes and attempt.agreement.is_good]
    if good:
        best = min(good, key=lambda one: (len(one.changes), -one.agreement.same))
        return f"They would agree with {' and '.join(best.changes)} ({best.agreement.percent})."
    best = max(attempts, key=lambda one: (one.agreement.same, -len(one.changes)))
    if best.differs_by_rounding(imported):
        change = ""
        if best.changes:
            change = f"With {' and '.join(best.changes)} {best.agreement.percent} agree. "
        return (
            f"{change}The tokens that differ do so by one step in a digit, next to a rounding "
            "boundary: the reference was computed in lower precision (bfloat16, float16, TF32 or "
            "autocast). Make it again with the network in float32 and without autocast; on a GPU "
            "set torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32 to "
            "False."
        )
    return (
        "No other preset, usual pixel_range, order of channels or numbering gives them either: "
        "check levels, and that the encoder ends where FSQ begins."
    )


class _Attempt(NamedTuple):
    """The tokens that a changed config would give, beside those of the reference.

    Attributes:
      changes: The changes, in words.
      preset: The preset.
      latents: float32 [N, rows, columns, D].
      tokens: int64 [N, rows, columns], made of the latents.
      wanted: Those of the reference, in the same numbering.
      agreement: How many are the same.
    """

    changes: list[str]
    preset: Preset
    latents: np.ndarray
    tokens: np.ndarray
    wanted: np.ndarray
    agreement: Agreement

    def differs_by_rounding(self, imported: ImportedAutoencoder) -> bool:
        """Whether nearly all tokens that differ lie next to a rounding boundary."""
        spec = imported.spec
        differ = self.tokens != self.wanted
        if not 0 < differ.sum() <= MAX_ROUNDING_SHARE * differ.size:
            return False
        distance = rounding_distance(
            self.latents[differ], self.wanted[differ], spec.levels, self.preset, spec.eps
        )
        return bool(np.quantile(distance.max(-1), 0.99) <= NEAR_BOUNDARY)


def _attempts(imported: ImportedAutoencoder) -> Iterator[_Attempt]:
    """Yields every combination of changes, of the own config as well."""
    reference = imported.reference.tokens[:DIAGNOSIS_IMAGES]
    for source in _inputs(imported):
        latents = latents_of(
            imported,
            count=DIAGNOSIS_IMAGES,
            pixel_range=source.pixel_range,
            reverse_channels=source.reverse_channels,
        )
        for preset, tokens in _quantized(imported, latents):
            change = [] if preset == imported.spec.preset else [f"preset: {preset}"]
            for other, wanted in _numbered(imported, reference):
                changes = [*source.changes, *change, *other]
                agreement = compare(tokens, wanted)
                yield _Attempt(changes, preset, latents, tokens, wanted, agreement)


def indistinct_presets(imported: ImportedAutoencoder) -> tuple[str, ...]:
    """Returns the other presets that agree with the reference batch at least as well.

    `official` and `atanh` differ in one token of ten thousand at most; any
    other pair can be told apart by a larger reference batch.
    """
    latents, expected = latents_of(imported), imported.reference.tokens
    own = agreement_of(imported, latents)
    return tuple(
        preset
        for preset, tokens in _quantized(imported, latents)
        if preset != imported.spec.preset and compare(tokens, expected).same >= own.same
    )


def _inputs(imported: ImportedAutoencoder) -> Iterator[_Input]:
    own = imported.spec.image.pixel_range
    orders = (False, True) if imported.spec.image.channels == 3 else (False,)
    for pixel_range in dict.fromkeys((own, *PIXEL_RANGES)):
        for reverse in orders:
            changes = []
            if pixel_range != own:
                low, high = pixel_range
                changes.append(f"pixel_range: [{low:g}, {high:g}]")
            if reverse:
                changes.append("an encoder that takes the channels in reverse, as BGR")
            yield _Input(tuple(changes), pixel_range, reverse)


def _quantized(
    imported: ImportedAutoencoder, latents: np.ndarray
) -> Iterator[tuple[Preset, np.ndarray]]:
    """Yields each preset that supports the levels, and its tokens."""
    spec = imported.spec
    for preset in get_args(Preset):
        try:
            layer = FSQ(spec.levels, preset=preset, eps=spec.eps, dtype="float32")
        except ValueError:  # a preset that does not support these levels
            continue
        yield preset, np.asarray(layer.latents_to_indices(latents))


def _numbered(
    imported: ImportedAutoencoder, tokens: np.ndarray
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Yields the reference's tokens as they are, and in the other usual orders."""
    levels = imported.spec.levels
    yield (), tokens
    digits = lattice.tokens_to_digits(tokens, levels[::-1])[..., ::-1]
    reverse = "tokens numbered with the first channel fastest, not the last"
    yield (reverse,), lattice.digits_to_tokens(digits, levels)
    if tokens.shape[1] == tokens.shape[2]:
        yield ("tokens in rows, not in columns",), tokens.swapaxes(1, 2)
