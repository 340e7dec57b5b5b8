"""Trains a small FSQ autoencoder in PyTorch with vector-quantize-pytorch, and exports it.

    python -m tools.torch_fsq tests/data/torch_fsq

writes the input of `fsq import`: encoder.onnx, decoder.onnx, and a reference batch
with the tokens of vector-quantize-pytorch. No network or layer of this project is
used. Needs the extra `torch`, and Debian's package `dataset-fashion-mnist`.
Cost: 1 min on 2 cores.
"""

from pathlib import Path

import click
import numpy as np
import onnx
import torch
from torch import nn
from vector_quantize_pytorch import FSQ

from tools.fashion_mnist import read_idx

LEVELS = [8, 5, 5, 5]
STEPS = 2000
BATCH_SIZE = 128
REFERENCE_IMAGES = 128


def build_encoder() -> nn.Module:
    """Images [B, 1, 28, 28] in [0, 1] -> latents [B, 4, 7, 7]."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.GroupNorm(4, 32),  # without a norm most latents start at the zero code and stay there
        nn.SiLU(),
        nn.Conv2d(32, len(LEVELS), 1),
    )


def build_decoder() -> nn.Module:
    """Codes [B, 4, 7, 7] -> images [B, 1, 28, 28] in [0, 1]."""
    return nn.Sequential(
        nn.Conv2d(len(LEVELS), 32, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.SiLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(32, 16, 3, padding=1),
        nn.SiLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(16, 1, 3, padding=1),
    )


def to_floats(images: np.ndarray) -> torch.Tensor:
    """uint8 [B, 28, 28] -> float32 [B, 1, 28, 28] in [0, 1]."""
    return torch.from_numpy(images[:, None].astype(np.float32) / 255)


def train(encoder: nn.Module, quantizer: nn.Module, decoder: nn.Module, images: np.ndarray) -> None:
    """Minimizes the squared error with Adam and a cosine decay of the learning rate to zero."""
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    random = np.random.default_rng(0)
    for step in range(1, STEPS + 1):
        batch = to_floats(images[random.integers(0, len(images), BATCH_SIZE)])
        codes, _ = quantizer(encoder(batch))
        loss = nn.functional.mse_loss(decoder(codes), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            click.echo(f"step {step}, MSE / variance {loss.item() / batch.var().item():.4f}")


def export(model: nn.Module, example: torch.Tensor, path: Path, input_name: str) -> None:
    """Writes one ONNX file that takes any number of images."""
    torch.onnx.export(
        model,
        (example,),
        path,
        input_names=[input_name],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=18,
        dynamo=True,
        external_data=False,  # weights inside: `fsq import` takes a single file
    )
    # The exporter records the source files of each node.
    model_proto = onnx.load(path)
    graph = model_proto.graph
    for part in [model_proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model_proto, path)


@click.command(help=__doc__)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def main(directory: Path) -> None:
    """Trains, exports the two ONNX files and saves the reference batch."""
    torch.manual_seed(0)
    encoder, quantizer, decoder = build_encoder(), FSQ(LEVELS), build_decoder()
    train(encoder, quantizer, decoder, read_idx("train")[0])
    encoder.eval()
    decoder.eval()

    images = read_idx("t10k")[0][:REFERENCE_IMAGES]
    with torch.no_grad():
        codes, tokens = quantizer(encoder(to_floats(images)))
        error = nn.functional.mse_loss(decoder(codes).clamp(0, 1), to_floats(images)).item()
    click.echo(f"reference images: PSNR {-10 * np.log10(error):.2f} dB")

    directory.mkdir(parents=True, exist_ok=True)
    export(encoder, to_floats(images[:2]), directory / "encoder.onnx", "images")
    export(decoder, codes[:2], directory / "decoder.onnx", "codes")
    np.savez_compressed(
        directory / "reference.npz", images=images[..., None], tokens=tokens.numpy().astype("int32")
    )


if __name__ == "__main__":
    main()
