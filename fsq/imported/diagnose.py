"""What to change when an adopted encoder gives other tokens than the original code.

Most misfits have one of a few causes, and the reference batch can tell which:
so they are tried, and the simplest that explains the tokens is named.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from fsq.imported.model import Adopted
from fsq.imported.reference_batch import Agreement, compare
from fsq.models.autoencoder import pixels_to_floats
from fsq.quantizer import lattice
from fsq.quantizer.fsq_layer import FSQ
from fsq.quantizer.presets import PRESETS

BATCH_IMAGES = 32
JUDGED_IMAGES = 64  # enough to tell a cause from an accident
PIXEL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-0.5, 0.5))


@dataclasses.dataclass(frozen=True)
class _Input:
    """Other pixels for the encoder, and the change that gives them."""

    changes: tuple[str, ...]
    pixel_range: tuple[float, float]
    reverse_channels: bool


def latents_of(
    adopted: Adopted,
    *,
    count: int | None = None,
    pixel_range: tuple[float, float] | None = None,
    reverse_channels: bool = False,
) -> np.ndarray:
    """Encodes the reference images, as the contract says or otherwise.

    Returns:
      Latents float32 [N, rows, columns, D].
    """
    spec = adopted.spec.image
    if pixel_range is not None:
        spec = spec.model_copy(update={"pixel_range": pixel_range})
    images = adopted.reference.images[:count]
    images = images[..., ::-1] if reverse_channels else images
    return np.concatenate(
        [
            np.asarray(adopted.encoder(np.asarray(pixels_to_floats(batch, spec))))
            for batch in np.split(images, range(BATCH_IMAGES, len(images), BATCH_IMAGES))
        ]
    )


def agreement_of(adopted: Adopted, latents: np.ndarray) -> Agreement:
    """Compares the tokens of the latents with those of the reference."""
    tokens = np.asarray(adopted.quantizer.latents_to_indices(latents))
    return compare(tokens, adopted.reference.tokens[: len(latents)])


def find_remedy(adopted: Adopted) -> str:
    """Tries the usual causes of other tokens.

    Returns:
      A sentence that names what would give the reference's tokens, or says
      that none of the usual causes does.
    """
    inputs = sorted(_inputs(adopted), key=lambda source: len(source.changes))
    good: list[tuple[int, int, str]] = []
    for source in inputs:
        latents = latents_of(
            adopted,
            count=JUDGED_IMAGES,
            pixel_range=source.pixel_range,
            reverse_channels=source.reverse_channels,
        )
        expected = adopted.reference.tokens[:JUDGED_IMAGES]
        for (change, tokens), (other, wanted) in itertools.product(
            _quantized(adopted, latents), _numbered(adopted, expected)
        ):
            agreement = compare(tokens, wanted)
            if agreement.is_good:
                changes = [*source.changes, *change, *other]
                sentence = f"They would agree with {' and '.join(changes)} ({agreement.percent})."
                good.append((len(changes), -agreement.same, sentence))
    if good:
        return min(good)[2]
    return (
        "No other preset, usual pixel_range, order of channels or numbering gives them either: "
        "check levels, and that the encoder ends where FSQ begins."
    )


def indistinct_presets(adopted: Adopted) -> tuple[str, ...]:
    """Returns the other presets that give the reference's tokens just as well.

    `official` and `atanh` differ in one token of ten thousand at most; any
    other name here means that the reference is too small to tell.
    """
    latents, expected = latents_of(adopted), adopted.reference.tokens
    own = agreement_of(adopted, latents)
    return tuple(
        change[0].removeprefix("preset: ")
        for change, tokens in _quantized(adopted, latents)
        if change and compare(tokens, expected).same >= own.same
    )


def _inputs(adopted: Adopted) -> Iterator[_Input]:
    own = adopted.spec.image.pixel_range
    orders = (False, True) if adopted.spec.image.channels == 3 else (False,)
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
    adopted: Adopted, latents: np.ndarray
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Yields the tokens that every preset gives."""
    spec = adopted.spec
    for preset in PRESETS:
        try:
            layer = FSQ(spec.levels, preset=preset, eps=spec.eps, dtype="float32")
        except ValueError:  # not for these levels
            continue
        change = () if preset == spec.preset else (f"preset: {preset}",)
        yield change, np.asarray(layer.latents_to_indices(latents))


def _numbered(adopted: Adopted, tokens: np.ndarray) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Yields the reference's tokens as they are, and read in the other usual orders."""
    levels = adopted.spec.levels
    yield (), tokens
    digits = lattice.tokens_to_digits(tokens, levels[::-1])[..., ::-1]
    reverse = "tokens numbered with the first channel fastest, not the last"
    yield (reverse,), lattice.digits_to_tokens(digits, levels)
    if tokens.shape[1] == tokens.shape[2]:
        yield ("tokens in rows, not in columns",), tokens.swapaxes(1, 2)
