"""A loop over a PyTorch DataLoader that writes a .npy file per image, as LlamaGen's extract_codes.

The weights are those of the Keras encoder. The DataLoader has one worker process per core.
"""

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers.job import CORES, PeerJob, run_peer
from benchmarks.peers.pixels import fit_pixels
from fsq.quantizer import lattice, presets
from fsq.spec.contract import TokenContract
from fsq.spec.network_spec import ConvNetwork


class ImageFiles(Dataset):
    """Number and pixels, uint8 [C, S, S], of every file."""

    def __init__(self, job: PeerJob):
        image = job.workload.contract.image
        self.paths = [str(path) for path in job.dataset.paths]
        self.size, self.channels = image.height, image.channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int):
        with Image.open(self.paths[number]) as file:
            pixels = fit_pixels(file.convert("L" if self.channels == 1 else "RGB"), self.size)
        pixels = pixels.reshape(self.size, self.size, self.channels)
        return number, torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


class Encoder(nn.Module):
    """Encoder and quantizer: uint8 [B, C, S, S] -> tokens [B, rows, columns]."""

    def __init__(self, contract: TokenContract, weights: dict[str, np.ndarray]):
        super().__init__()
        network = contract.network
        assert isinstance(network, ConvNetwork), network
        self.downs = nn.ModuleList(
            # Over an even side, TensorFlow's 'same' pads one pixel all around here.
            _convolution(weights, f"down_{stage}", stride=2, padding=1)
            for stage in range(len(network.encoder_widths))
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    _convolution(weights, f"block_{block}_conv_0", padding=1),
                    _convolution(weights, f"block_{block}_conv_1"),
                ]
            )
            for block in range(network.encoder_blocks)
        )
        self.norm = nn.LayerNorm(network.encoder_widths[-1], eps=1e-3)
        self.norm.weight.data = torch.from_numpy(weights["encoder/norm/gamma"])
        self.norm.bias.data = torch.from_numpy(weights["encoder/norm/beta"])
        self.latents = _convolution(weights, "latents")
        self.range = contract.image.pixel_range
        constants = presets.bound_constants(
            contract.levels, contract.preset, contract.eps, dtype="float32"
        )
        self.gain = constants.gain
        self.shift, self.half_width, self.offset, self.lowest = (
            torch.tensor(np.asarray(value, np.float32))
            for value in (constants.shift, constants.half, constants.offset, constants.lowest)
        )
        self.basis = torch.tensor(lattice.basis(contract.levels))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Encodes uint8 images [B, C, S, S] to tokens [B, rows, columns]."""
        low, high = self.range
        x = images.float() * ((high - low) / 255) + low
        for down in self.downs:
            x = functional.relu(down(x))
        for first, second in self.blocks:
            x = x + second(functional.relu(first(functional.relu(x))))
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        z = self.latents(x).permute(0, 2, 3, 1)
        bounded = torch.tanh(z * self.gain + self.shift) * self.half_width - self.offset
        return ((torch.round(bounded) - self.lowest).long() * self.basis).sum(-1)


def _convolution(
    weights: dict[str, np.ndarray], name: str, *, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    kernel = weights[f"encoder/{name}/kernel"].transpose(3, 2, 0, 1).copy()
    outputs, inputs, height, width = kernel.shape
    layer = nn.Conv2d(inputs, outputs, (height, width), stride=stride, padding=padding)
    layer.weight.data = torch.from_numpy(kernel)
    layer.bias.data = torch.from_numpy(weights[f"encoder/{name}/bias"])
    return layer


def run(job: PeerJob) -> None:
    """Decodes with a DataLoader and encodes in PyTorch."""
    import safetensors.numpy

    weights = safetensors.numpy.load_file(job.workload.tokenizer / "tokenizer.safetensors")
    encoder = Encoder(job.workload.contract, weights).eval()
    loader = DataLoader(
        ImageFiles(job), batch_size=job.workload.batch_size, shuffle=False, num_workers=CORES
    )
    with torch.inference_mode():
        for numbers, images in loader:
            tokens = encoder(images).reshape(len(images), -1).numpy()
            for number, row in zip(numbers.tolist(), tokens, strict=True):
                np.save(job.output / f"{number:06d}.npy", row[None])


if __name__ == "__main__":
    run_peer(run)
