"""Import of networks trained elsewhere: read, validated, checked against a reference batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fsq.errors import DataError, RequestError
from fsq.imported import Graph, refuse_tokens
from fsq.imported.diagnose import agreement_of, diagnose, latents_of
from fsq.imported.layouts import Grid, image_layouts, latent_shapes, place_images
from fsq.imported.model import DECODER, ENCODER, ImportedAutoencoder, build_imported, load_graph
from fsq.imported.reference_batch import REFERENCE_IMAGES, REFERENCE_TOKENS, Reference, place_tokens
from fsq.models.autoencoder import pixels_to_floats
from fsq.models.keras_backend import require_tensorflow
from fsq.quantizer import lattice
from fsq.spec.contract import ImportedSpec, QuantizerSpec
from fsq.spec.network_spec import ImportedNetwork
from fsq.storage.path_expansion import looked_in

SHAPE_BATCH = 8  # images that the networks are run on to see the shapes of their outputs


def import_networks(
    spec: QuantizerSpec,
    encoder: str,
    decoder: str | None,
    *,
    grid: Grid | None,
    reference: Reference,
    reference_path: str,
) -> ImportedAutoencoder:
    """Imports an encoder and a decoder; writes nothing.

    Their array layouts follow from the shapes, and from the reference batch
    where the shapes allow two.

    Args:
      spec: Image contract and lattice.
      encoder: A .keras file, a SavedModel's directory or an .onnx file, from
        images to latents before the bound.
      decoder: One of the same kind, from codes to images; or None.
      grid: Rows and columns of tokens, where the latents' shape does not say.
      reference: Images, and the tokens that the original code made of them.
      reference_path: For error messages.

    Raises:
      RequestError: A file cannot be read or is not safe to run, or a shape is
        not what the spec says.
      DataError: The encoder gives other tokens than those of the reference.
    """
    require_tensorflow()
    kind, arrays = _read_graphs(encoder, decoder)
    arrays[REFERENCE_IMAGES] = reference.images
    graph = load_graph(kind, arrays[ENCODER].tobytes(), encoder)
    refuse_tokens(graph.output_type, encoder)
    candidates = []
    for network in _networks(graph, kind, spec, grid, reference, encoder):
        tokens = place_tokens(reference, network.grid, spec.vocab_size, reference_path)
        imported = build_imported(
            ImportedSpec(
                levels=spec.levels,
                preset=spec.preset,
                eps=spec.eps,
                image=spec.image,
                network=network.model_copy(update={"decoder": decoder is not None}),
            ),
            {**arrays, REFERENCE_TOKENS: tokens},
            encoder,
        )
        latents = latents_of(imported)
        _check_latents(latents, spec.levels, encoder)
        candidates.append((agreement_of(imported, latents), imported))
    agreement, imported = max(candidates, key=lambda candidate: candidate[0].same)
    if not agreement.is_good:
        raise DataError(
            f"{reference_path}: expected at least 99.9 % of the tokens from {encoder}, "
            f"got {agreement.percent} ({agreement.same:,} of {agreement.total:,}). "
            f"{diagnose(imported)}"
        )
    if decoder is not None:
        _check_decoder(imported, decoder)
    return imported


def _read_graphs(encoder: str, decoder: str | None) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the kind of both graphs, and their bytes as arrays uint8 [N]."""
    kind, data = read_graph(encoder, ENCODER)
    arrays = {ENCODER: np.frombuffer(data, np.uint8)}
    if decoder is not None:
        decoder_kind, decoder_data = read_graph(decoder, DECODER)
        if decoder_kind != kind:
            raise RequestError(
                f"{decoder}: expected {kind} like the encoder, got {decoder_kind}. "
                "Export both the same way."
            )
        load_graph(kind, decoder_data, decoder)  # an error here names the decoder's file
        arrays[DECODER] = np.frombuffer(decoder_data, np.uint8)
    return kind, arrays


def read_graph(path: str, role: str) -> tuple[str, bytes]:
    """Reads a network's graph.

    Args:
      path: A .keras file, a SavedModel's directory or an .onnx file.
      role: 'encoder' or 'decoder'.

    Returns:
      Its kind, 'tensorflow' or 'onnx', and the serialized graph.

    Raises:
      RequestError: It is missing, of another format, or not safe to run.
    """
    place = Path(path)
    if not place.exists():
        raise RequestError(
            f"{path}: expected the {role}, found nothing there{looked_in(path)}. Correct the path."
        )
    if place.is_dir():
        from fsq.imported.tf_graph import saved_model_to_graph

        return "tensorflow", saved_model_to_graph(path, role)
    match place.suffix:
        case ".keras":
            from fsq.imported.tf_graph import keras_to_graph

            return "tensorflow", keras_to_graph(path, role)
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
) -> Iterator[ImportedNetwork]:
    """Yields the layouts that the shapes of the encoder's input and output allow, at least one."""
    layouts = image_layouts(graph.input_shape, spec.image)
    if not layouts:
        height, width, channels = spec.image.shape
        raise RequestError(
            f"{where}: expected an encoder of images {height} x {width} x {channels}, channels "
            f"first or last, got one of {_show(graph.input_shape)}. "
            "Correct image, or export another."
        )
    floats = np.asarray(pixels_to_floats(reference.images[:SHAPE_BATCH], spec.image))
    # Where the input shape allows both layouts: ONNX models mostly have channels first.
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
    for latent_shape in found:
        yield ImportedNetwork(
            kind=kind,
            grid=latent_shape.grid,
            images=layout,
            latents=latent_shape.layout,
            decoder=False,
        )


def _check_latents(latents: np.ndarray, levels: lattice.Levels, where: str) -> None:
    """Raises a RequestError if latents are not finite, or quantized already."""
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


def _check_decoder(imported: ImportedAutoencoder, where: str) -> None:
    """Raises a RequestError if the decoder does not turn codes into images of the contract."""
    reference = imported.reference
    codes = imported.quantizer.indices_to_codes(reference.tokens[:SHAPE_BATCH])
    images = _run(lambda values: imported.decoder(values), codes, where)
    expected = (len(codes), *imported.spec.image.shape)
    if images.shape != expected:
        raise RequestError(
            f"{where}: expected images {list(expected)}, channels moved to the end, from the codes "
            f"of {len(codes)} images, got {list(images.shape)}. Export the decoder of this encoder."
        )
    if not np.isfinite(images).all():
        raise RequestError(f"{where}: expected finite pixels, got NaN or infinite ones.")


def _run(graph: Any, values: Any, where: str) -> np.ndarray:
    """Runs a network for the first time; any error is one of its file."""
    try:
        return np.asarray(graph(values))
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise RequestError(
            f"{where}: expected a network that takes {list(np.shape(values))}, got: {reason}."
        ) from error


def _show(shape: Any) -> str:
    return str(["any" if size is None else size for size in shape])
