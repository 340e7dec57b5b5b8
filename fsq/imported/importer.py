"""Adopting networks: read, checked and tried out on the reference batch; nothing is written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fsq.errors import DataError, RequestError
from fsq.imported import Graph
from fsq.imported.diagnose import agreement_of, find_remedy, latents_of
from fsq.imported.layouts import Grid, image_layouts, latent_shapes, place_images
from fsq.imported.model import DECODER, ENCODER, Adopted, build_adopted, load_graph
from fsq.imported.reference_batch import REFERENCE_IMAGES, REFERENCE_TOKENS, Reference, place_tokens
from fsq.models.autoencoder import pixels_to_floats
from fsq.quantizer import lattice
from fsq.spec.contract import AdoptedSpec, QuantizerSpec
from fsq.spec.network_spec import AdoptedNetwork

TRIED_IMAGES = 8  # for shapes


def adopt(
    spec: QuantizerSpec,
    encoder: str,
    decoder: str | None,
    *,
    grid: Grid | None,
    reference: Reference,
    reference_path: str,
) -> Adopted:
    """Reads an encoder and a decoder, finds out how they are laid out, and tries them.

    Args:
      spec: The images and the lattice.
      encoder: A .keras file, a SavedModel's directory or an .onnx file, from
        images to latents before the bound.
      decoder: One of the same kind, from codes to images; or None.
      grid: Rows and columns of tokens, where the latents' shape leaves it open.
      reference: What the original code made of some images.
      reference_path: For messages.

    Raises:
      RequestError: A file cannot be read or is not safe to run, or a shape is
        not what the spec says.
      DataError: The encoder gives other tokens than those of the reference.
    """
    kind, data = read_graph(encoder, ENCODER)
    arrays = {ENCODER: np.frombuffer(data, np.uint8), REFERENCE_IMAGES: reference.images}
    if decoder is not None:
        decoder_kind, decoder_data = read_graph(decoder, DECODER)
        if decoder_kind != kind:
            raise RequestError(
                f"{decoder}: expected {kind} like the encoder, got {decoder_kind}. "
                "Export both the same way."
            )
        load_graph(kind, decoder_data, decoder)  # refused here, under its own name
        arrays[DECODER] = np.frombuffer(decoder_data, np.uint8)

    readings = []
    for network in _networks(load_graph(kind, data, encoder), kind, spec, grid, reference, encoder):
        tokens = place_tokens(reference, network.grid, spec.vocab_size, reference_path)
        adopted = build_adopted(
            AdoptedSpec(
                levels=spec.levels,
                preset=spec.preset,
                eps=spec.eps,
                image=spec.image,
                network=network.model_copy(update={"decoder": decoder is not None}),
            ),
            {**arrays, REFERENCE_TOKENS: tokens},
            encoder,
        )
        latents = latents_of(adopted)
        _refuse_codes(latents, spec.levels, encoder)
        readings.append((agreement_of(adopted, latents), adopted))
    # There are two where a grid has as many rows as there are levels: the batch decides.
    agreement, adopted = max(readings, key=lambda reading: reading[0].same)
    if not agreement.is_good:
        raise DataError(
            f"{reference_path}: expected at least 99.9 % of the tokens from {encoder}, "
            f"got {agreement.percent} ({agreement.same:,} of {agreement.total:,}). "
            f"{find_remedy(adopted)}"
        )
    if decoder is not None:
        _try_decoder(adopted, decoder)
    return adopted


def read_graph(path: str, role: str) -> tuple[str, bytes]:
    """Reads a network of any kind as ('tensorflow' or 'onnx', the bytes of its graph).

    Raises:
      RequestError: It is missing, of no kind that we read, or not safe to run.
    """
    place = Path(path)
    if not place.exists():
        raise RequestError(f"{path}: expected the {role}, found nothing there. Correct the path.")
    if place.is_dir():
        from fsq.imported.tf_graph import freeze_saved_model

        return "tensorflow", freeze_saved_model(path, role)
    match place.suffix:
        case ".keras":
            from fsq.imported.tf_graph import freeze_keras

            return "tensorflow", freeze_keras(path)
        case ".onnx":
            return "onnx", place.read_bytes()
    raise RequestError(
        f"{path}: expected a .keras file, an .onnx file or the directory of a SavedModel. "
        f"Export the {role} as one of these."
    )


def _networks(
    graph: Graph,
    kind: Any,
    spec: QuantizerSpec,
    grid: Grid | None,
    reference: Reference,
    where: str,
) -> Iterator[AdoptedNetwork]:
    """Yields the ways in which the encoder's shapes can be read, one at least."""
    layouts = image_layouts(graph.input_shape, spec.image)
    if not layouts:
        size, channels = spec.image.size_pixels, spec.image.channels
        raise RequestError(
            f"{where}: expected an encoder of images {size} x {size} x {channels}, channels first "
            f"or last, got one of {_show(graph.input_shape)}. Correct image, or export another."
        )
    floats = np.asarray(pixels_to_floats(reference.images[:TRIED_IMAGES], spec.image))
    # A shape that leaves the layout open: each project has its habit.
    layout = layouts[-1] if kind == "onnx" else layouts[0]
    shape = np.shape(_run(graph, place_images(floats, layout, np), where))
    found = latent_shapes(shape, len(spec.levels), grid, layout) if shape[0] == len(floats) else []
    if not found:
        wanted = f" on a grid of {grid[0]} x {grid[1]}," if grid else ""
        raise RequestError(
            f"{where}: expected latents with {len(spec.levels)} channels, one per level of "
            f"{list(spec.levels)},{wanted} got the shape {list(shape)} for {len(floats)} images. "
            "Correct levels or grid, or export the encoder up to where FSQ begins."
        )
    for reading in found:
        yield AdoptedNetwork(
            kind=kind, grid=reading.grid, images=layout, latents=reading.layout, decoder=False
        )


def _refuse_codes(latents: np.ndarray, levels: lattice.Levels, where: str) -> None:
    """Raises a RequestError if the latents are codes: bounded again, some would move."""
    if not np.isfinite(latents).all():
        raise RequestError(
            f"{where}: expected finite latents from the reference images, got NaN or infinite ones."
        )
    channels = latents.reshape(-1, len(levels)).T
    values = [len(np.unique(channel)) for channel in channels]
    few = all(found <= level for found, level in zip(values, levels, strict=True))
    if max(values) > 1 and few and channels.shape[1] > 2 * max(levels):
        raise RequestError(
            f"{where}: expected latents before FSQ, got just {values} different values per "
            "channel: they are quantized. Export the encoder up to where FSQ begins."
        )


def _try_decoder(adopted: Adopted, where: str) -> None:
    reference = adopted.reference
    codes = adopted.quantizer.indices_to_codes(reference.tokens[:TRIED_IMAGES])
    images = _run(lambda values: adopted.decoder(values), codes, where)
    expected = (len(codes), *adopted.spec.image.shape)
    if images.shape != expected:
        raise RequestError(
            f"{where}: expected images {list(expected)}, channels moved to the end, from the codes "
            f"of {len(codes)} images, got {list(images.shape)}. Export the decoder of this encoder."
        )
    if not np.isfinite(images).all():
        raise RequestError(f"{where}: expected finite pixels, got NaN or infinite ones.")


def _run(graph: Any, values: Any, where: str) -> np.ndarray:
    """Runs a network for the first time; whatever it says against it is the file's fault."""
    try:
        return np.asarray(graph(values))
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise RequestError(
            f"{where}: expected a network that takes {list(np.shape(values))}, got: {reason}."
        ) from error


def _show(shape: Any) -> str:
    return str(["any" if size is None else size for size in shape])
