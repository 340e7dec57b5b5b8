"""Training: the error falls, an interrupted run ends like an undisturbed one."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from fsq.errors import DataError, RequestError
from fsq.evaluation import evaluate
from fsq.images.spec import ImageSpec
from fsq.models.autoencoder import Autoencoder, build_autoencoder
from fsq.quantizer.vq_layer import VQ
from fsq.spec.contract import TokenizerSpec
from fsq.spec.network_spec import ConvNetwork
from fsq.tokenizer import Tokenizer
from fsq.training.config import TrainingSpec
from fsq.training.data import ImagesInMemory
from fsq.training.interruption import SIGNALS, held_interrupts
from fsq.training.loop import Progress, train
from fsq.training.run_guard import check_run, describe_run, find_checkpoints, guard_run
from fsq.training.tensorboard import open_tensorboard

pytestmark = pytest.mark.slow

SPEC = TokenizerSpec(
    levels=(5, 5, 5),
    image=ImageSpec(size_pixels=16, channels=1),
    network=ConvNetwork(encoder_widths=(16, 16), decoder_widths=(16, 16), decoder_blocks=1),
)
TRAINING = TrainingSpec(
    epochs=6, batch_size=32, learning_rate=3e-3, warmup_steps=5, checkpoint_steps=10
)


def blobs(count: int, seed: int = 0) -> np.ndarray:
    """Bright squares on dark ground: something an autoencoder can learn in seconds."""
    random = np.random.default_rng(seed)
    images = np.full((count, 16, 16, 1), 20, np.uint8)
    for image in images:
        top, left = random.integers(0, 10, 2)
        image[top : top + 6, left : left + 6] = 220
    return images


def trained(
    directory: Path,
    images: np.ndarray,
    progress: Progress = lambda step, steps, losses: None,
    **changes: object,
) -> Autoencoder:
    training = TrainingSpec(**{**TRAINING.model_dump(), **changes})
    autoencoder = build_autoencoder(SPEC, seed=training.seed, precision=training.precision)
    train(autoencoder, training, ImagesInMemory(images, flip=training.flip), directory, progress)
    return autoencoder


class InterruptedRun(Exception):
    pass


def stop_after(steps: int) -> Progress:
    def progress(step: int, total: int, losses: dict[str, float]) -> None:
        if step >= steps:
            raise InterruptedRun

    return progress


def assert_same_weights(one: Autoencoder, other: Autoencoder) -> None:
    for name, value in one.weights().items():
        np.testing.assert_array_equal(other.weights()[name], value, err_msg=name)


@pytest.fixture(scope="module")
def feature_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A user's own feature model with two outputs."""
    import keras

    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((16, 16, 1))
    features = []
    for width in (4, 8):
        x = keras.layers.Conv2D(width, 3, strides=2, activation="relu")(x)
        features.append(x)
    path = str(tmp_path_factory.mktemp("features") / "features.keras")
    keras.Model(inputs, features).save(path)
    return path


RECIPES = {
    "plain": {},
    "ema and flips": {"ema": 0.9, "flip": True},
    "adversarial": {"adversarial": {"widths": [8, 16], "start_step": 10}},
    "l1 and perceptual": {"loss": "l1", "perceptual": {"model": "", "weight": 0.5}},
    "mixed_bfloat16": {"precision": "mixed_bfloat16"},
    "mixed_float16": {"precision": "mixed_float16", "ema": 0.9},
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES.keys())
def test_an_interrupted_run_ends_in_the_weights_of_an_undisturbed_one(
    tmp_path: Path, changes: dict, feature_model: str
):
    if "perceptual" in changes:
        changes = {**changes, "perceptual": {**changes["perceptual"], "model": feature_model}}
    losses = []
    undisturbed = trained(
        tmp_path / "one", blobs(256), lambda step, _, found: losses.append(found), **changes
    )
    with pytest.raises(InterruptedRun):
        trained(tmp_path / "two", blobs(256), stop_after(30), **changes)
    seen: list[int] = []
    resumed = trained(tmp_path / "two", blobs(256), lambda step, *_: seen.append(step), **changes)
    assert seen == [30, 40, 48]  # from the checkpoint at step 20
    assert_same_weights(undisturbed, resumed)
    assert losses[-1]["loss"] < losses[0]["loss"]


@pytest.mark.parametrize(
    ("step", "number", "changes"),
    [(1, signal.SIGTERM, {}), (11, signal.SIGINT, {"ema": 0.9, "checkpoint_steps": 500})],
)
def test_a_signal_saves_the_run_after_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, number: int, changes: dict
):
    handlers = [signal.getsignal(one) for one in SIGNALS]
    undisturbed = trained(tmp_path / "one", blobs(256), **changes)

    def interrupt(at: object = 10, *_: object) -> None:
        if step == 1 or at == 10:
            signal.raise_signal(number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as stop:
        if step == 1:
            patch.setattr("fsq.training.loop.check_first_step", interrupt)
        trained(tmp_path / "two", blobs(256), interrupt if step > 1 else lambda *_: None, **changes)
    assert str(stop.value) == f"step {step} of 48 is saved"
    assert list(find_checkpoints(tmp_path / "two")) == [step]
    assert [signal.getsignal(one) for one in SIGNALS] == handlers
    seen: list[int] = []
    resumed = trained(tmp_path / "two", blobs(256), lambda step, *_: seen.append(step), **changes)
    assert seen[0] == (10 if step == 1 else 20)
    assert_same_weights(undisturbed, resumed)


def test_the_second_signal_ends_a_run_at_once():
    with pytest.raises(KeyboardInterrupt), held_interrupts() as is_interrupted:
        assert not is_interrupted()
        signal.raise_signal(signal.SIGINT)
        assert is_interrupted()
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_quantizer_learns_in_the_place_of_fsq_and_resumes_exactly(tmp_path: Path):
    def run(directory: Path, progress: Progress) -> tuple[Autoencoder, VQ]:
        vq = VQ(32, 4)
        vq.build((None, 4, 4, 4))
        autoencoder = build_autoencoder(SPEC, seed=0, quantizer=vq)
        train(autoencoder, TRAINING, ImagesInMemory(blobs(256)), directory, progress)
        return autoencoder, vq

    losses = []
    undisturbed, codes = run(tmp_path / "one", lambda step, _, found: losses.append(found["loss"]))
    with pytest.raises(InterruptedRun):
        run(tmp_path / "two", stop_after(30))
    resumed, same_codes = run(tmp_path / "two", lambda *_: None)
    assert losses[-1] < losses[0] / 2
    assert_same_weights(undisturbed, resumed)
    np.testing.assert_array_equal(codes.codebook, same_codes.codebook)


def test_the_weights_that_are_kept_are_the_average(tmp_path: Path):
    last = trained(tmp_path / "one", blobs(256))
    average = trained(tmp_path / "two", blobs(256), ema=0.99)
    distances = [
        np.abs(value - average.weights()[name]).max() for name, value in last.weights().items()
    ]
    assert max(distances) > 1e-3


def test_the_average_of_a_short_run_is_as_good_as_its_weights(tmp_path: Path):
    """48 steps are far fewer than a momentum of .9999 averages over."""
    held_out = [blobs(100, seed=1)]
    last, average = (
        evaluate(Tokenizer.of(autoencoder, batch_size=32), held_out).mse_over_variance
        for autoencoder in (
            trained(tmp_path / "last", blobs(256)),
            trained(tmp_path / "average", blobs(256), ema=0.9999),
        )
    )
    assert last < 0.9
    assert average < 1.1 * last


def test_training_brings_the_error_down_and_uses_the_codebook(tmp_path: Path):
    autoencoder = trained(tmp_path, blobs(512), epochs=20)
    held_out = blobs(100, seed=1)
    evaluation = evaluate(Tokenizer.of(autoencoder, batch_size=32), [held_out[:60], held_out[60:]])
    assert evaluation.images == 100
    assert evaluation.mse_over_variance < 0.3
    assert evaluation.ssim > 0.6
    assert evaluation.usage.tokens == 100 * 16
    assert evaluation.usage.used > 5


def test_the_figures_of_a_perfect_reconstruction_and_of_the_mean_image():
    class Echo:
        """Stands for a tokenizer; the law is about the figures."""

        contract = type("Contract", (), {"vocab_size": 4, "levels": (2, 2)})

        def __init__(self, decoded: np.ndarray):
            self.decoded = decoded

        def encode(self, images: np.ndarray) -> np.ndarray:
            return np.arange(4).reshape(1, 2, 2)

        def decode(self, tokens: np.ndarray) -> np.ndarray:
            return self.decoded

    images = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    perfect = evaluate(Echo(images), [images])
    assert (perfect.mse_over_variance, perfect.ssim) == (0.0, 1.0)
    assert perfect.usage.perplexity == 4.0
    assert perfect.channel_bits == (1.0, 1.0)
    mean = np.full_like(images, round(images.mean()))
    assert evaluate(Echo(mean), [images]).mse_over_variance == pytest.approx(1, abs=1e-4)
    shifted = np.clip(images, 0, 245) + 10
    mse = ((shifted.astype(float) - images) ** 2).mean()
    assert evaluate(Echo(shifted), [images]).psnr_db == pytest.approx(10 * np.log10(255**2 / mse))


@pytest.mark.parametrize(("weight", "revived"), [(0.0, False), (0.01, True)])
def test_a_channel_that_strayed_comes_back_by_the_saturation_loss_alone(
    tmp_path: Path, weight: float, revived: bool
):
    autoencoder = build_autoencoder(SPEC, seed=0)
    latents = autoencoder.encoder.get_layer("latents")
    latents.bias.assign([4.5, 0.0, 0.0])
    training = TRAINING.model_copy(update={"epochs": 60, "saturation_weight": weight})
    train(autoencoder, training, ImagesInMemory(blobs(256)), tmp_path)
    evaluation = evaluate(Tokenizer.of(autoencoder, batch_size=32), [blobs(100, seed=1)])
    assert (evaluation.channel_bits[0] > 0.1) == revived


OTHERS = {  # of each field another value
    "epochs": 7,
    "batch_size": 64,
    "learning_rate": 0.1,
    "warmup_steps": 6,
    "clip_norm": 2.0,
    "loss": "l1",
    "perceptual": {"model": "features.keras"},
    "adversarial": {},
    "saturation_weight": 0.5,
    "ema": 0.9,
    "flip": True,
    "random_crop": 0.5,
    "precision": "mixed_bfloat16",
    "seed": 1,
}


def begun(directory: Path) -> Path:
    """A directory with the mark and a checkpoint of a run."""
    guard_run(directory, {**describe_run(SPEC, TRAINING), "images": "one", "replicas": 1})
    (directory / "ckpt-10.index").write_bytes(b"")
    return directory


@pytest.mark.parametrize("name", TrainingSpec.model_fields)
def test_what_changes_the_weights_is_refused_and_nothing_else(tmp_path: Path, name: str):
    directory = begun(tmp_path)
    if name == "checkpoint_steps":
        check_run(directory, describe_run(SPEC, TRAINING.model_copy(update={name: 7})))
        return
    other = TrainingSpec(**{**TRAINING.model_dump(), name: OTHERS[name]})
    before, after = (spec.model_dump(mode="json")[name] for spec in (TRAINING, other))
    with pytest.raises(RequestError) as error:
        check_run(directory, describe_run(SPEC, other))
    message = str(error.value)
    assert message.startswith(
        f"{directory}: expected checkpoints of this run, found those of another: training {name} "
    )
    if name not in ("perceptual", "adversarial"):
        assert f"was {'absent' if before is None else before}, is {after}. " in message


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("levels", {"levels": (5, 7, 5)}),
        ("preset", {"preset": "torch"}),
        ("eps", {"eps": 0.5}),
        ("image pixel_range", {"image": ImageSpec(size_pixels=16, channels=1, pixel_range=(0, 1))}),
        ("image resize", {"image": ImageSpec(size_pixels=16, channels=1, resize="lanczos")}),
    ],
)
def test_checkpoints_of_another_tokenizer_with_weights_of_the_same_shape_are_refused(
    tmp_path: Path, name: str, changes: dict
):
    assert all(getattr(SPEC, key) != value for key, value in changes.items())
    other = SPEC.model_copy(update=changes)
    with pytest.raises(RequestError, match=f"those of another: tokenizer {name} was .*, is .*"):
        check_run(begun(tmp_path), describe_run(other, TRAINING))


def test_checkpoints_of_other_images_are_refused(tmp_path: Path):
    trained(tmp_path, blobs(64), epochs=1)
    with pytest.raises(RequestError, match="found those of another: images was"):
        trained(tmp_path, blobs(64, seed=1), epochs=1)


def test_a_run_without_a_checkpoint_blocks_no_other(tmp_path: Path):
    with pytest.raises(InterruptedRun):
        trained(tmp_path / "run", blobs(256), stop_after(10), checkpoint_steps=500, seed=3)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]
    resumed = trained(tmp_path / "run", blobs(256))
    assert_same_weights(trained(tmp_path / "other", blobs(256)), resumed)


def test_a_feature_model_that_changed_is_noticed(tmp_path: Path, feature_model: str):
    import keras

    path = tmp_path / "features.keras"
    shutil.copy(feature_model, path)
    changes = {"perceptual": {"model": str(path)}}
    with pytest.raises(InterruptedRun):
        trained(tmp_path / "run", blobs(256), stop_after(20), **changes)
    moved = {"perceptual": {"model": str(shutil.copy(path, tmp_path / "moved.keras"))}}
    check_run(
        tmp_path / "run", describe_run(SPEC, TrainingSpec(**{**TRAINING.model_dump(), **moved}))
    )
    keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Conv2D(2, 3)]).save(path)
    with pytest.raises(RequestError, match="found those of another: feature_model was"):
        trained(tmp_path / "run", blobs(256), **changes)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path):
    undisturbed = trained(tmp_path / "one", blobs(256))
    with pytest.raises(InterruptedRun):
        trained(tmp_path / "two", blobs(256), stop_after(40))
    newest = tmp_path / "two" / "ckpt-30.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[:1000])
    seen: list[int] = []
    resumed = trained(tmp_path / "two", blobs(256), lambda step, *_: seen.append(step))
    assert seen == [30, 40, 48]
    assert_same_weights(undisturbed, resumed)


def test_damaged_checkpoints_are_refused_and_never_begun_anew_in_silence(tmp_path: Path):
    with pytest.raises(InterruptedRun):
        trained(tmp_path, blobs(256), stop_after(40))
    for path in tmp_path.glob("ckpt-*.data*"):
        path.write_bytes(b"")
    (tmp_path / "checkpoint").write_text("garbage")
    with pytest.raises(RequestError, match="that can be read, found 2 damaged"):
        trained(tmp_path, blobs(256))
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RequestError, match="expected the mark of a run, got a damaged file"):
        trained(tmp_path, blobs(256))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path):
    autoencoder = build_autoencoder(SPEC, seed=0)
    kernel = autoencoder.decoder.get_layer("images").kernel

    def poison(step: int, steps: int, losses: dict[str, float]) -> None:
        kernel.assign(kernel * float("nan"))

    with pytest.raises(DataError, match="step 20: expected a finite loss, got nan"):
        train(autoencoder, TRAINING, ImagesInMemory(blobs(256)), tmp_path, poison)


def test_the_figures_of_constant_images_are_no_numbers(tmp_path: Path):
    tokenizer = Tokenizer.of(build_autoencoder(SPEC, seed=0), batch_size=8)
    evaluation = evaluate(tokenizer, [np.full((8, 16, 16, 1), 7, np.uint8)])
    assert np.isnan(evaluation.mse_over_variance)


def test_fewer_images_than_a_batch_are_refused(tmp_path: Path):
    with pytest.raises(RequestError, match="expected at least one batch of 32 images, got 5"):
        trained(tmp_path, blobs(5))


def test_images_that_are_all_alike_are_refused(tmp_path: Path):
    with pytest.raises(RequestError, match="expected images that differ"):
        trained(tmp_path, np.full((64, 16, 16, 1), 7, np.uint8))


def test_the_init_check_refuses_latents_that_all_round_to_one_code(tmp_path: Path):
    autoencoder = build_autoencoder(SPEC, seed=0)
    latents = autoencoder.encoder.get_layer("latents")
    latents.kernel.assign(latents.kernel * 0.01)
    with pytest.raises(RequestError) as error:
        train(autoencoder, TRAINING, ImagesInMemory(blobs(64)), tmp_path)
    assert str(error.value).startswith(
        "training: init check: expected latents that spread over the codes, got 512 tokens of the "
        "first batch that are all 62 (latents' standard deviation 0.0"
    )
    assert "ten times as large" in str(error.value)
    assert not list(tmp_path.glob("ckpt*"))


def test_an_encoder_without_a_gradient_is_refused(tmp_path: Path):
    autoencoder = build_autoencoder(SPEC, seed=0)
    expand = autoencoder.decoder.get_layer("expand")
    expand.kernel.assign(expand.kernel * 0)
    training = TRAINING.model_copy(update={"saturation_weight": 0.0})
    with pytest.raises(RequestError, match="expected a gradient in the encoder, got a norm of 0"):
        train(autoencoder, training, ImagesInMemory(blobs(64)), tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.keras", "expected a .keras file, found none at missing.keras"),
        (__file__, "expected a Keras model of images"),
    ],
)
def test_a_feature_model_that_cannot_be_used_is_refused(tmp_path: Path, path: str, message: str):
    with pytest.raises(RequestError, match=message):
        trained(tmp_path, blobs(64), perceptual={"model": path})


def test_two_devices_learn_what_one_learns(tmp_path: Path, root: Path):
    """In processes of their own: the number of devices is fixed when TensorFlow starts."""
    code = """
import sys
import numpy as np, tensorflow as tf
devices, output = int(sys.argv[1]), sys.argv[2]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from fsq.spec.network_spec import ConvNetwork
from fsq.models.autoencoder import build_autoencoder
from fsq.training.data import ImagesInMemory
from fsq.spec.contract import TokenizerSpec
from fsq.images.spec import ImageSpec
from fsq.training.config import TrainingSpec
from fsq.training.loop import train
spec = TokenizerSpec(
    levels=(5, 5, 5),
    image=ImageSpec(size_pixels=16, channels=1),
    network=ConvNetwork(kind="conv", encoder_widths=(8, 8), decoder_widths=(8, 8)),
)
images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 1), np.uint8)
training = TrainingSpec(
    epochs=3, batch_size=16, ema=0.9, adversarial={"widths": [4]}, warmup_steps=0
)
losses = []
with tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(devices)]).scope():
    autoencoder = build_autoencoder(spec, seed=0)
    train(autoencoder, training, ImagesInMemory(images), output + "/checkpoints",
          lambda step, steps, found: losses.append(found["loss"]))
np.savez(output + "/weights.npz", losses=losses, **autoencoder.weights())
"""
    found = []
    for devices in ("1", "2"):
        directory = tmp_path / devices
        directory.mkdir()
        subprocess.run([sys.executable, "-c", code, devices, str(directory)], check=True, cwd=root)
        found.append(np.load(directory / "weights.npz"))
    assert found[0]["losses"].tolist() == pytest.approx(found[1]["losses"].tolist(), rel=1e-3)
    for name in found[0].files:
        # Adam divides by the size of a gradient, so the last bits of a sum grow.
        np.testing.assert_allclose(found[0][name], found[1][name], atol=2e-3, err_msg=name)


def test_tensorboard_in_a_place_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RequestError, match="expected a directory that can be written"):
        open_tensorboard(str(tmp_path / "file" / "logs"), build_autoencoder(SPEC, seed=0), blobs(2))


def test_tensorboard_gets_curves_pictures_and_usage(tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    training = TRAINING.model_copy(update={"epochs": 13})
    autoencoder = build_autoencoder(SPEC, seed=0)
    write_events = open_tensorboard(str(tmp_path / "logs"), autoencoder, blobs(16, seed=1))
    train(
        autoencoder,
        training,
        ImagesInMemory(blobs(256)),
        tmp_path / "checkpoints",
        lambda step, steps, losses: write_events(step, losses),
    )
    events = accumulator.EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0})
    events.Reload()

    def values(tag: str) -> list[float]:
        return [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]

    assert len(values("training/mse")) == 11
    assert values("training/mse")[-1] < values("training/mse")[0]
    (usage,), (perplexity,) = values("codes/usage"), values("codes/perplexity")
    (saturated,), (near,) = values("latents/saturated"), values("latents/near a boundary")
    assert 1 / 125 < usage <= 1
    assert 1 < perplexity <= 125
    assert 0 <= saturated <= 1
    assert 0 <= near < 0.1
    (picture,) = events.Tensors("originals above reconstructions")
    width, height, *encoded = picture.tensor_proto.string_val
    assert (int(width), int(height), len(encoded)) == (16, 32, 8)


def test_a_signal_after_the_last_question_ends_the_run_too():
    with pytest.raises(KeyboardInterrupt), held_interrupts() as is_interrupted:
        assert not is_interrupted()
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_interrupts() as is_interrupted:
            signal.raise_signal(signal.SIGINT)
            assert not is_interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
