"""The machine: its description, its speed in matrix products, and an encoder's FLOP count."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from fsq.cores import count_cores
from pipeline.core.hardware import machine_kind

SIDE = 2048
PACKAGES = ("tensorflow", "openvino", "apache-beam", "torch", "daft", "ray")


def describe_machine() -> dict[str, Any]:
    """Returns processor, cores, memory, and the versions of the packages compared."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "kind": machine_kind(),
        "cores": count_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def matrix_gflops(seconds: float) -> float:
    """Returns the GFLOP/s of float32 matrix products of 2,048 x 2,048 on all cores.

    The faster of TensorFlow and NumPy, each measured for `seconds`.
    """
    import numpy as np
    import tensorflow as tf

    matrix = np.random.default_rng(1).standard_normal((SIDE, SIDE), np.float32)
    tensor = tf.constant(matrix)
    best = 0.0
    for product in (lambda: matrix @ matrix, lambda: tf.matmul(tensor, tensor).numpy()):
        product()
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            product()
            count += 1
        best = max(best, 2 * SIDE**3 * count / (time.perf_counter() - began) / 1e9)
    return best


def encoder_flops(encoder: Any) -> int:
    """Counts the floating-point operations of a Keras encoder for one image.

    Counted are the multiplications and additions of its convolutions; normalisation and
    activations are not.
    """
    total = 0
    for layer in encoder.layers:
        if type(layer).__name__ == "Conv2D":
            height, width, inputs, outputs = layer.kernel.shape
            _, rows, columns, _ = layer.output.shape
            total += 2 * rows * columns * height * width * inputs * outputs
    return total
