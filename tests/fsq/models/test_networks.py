"""Laws of every encoder and decoder of the family."""

import keras
import numpy as np
import pydantic
import pytest

from fsq.images.spec import ImageSpec
from fsq.models.autoencoder import build_autoencoder
from fsq.models.networks import build_decoder, build_encoder
from fsq.spec.contract import TokenizerSpec
from fsq.spec.network_spec import ConvNetwork, NetworkSpec, ResidualNetwork
from fsq.tokenizer import Tokenizer

pytestmark = pytest.mark.slow


def family(stages: int) -> dict[str, NetworkSpec]:
    """The three sizes, and both norms, for a downsampling of 2^stages."""
    widths = (8,) * (stages + 1)
    return {
        "conv": ConvNetwork(encoder_widths=widths[1:], decoder_widths=widths[1:], encoder_blocks=1),
        "residual": ResidualNetwork(kind="residual", widths=widths, blocks=1, groups=4),
        "attention": ResidualNetwork(
            kind="residual", widths=widths, blocks=1, groups=4, attention=True
        ),
        "layer norm": ResidualNetwork(
            kind="residual", widths=widths, blocks=1, norm="layer", attention=True
        ),
    }


CASES = [(name, stages) for stages in (2, 3, 4) for name in family(stages)]


@pytest.mark.parametrize(("name", "stages"), CASES)
@pytest.mark.parametrize("image_channels", [1, 3, 5])
def test_latents_are_a_grid_and_images_come_back_in_their_shape(
    name: str, stages: int, image_channels: int
):
    spec = family(stages)[name]
    assert spec.downsampling == 2**stages
    side = 3 * spec.downsampling  # no power of two
    encoder = build_encoder(spec, (side, side, image_channels), 4)
    decoder = build_decoder(spec, (3, 3), 4, image_channels)
    assert encoder.output_shape == (None, 3, 3, 4)
    assert decoder.output_shape == (None, side, side, image_channels)


@pytest.mark.parametrize("name", family(2))
def test_tokens_do_not_depend_on_the_other_images_of_the_batch(name: str):
    spec = TokenizerSpec(
        levels=(8, 5, 5, 5), image=ImageSpec(size_pixels=16, channels=3), network=family(2)[name]
    )
    tokenizer = Tokenizer.of(build_autoencoder(spec, seed=0), batch_size=8)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 16, 16, 3), np.uint8)
    tokens = tokenizer.encode(images)
    assert len(np.unique(tokens)) > 20
    for number, image in enumerate(images):
        others = random.integers(0, 256, (8, 16, 16, 3), np.uint8)
        others[number] = image
        np.testing.assert_array_equal(tokenizer.encode(others)[number], tokens[number])


@pytest.mark.parametrize("name", family(2))
def test_a_fresh_encoder_spreads_its_latents_over_the_codes(name: str):
    spec = TokenizerSpec(
        levels=(8, 5, 5, 5), image=ImageSpec(size_pixels=32, channels=3), network=family(2)[name]
    )
    tokenizer = Tokenizer.of(build_autoencoder(spec, seed=1), batch_size=16)
    smooth = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3), np.uint8)
    images = np.kron(smooth, np.ones((1, 8, 8, 1), np.uint8))
    assert len(np.unique(tokenizer.encode(images))) > 30


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", family(2))
def test_latents_and_images_are_float32_under_mixed_precision(name: str, precision: str):
    spec = TokenizerSpec(
        levels=(8, 5, 5, 5), image=ImageSpec(size_pixels=16, channels=3), network=family(2)[name]
    )
    autoencoder = build_autoencoder(spec, seed=0, precision=precision)
    assert keras.config.dtype_policy().name == "float32"
    assert autoencoder.encoder.layers[1].compute_dtype == precision.removeprefix("mixed_")
    images = np.zeros((2, 16, 16, 3), np.float32)
    latents = autoencoder.encoder(images)
    assert latents.dtype == "float32"
    assert autoencoder.decoder(autoencoder.quantizer(latents)).dtype == "float32"


def test_the_same_seed_gives_the_same_weights():
    spec = TokenizerSpec(
        levels=(5, 5, 5), image=ImageSpec(size_pixels=16, channels=1), network=family(2)["conv"]
    )
    one, two, other = (build_autoencoder(spec, seed=seed).weights() for seed in (0, 0, 1))
    assert all((two[name] == value).all() for name, value in one.items())
    assert any((other[name] != value).any() for name, value in one.items())


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(pydantic.ValidationError, match="widths divisible by groups, 8, got 12"):
        ResidualNetwork(kind="residual", widths=(8, 12))
