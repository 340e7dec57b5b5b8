"""The speed limit that decoding and encoding set: python -m benchmarks.limit WORKLOAD

- decode: images in memory to pixels, one process per core;
- encode: batches in memory to tokens, on all cores, in each runtime that is installed; the
  fastest counts.

Both share the cores, so the limit is 1 / (1 / decode + 1 / encode).
"""

import argparse
import itertools
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from fsq.cores import count_cores

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.datasets import prepare
from benchmarks.workloads import WORKLOADS, Workload
from fsq.images.decode import decode_image
from fsq.images.resampling import fit_image
from fsq.images.spec import ImageSpec
from fsq.runtimes.registry import RUNTIMES

CORES = count_cores()
# Images to measure; more would repeat themselves.
MOST_IMAGES = 15_360


def limit_of(decode: float, encode: float) -> float:
    """Returns the speed of doing both on the same cores, from the speed of each alone.

    >>> limit_of(decode=300.0, encode=600.0)
    200.0
    """
    return 1 / (1 / decode + 1 / encode)


def decode_speed(pool: ProcessPoolExecutor, images: list[bytes], spec: ImageSpec) -> float:
    """Returns the images/s of decoding on all cores, without the transport between processes."""
    slices = [images[i::CORES] for i in range(CORES)]
    return len(images) / max(pool.map(_decode_all, slices, [spec] * CORES))


def _decode_all(images: list[bytes], spec: ImageSpec) -> float:
    began = time.perf_counter()
    for data in images:
        decode(data, spec)
    return time.perf_counter() - began


def decode(data: bytes, spec: ImageSpec) -> np.ndarray:
    """Decodes one image by the image contract, uint8 [S, S, C]."""
    pixels = decode_image(data, spec.channels)
    return fit_image(pixels, spec)


def encode_speeds(
    workload: Workload, batches: list[np.ndarray], seconds: float
) -> dict[str, float]:
    """Returns the images/s of each runtime on all cores, measured for `seconds` each."""
    from fsq.tokenizer import Tokenizer

    tokenizers = {}
    network = workload.contract.network.kind
    for name, kind in RUNTIMES.items():
        if network not in kind.networks or not kind.is_installed():
            continue
        tokenizers[name] = Tokenizer.load(workload.tokenizer, batch_size=workload.batch_size)
        tokenizers[name].use_runtime(name)
    found = {}
    # As many concurrent calls as cores: a small graph alone does not use all of them.
    with ThreadPoolExecutor(CORES) as threads:
        for name, tokenizer in tokenizers.items():
            list(threads.map(tokenizer.encode_batch, batches[:CORES]))
            queue, count = itertools.cycle(batches), 0
            began = time.perf_counter()
            while time.perf_counter() - began < seconds:
                some = list(itertools.islice(queue, 4 * CORES))
                count += sum(len(tokens) for tokens in threads.map(tokenizer.encode_batch, some))
            found[name] = count / (time.perf_counter() - began)
    return found


def main() -> None:
    """Measures one workload and prints its limit as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--images", type=int, help="take the first N images; default: all")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each runtime")
    arguments = parser.parse_args()
    workload = WORKLOADS[arguments.workload]
    dataset = prepare(workload, arguments.images or workload.images)
    images = [path.read_bytes() for path in dataset.paths[:MOST_IMAGES]]
    spec = workload.contract.image
    # Forked before TensorFlow starts its threads.
    with ProcessPoolExecutor(CORES, multiprocessing.get_context("fork")) as pool:
        decode_speed(pool, images[: 8 * CORES], spec)
        decoding = decode_speed(pool, images, spec)
    pixels = np.stack([decode(data, spec) for data in images])
    size = workload.batch_size
    batches = [pixels[i : i + size] for i in range(0, max(1, len(pixels) - size + 1), size)]
    encoding = encode_speeds(workload, batches, arguments.seconds)

    from benchmarks.machine import encoder_flops, matrix_gflops
    from benchmarks.peers.model import load_autoencoder

    best = max(encoding, key=lambda name: encoding[name])
    flops = encoder_flops(load_autoencoder(workload).encoder)
    report = {
        "decode": decoding,
        "encode": encoding,
        "runtime": best,
        "limit": limit_of(decoding, encoding[best]),
        "encoder_gflop": flops / 1e9,
        "encoder_gflops": flops * encoding[best] / 1e9,
        "matrix_gflops": matrix_gflops(min(2.0, arguments.seconds)),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
