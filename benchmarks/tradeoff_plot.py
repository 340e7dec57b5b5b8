"""Plots reconstruction error and codebook usage over codebook size."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

STYLES = {
    "FSQ": {"color": "#0b6e99", "marker": "o"},
    "VQ": {"color": "#c4622d", "marker": "s", "linestyle": "--"},
}


def draw_tradeoff(results: list[dict[str, Any]], path: Path) -> None:
    """Draws the results of `benchmarks.tradeoff` as a PNG of 1600 x 640 pixels."""
    figure, (error, usage) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, style in STYLES.items():
        rows = sorted((r for r in results if r["quantizer"] == name), key=lambda row: row["bits"])
        bits = [row["bits"] for row in rows]
        error.plot(bits, [row["mse_over_variance"] for row in rows], label=name, **style)
        usage.plot(bits, [row["usage"]["usage"] for row in rows], label=name, **style)
    error.set_ylabel("MSE / data variance")
    error.set_ylim(bottom=0)
    usage.set_ylabel("codes used on held-out images")
    usage.set_ylim(0, 1.05)
    usage.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (error, usage):
        axes.set_xlabel("codebook size")
        axes.set_xticks(sorted({row["bits"] for row in results}))
        axes.xaxis.set_major_formatter(lambda bits, _: f"$2^{{{bits:.0f}}}$")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    plt.close(figure)
