"""Judges a prior by what a classifier, trained on real images, sees in its samples.

    python -m examples.prior.evaluate out/prior_fashion_mnist --output out/prior_fashion_mnist

writes evaluation.json and evaluation.md: how many conditional samples are taken for
the class that was asked for, and the Frechet distance in the classifier's features
from test images to samples, to reconstructions and to real training images, all sets
equally large. The images are those of the datasets' own sources.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from examples.prior.command import run
from examples.prior.config import Taste
from fsq.dataset.open_dataset import open_dataset
from fsq.errors import RequestError
from fsq.terminal.console import quiet_start
from fsq.validation import parse

JSON_FILE = "evaluation.json"
REPORT_FILE = "evaluation.md"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the classifier said.

    Attributes:
      mode: How it was sampled.
      taste: The same.
      classifier_accuracy: Its own, on real test images.
      named_as_asked: Share of the samples that it takes for the class asked for.
      reconstructions_named: Share of the reconstructed test images it takes for their class.
      images: In each set below.
      frechet_samples: Samples to test images.
      frechet_reconstructions: Test images after encoding and decoding, to test images.
      frechet_training: Real training images to test images.
    """

    mode: str
    taste: dict[str, Any]
    classifier_accuracy: float
    named_as_asked: float
    reconstructions_named: float
    images: int
    frechet_samples: float
    frechet_reconstructions: float
    frechet_training: float


@click.command("evaluate")
@click.argument("directory", metavar="CHECKPOINT_DIR")
@click.option("--output", metavar="DIR", help="CHECKPOINT_DIR unless said.")
@click.option("--count", type=click.IntRange(min=2), default=10_000, show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--guidance", type=click.FloatRange(min=0))
@click.option("--top-k", type=click.IntRange(min=0))
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True))
@click.option("--steps", type=click.IntRange(min=1), help="Of --masked.")
@click.option("--masked", is_flag=True)
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
    click.echo(text, nl=False)


def evaluate(
    directory: str, *, count: int, epochs: int, masked: bool, chosen: dict[str, Any]
) -> Evaluation:
    """Trains the classifier, samples, compares.

    Args:
      directory: The output of a prior.
      count: Images in each set, at most; as many as there are test images if fewer.
      epochs: Of the classifier.
      masked: Sample from masks.
      chosen: What of the config's taste is to be otherwise.

    Raises:
      RequestError: The prior has no classes, or a dataset or its source is gone.
    """
    with quiet_start():
        import tensorflow as _  # noqa: F401
    from examples.prior.classifier import Judge, train_classifier
    from examples.prior.frechet import frechet_distance
    from examples.prior.images import read_images
    from examples.prior.sampling import Sampler
    from examples.prior.saved import open_saved
    from examples.prior.sheet import fronts
    from fsq.tokenizer import Tokenizer
    from fsq.training.devices import devices_of_training

    saved = open_saved(directory)
    config, classes = saved.config, saved.vocabulary.classes
    mode = saved.choose_mode(masked=masked)
    if not classes or not isinstance(config.held_out, str):
        raise RequestError(
            f"{directory}: expected a prior with classes and held-out images in a dataset of "
            "their own, found another. Train one with 'held_out: DIR' and 'classes: true'."
        )
    for name, dataset in (("dataset", config.dataset), ("held_out", config.held_out)):
        if open_dataset(dataset).sha256 != saved.mark.datasets[name]:
            raise RequestError(
                f"{dataset}: expected the dataset that the prior was trained with, found another. "
                "Put it back, or train another prior."
            )
    taste = parse(Taste, {**config.samples.model_dump(exclude={"per_class"}), **chosen}, "options")
    tokenizer = Tokenizer.load(directory)
    test = read_images(config.held_out, tokenizer.contract)
    training = read_images(config.dataset, tokenizer.contract)
    size = min(count, len(test.pixels), len(training.pixels)) // classes * classes
    if size < 2:
        raise RequestError(
            f"--count: expected at least one image for each of {classes} classes, found {count} "
            f"asked for, {len(test.pixels)} held out and {len(training.pixels)} trained on. Raise "
            "what is too small."
        )
    # A source may lie in the order of its classes.
    some_test, some_training = (
        np.random.default_rng(0).permutation(len(images.pixels))[:size]
        for images in (test, training)
    )
    with devices_of_training():
        judge = Judge(train_classifier(training.pixels, training.labels, classes, epochs=epochs))
        tokens = Sampler(saved.load_network()).sample(
            fronts(saved.vocabulary, size // classes), taste, mode
        )
        reconstructions = tokenizer.decode(tokenizer.encode(test.pixels[some_test]))
        of_test = judge.look(test.pixels)
        of_samples = judge.look(tokenizer.decode(tokens))
        of_reconstructions = judge.look(reconstructions)
        of_training = judge.look(training.pixels[some_training])
    asked = np.repeat(np.arange(classes), size // classes)
    reference = of_test.features[some_test]
    return Evaluation(
        mode=mode,
        taste=taste.model_dump(),
        classifier_accuracy=float((of_test.classes == test.labels).mean()),
        named_as_asked=float((of_samples.classes == asked).mean()),
        reconstructions_named=float((of_reconstructions.classes == test.labels[some_test]).mean()),
        images=size,
        frechet_samples=frechet_distance(of_samples.features, reference),
        frechet_reconstructions=frechet_distance(of_reconstructions.features, reference),
        frechet_training=frechet_distance(of_training.features, reference),
    )


def render_report(found: Evaluation, directory: str) -> str:
    """Renders an evaluation as Markdown."""
    shown = [name for name in found.taste if name != "steps" or found.mode == "masked"]
    taste = ", ".join(f"{name} {found.taste[name]:g}" for name in shown)
    rows = [
        ("Sampled by", f"mode `{found.mode}`: {taste}"),
        ("Classifier's accuracy on test images", f"{found.classifier_accuracy:.1%}"),
        ("Reconstructions named as their class", f"{found.reconstructions_named:.1%}"),
        ("Samples named as the class asked for", f"{found.named_as_asked:.1%}"),
        ("Images in each set", f"{found.images:,}"),
        ("Frechet distance, samples to test images", f"{found.frechet_samples:.3f}"),
        ("of reconstructions", f"{found.frechet_reconstructions:.3f}"),
        ("of real training images", f"{found.frechet_training:.3f}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# {Path(directory).name}, judged by a classifier\n\n"
        "The classifier learned from the real training images; distances are in its features,\n"
        "so they compare with each other and with nothing else.\n\n"
        f"| | |\n|---|---|\n{table}\n"
    )


if __name__ == "__main__":
    run(main)
