"""Evaluates the samples of a prior with a classifier trained on real images.

    python -m examples.prior.evaluate out/prior_fashion_mnist --output out/prior_fashion_mnist

writes evaluation.json and evaluation.md: the share of conditional samples that the
classifier assigns to the requested class, and the Frechet distance, in the classifier's
features, from test images to samples, to reconstructions and to real training images. All
sets are equally large. Real images are read from the sources of the datasets.
"""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from examples.prior.command import run
from examples.prior.data import open_held_out
from examples.prior.images import LabelledImages, read_images
from fsq.dataset.open_dataset import OpenedDataset, open_dataset
from fsq.errors import RequestError
from fsq.terminal.console import PATH, quiet_start
from fsq.terminal.streams import beside_the_result

if TYPE_CHECKING:
    from examples.prior.saved import SavedPrior

JSON_FILE = "evaluation.json"
REPORT_FILE = "evaluation.md"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The figures of an evaluation.

    Attributes:
      mode: The mode that was sampled.
      sampling: The sampling options.
      classifier_accuracy: Accuracy of the classifier on real test images.
      named_as_asked: Share of the samples that it assigns to the requested class.
      reconstructions_named: Share of the reconstructed test images that it assigns to their class.
      images: Images in each set below.
      frechet_samples: Distance of samples to test images.
      frechet_reconstructions: Distance of encoded and decoded test images to test images.
      frechet_training: Distance of real training images to test images.
    """

    mode: str
    sampling: dict[str, Any]
    classifier_accuracy: float
    named_as_asked: float
    reconstructions_named: float
    images: int
    frechet_samples: float
    frechet_reconstructions: float
    frechet_training: float


@click.command("evaluate")
@click.argument("directory", type=PATH, metavar="CHECKPOINT_DIR")
@click.option("--output", type=PATH, metavar="DIR", help="Default: CHECKPOINT_DIR.")
@click.option("--count", type=click.IntRange(min=2), default=10_000, show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--guidance", type=click.FloatRange(min=0))
@click.option("--top-k", type=click.IntRange(min=0))
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True))
@click.option("--steps", type=click.IntRange(min=1), help="Steps of --masked.")
@click.option("--masked", is_flag=True, help="Sample in mode 'masked'.")
def main(
    directory: str,
    output: str | None,
    count: int,
    epochs: int,
    masked: bool,
    **chosen: float | int | None,
) -> None:
    """Evaluate the prior in CHECKPOINT_DIR with at most COUNT samples."""
    given = {name: value for name, value in chosen.items() if value is not None}
    folder = Path(output or directory)
    if output:
        folder.mkdir(parents=True, exist_ok=True)
    found = evaluate(directory, count=count, epochs=epochs, masked=masked, chosen=given)
    (folder / JSON_FILE).write_text(json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    text = render_report(found, directory)
    (folder / REPORT_FILE).write_text(text)
    with beside_the_result():
        click.echo(text, nl=False)


def evaluate(
    directory: str, *, count: int, epochs: int, masked: bool, chosen: dict[str, Any]
) -> Evaluation:
    """Trains the classifier, samples from the prior and compares the sets of images.

    Args:
      directory: The output of a training run.
      count: Largest number of images in each set; all sets are as large as the smallest.
      epochs: Epochs of the classifier.
      masked: Sample in mode 'masked'.
      chosen: Sampling options that replace those of the config.

    Raises:
      RequestError: The prior has no classes, or a dataset or its source is missing.
    """
    with quiet_start():
        import tensorflow as _  # noqa: F401
    from examples.prior.classifier import Classifier, train_classifier
    from examples.prior.frechet import frechet_distance
    from examples.prior.sampling import Sampler
    from examples.prior.saved import open_saved
    from examples.prior.sheet import first_tokens
    from fsq.tokenizer import Tokenizer
    from fsq.training.devices import devices_of_training

    saved = open_saved(directory)
    mode, classes = saved.choose_mode(masked=masked), saved.vocabulary.classes
    held_out = check_run(saved)
    sampling = saved.sampling_options(chosen)
    tokenizer = Tokenizer.load(directory)
    test = read_images(held_out.directory, tokenizer.contract, held_out.split)
    training = read_images(saved.config.dataset, tokenizer.contract, saved.config.split)
    size = set_size(count, classes, test, training)
    some_test, some_training = choose_images(test, size), choose_images(training, size)
    with devices_of_training():
        classifier = Classifier(
            train_classifier(training.pixels, training.labels, classes, epochs=epochs)
        )
        tokens = Sampler(saved.load_network()).sample(
            first_tokens(saved.vocabulary, size // classes), sampling, mode
        )
        reconstructions = tokenizer.decode(tokenizer.encode(test.pixels[some_test]))
        of_test = classifier.predict(test.pixels)
        of_samples = classifier.predict(tokenizer.decode(tokens))
        of_reconstructions = classifier.predict(reconstructions)
        of_training = classifier.predict(training.pixels[some_training])
    asked = np.repeat(np.arange(classes), size // classes)
    reference = of_test.features[some_test]
    return Evaluation(
        mode=mode,
        sampling=sampling.model_dump(exclude={"per_class"}),
        classifier_accuracy=float((of_test.classes == test.labels).mean()),
        named_as_asked=float((of_samples.classes == asked).mean()),
        reconstructions_named=float((of_reconstructions.classes == test.labels[some_test]).mean()),
        images=size,
        frechet_samples=frechet_distance(of_samples.features, reference),
        frechet_reconstructions=frechet_distance(of_reconstructions.features, reference),
        frechet_training=frechet_distance(of_training.features, reference),
    )


def check_run(saved: "SavedPrior") -> OpenedDataset:
    """Checks that a prior can be evaluated; returns its held-out dataset.

    Raises:
      RequestError: It has no classes or no held-out dataset, or a dataset is not the one
        that it was trained with.
    """
    config = saved.config
    if not saved.vocabulary.classes or not isinstance(config.held_out, str):
        raise RequestError(
            f"{saved.directory}: expected a prior with classes and held-out images in a dataset or "
            "a split of their own, found another. Train one with 'held_out: DIR' or 'held_out: "
            "SPLIT', and 'classes: true'."
        )
    opened = {
        "dataset": open_dataset(config.dataset, config.split),
        "held_out": open_held_out(config.dataset, config.held_out),
    }
    for name, dataset in opened.items():
        if dataset.identity != saved.description.datasets[name]:
            raise RequestError(
                f"{dataset.directory}: expected the dataset that the prior was trained with, "
                "found another. Restore it, or train another prior."
            )
    return opened["held_out"]


def set_size(count: int, classes: int, test: LabelledImages, training: LabelledImages) -> int:
    """Returns the size of the sets to compare: at most `count`, and a multiple of `classes`.

    Raises:
      RequestError: There are too few images for one of each class.
    """
    size = min(count, len(test.pixels), len(training.pixels)) // classes * classes
    if size < 2:
        raise RequestError(
            f"--count: expected at least one image for each of {classes} classes, got {count} "
            f"with {len(test.pixels)} held-out and {len(training.pixels)} training images. Raise "
            "--count, or use larger datasets."
        )
    return size


def choose_images(images: LabelledImages, size: int) -> np.ndarray:
    """Chooses images at random, always the same ones; a source may be ordered by class."""
    return np.random.default_rng(0).permutation(len(images.pixels))[:size]


def render_report(found: Evaluation, directory: str) -> str:
    """Renders an evaluation as Markdown."""
    shown = [name for name in found.sampling if name != "steps" or found.mode == "masked"]
    sampling = ", ".join(f"{name} {found.sampling[name]:g}" for name in shown)
    rows = [
        ("Sampling", f"mode `{found.mode}`: {sampling}"),
        ("Classifier's accuracy on test images", f"{found.classifier_accuracy:.1%}"),
        ("Reconstructions classified as their class", f"{found.reconstructions_named:.1%}"),
        ("Samples classified as the requested class", f"{found.named_as_asked:.1%}"),
        ("Images in each set", f"{found.images:,}"),
        ("Frechet distance to test images, of samples", f"{found.frechet_samples:.3f}"),
        ("of reconstructions", f"{found.frechet_reconstructions:.3f}"),
        ("of real training images", f"{found.frechet_training:.3f}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# {Path(directory).name}, evaluated by a classifier\n\n"
        "The classifier was trained on the real training images. Distances are in its features:\n"
        "compare them with each other, not with those of other classifiers.\n\n"
        f"| | |\n|---|---|\n{table}\n"
    )


if __name__ == "__main__":
    run(main)
