"""The saved tokenizer: both ways, save and load, errors."""

import copy
import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import keras
import numpy as np
import pytest

from fsq import FSQ
from fsq.dataset import token_dataset
from fsq.errors import RequestError
from fsq.images.spec import ImageSpec
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE, TokenContract, TokenizerSpec
from fsq.spec.network_spec import ConvNetwork
from fsq.tokenizer import Tokenizer, load_codes
from tools.fork_server import start


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_directory: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_directory, batch_size=16)


def test_tokens_are_integers_in_range_on_the_grid(tokenizer: Tokenizer):
    tokens = tokenizer.encode(images(40))
    assert tokens.shape == (40, 4, 4)
    assert tokens.dtype == np.int32
    assert tokens.min() >= 0 and tokens.max() < 60


def test_tokens_depend_neither_on_neighbours_nor_on_padding(tokenizer: Tokenizer):
    batch = images(37)
    together = tokenizer.encode(batch)
    alone = np.concatenate([tokenizer.encode(batch[i : i + 1]) for i in range(len(batch))])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(tokenizer.encode(batch[::-1])[::-1], together)


def test_a_saved_tokenizer_gives_the_same_tokens_images_and_bytes(
    tokenizer: Tokenizer, tokenizer_directory: Path, tmp_path: Path
):
    tokenizer.save(tmp_path)
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        assert (tmp_path / name).read_bytes() == (tokenizer_directory / name).read_bytes()
    loaded = Tokenizer.load(tmp_path, batch_size=16)
    tokens = tokenizer.encode(images(5))
    np.testing.assert_array_equal(loaded.encode(images(5)), tokens)
    np.testing.assert_array_equal(loaded.decode(tokens), tokenizer.decode(tokens))
    assert loaded.fingerprint == tokenizer.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONTRACT_FILE, WEIGHTS_FILE]


COPIES: dict[str, Callable[[Tokenizer], Tokenizer]] = {
    "pickle": lambda tokenizer: pickle.loads(pickle.dumps(tokenizer)),
    "cloudpickle": lambda tokenizer: pickle.loads(cloudpickle.dumps(tokenizer)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_before_and_after_use_gives_the_same_tokens(tokenizer_directory: Path, way: str):
    original = Tokenizer.load(tokenizer_directory, batch_size=16)
    before = COPIES[way](original)
    tokens = original.encode(images(20))
    original.use_runtime("xla")
    after = COPIES[way](original)
    for made, runtime in ((before, "tensorflow"), (after, "xla")):
        assert (made._runtime_name, made.batch_size) == (runtime, 16)
        assert made.fingerprint == original.fingerprint
        np.testing.assert_array_equal(made.encode(images(20)), tokens)
        np.testing.assert_array_equal(made.decode(tokens), original.decode(tokens))


def test_a_tokenizer_is_sent_to_a_process_that_was_not_forked_from_this_one(
    tokenizer: Tokenizer, tokenizer_directory: Path, tmp_path: Path
):
    tokenizer.encode(images(3))
    child = start(Tokenizer.save, self=tokenizer, directory=str(tmp_path))
    assert child.wait() == 0
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        assert (tmp_path / name).read_bytes() == (tokenizer_directory / name).read_bytes()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_is_refused_before_it_hangs(
    tokenizer: Tokenizer, tokenizer_directory: Path
):
    tokens = tokenizer.encode(images(3))
    for use in (
        lambda: tokenizer.encode(images(3)),
        lambda: tokenizer.decode(tokens),
        lambda: Tokenizer.load(tokenizer_directory),
        lambda: tokenizer.use_runtime("xla"),
        lambda: token_dataset("nothing", split="train", batch_size=1),
    ):
        message = message_of_fork(use)
        assert ": expected a process of its own, got one forked from a process in which" in message
        assert "DataLoader(..., multiprocessing_context='spawn')" in message


def message_of_fork(use: Callable[[], object]) -> str:
    source, target = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends it if it hangs
        message = "no error"
        try:
            use()
        except RequestError as error:
            message = str(error)
        finally:
            os.write(target, message.encode())
            os._exit(0)
    os.close(target)
    with open(source) as file:
        message = file.read()
    os.waitpid(child, 0)
    return message


def test_decoding_gives_uint8_images(tokenizer: Tokenizer):
    decoded = tokenizer.decode(tokenizer.encode(images(3)))
    assert decoded.shape == (3, 16, 16, 3)
    assert decoded.dtype == np.uint8


def test_no_images_give_no_tokens_and_no_tokens_no_images(tokenizer: Tokenizer):
    assert tokenizer.encode(images(0)).shape == (0, 4, 4)
    assert tokenizer.decode(np.zeros((0, 4, 4), np.int32)).shape == (0, 16, 16, 3)


def test_a_nan_latent_is_refused_and_counted(tokenizer_directory: Path):
    broken = Tokenizer.load(tokenizer_directory, batch_size=16)
    weights = broken._autoencoder.weights()
    weights["encoder/latents/bias"][0] = np.nan
    broken._autoencoder.set_weights(weights)
    with pytest.raises(ValueError, match=r"got 32 of 32 NaN or infinite\."):
        broken.encode(images(2))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 16, 16, 3), np.float32), "expected uint8 [B, 16, 16, 3], got float32"),
        (np.zeros((2, 8, 16, 3), np.uint8), "got uint8 [2, 8, 16, 3]"),
        (np.zeros((16, 16, 3), np.uint8), "got uint8 [16, 16, 3]"),
    ],
)
def test_images_of_another_type_or_shape_are_refused(tokenizer: Tokenizer, bad, message: str):
    with pytest.raises(ValueError) as error:
        tokenizer.encode(bad)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((1, 4, 4), 60), "expected values in [0, 60), got 16 outside, the first is 60."),
        (np.full((1, 4, 4), -1), "the first is -1."),
        (np.zeros((1, 4, 4)), "expected integers, got float64"),
        (np.zeros((1, 16), int), "expected shape [B, 4, 4], got [1, 16]"),
    ],
)
def test_tokens_that_are_none_are_refused(tokenizer: Tokenizer, bad, message: str):
    with pytest.raises(ValueError) as error:
        tokenizer.decode(bad)
    assert message in str(error.value)


def test_a_missing_tokenizer_is_named(tmp_path: Path):
    with pytest.raises(RequestError) as error:
        Tokenizer.load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: expected a tokenizer, found no tokenizer.json that can be read. "
        "Train one with 'fsq train', or give another directory."
    )


def test_other_weights_than_the_contracts_are_refused(tokenizer_directory: Path, tmp_path: Path):
    shutil.copytree(tokenizer_directory, tmp_path, dirs_exist_ok=True)
    data = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(RequestError, match=r"expected weights with sha256 .* Copy both files"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vocab_size", 61, "vocab_size: expected 60, got 61"),
        ("preset", "tan", "preset: expected 'atanh', 'official', 'torch', 'symmetric' or 'ifsq', "),
        ("format_version", 2, "format_version: expected 1, got 2."),
        ("levles", [3], "levles: unknown key (did you mean 'levels'?)"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(
    tokenizer_directory: Path, tmp_path: Path, field: str, value: object, message: str
):
    shutil.copytree(tokenizer_directory, tmp_path, dirs_exist_ok=True)
    contract = json.loads((tmp_path / CONTRACT_FILE).read_text())
    (tmp_path / CONTRACT_FILE).write_text(json.dumps({**contract, field: value}))
    with pytest.raises(RequestError) as error:
        Tokenizer.load(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_persons_own_settings_of_keras_change_no_token(tokenizer_directory: Path):
    expected = Tokenizer.load(tokenizer_directory, batch_size=8).encode(images(8))
    before = keras.config.image_data_format(), keras.config.floatx()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    try:
        tokenizer = Tokenizer.load(tokenizer_directory, batch_size=8)
        np.testing.assert_array_equal(tokenizer.encode(images(8)), expected)
        assert tokenizer.decode(expected).shape == (8, 16, 16, 3)
    finally:
        keras.config.set_image_data_format(before[0])
        keras.config.set_floatx(before[1])


@pytest.mark.parametrize(
    ("levels", "preset"), [((3, 5, 4), "atanh"), ((8, 6, 5), "official"), ((2, 4, 3), "symmetric")]
)
def test_codes_without_the_networks_are_those_of_the_layer(tmp_path: Path, levels, preset: str):
    spec = TokenizerSpec(
        levels=levels,
        preset=preset,
        image=ImageSpec(size_pixels=8, channels=3),
        network=ConvNetwork(encoder_widths=(8,), decoder_widths=(8,)),
    )
    contract = TokenContract.of(spec, weights_sha256="0" * 64)
    (tmp_path / "tokenizer.json").write_text(contract.to_json())
    codes = load_codes(tmp_path)
    layer = FSQ(levels, preset=preset)
    np.testing.assert_array_equal(codes, layer.indices_to_codes(np.arange(len(codes))))
    assert (codes.dtype, codes.shape) == (np.float32, (contract.vocab_size, 3))


def test_codes_of_no_tokenizer_are_refused(tmp_path: Path):
    with pytest.raises(RequestError, match=r"expected a tokenizer, found no tokenizer\.json that"):
        load_codes(tmp_path)
