"""The benchmark of FSQ beside VQ: its numbers are kept whole, its picture is drawn from them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.tradeoff import LEVELS, QUANTIZERS, Images, measure, print_table
from benchmarks.tradeoff_plot import draw_tradeoff
from fsq import levels_for
from fsq.training.config import TrainingSpec
from fsq.training.data import ImagesInMemory


def test_the_kept_numbers_cover_both_quantizers_at_every_size(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    results = json.loads((root / "benchmarks" / "tradeoff.json").read_text())["results"]
    assert {(result["quantizer"], result["bits"]) for result in results} == {
        (quantizer, bits) for quantizer in QUANTIZERS for bits in LEVELS
    }
    print_table(results)
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(results)
    draw_tradeoff(results, tmp_path / "tradeoff.png")
    assert Image.open(tmp_path / "tradeoff.png").size == (1600, 640)


def test_the_sizes_are_those_of_the_paper():
    assert {bits: levels_for(2**bits) for bits in LEVELS} == LEVELS


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_quantizer_is_trained_and_measured(quantizer: str):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    images = Images(ImagesInMemory(pixels), [pixels[:8]])
    result = measure(quantizer, 6, TrainingSpec(epochs=1, batch_size=32), images)
    assert (result["quantizer"], result["bits"], result["codebook_size"]) == (quantizer, 6, 64)
    assert result["usage"]["tokens"] == 8 * 8 * 8
    assert 0 < result["mse_over_variance"] < 5
