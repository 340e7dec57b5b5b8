"""Trains a prior on the tokens of a finished dataset.

    python -m examples.prior.train examples/prior/configs/demo.yaml

The output directory holds checkpoints, the network with the lowest held-out loss,
log.jsonl, report.json and sheets of samples. After an interruption, run the same command
again: it resumes from the last checkpoint and ends in the same weights.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from examples.prior.command import run
from examples.prior.config import PriorConfig
from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.storage.directory_lock import locked
from fsq.terminal.console import PATH, print_pairs, quiet_start
from fsq.terminal.streams import beside_the_result
from fsq.yaml_config import load_config

REPORT_FILE = "report.json"
SAMPLES_FILE = "samples.png"


@click.command("train")
@click.argument("config", type=PATH)
def main(config: str) -> None:
    """Train a prior as CONFIG says."""
    loaded = load_config(config, PriorConfig)
    report = describe_report(train_prior(loaded))
    with beside_the_result():
        print_pairs(report)
        click.echo(f"{loaded.output}/{SAMPLES_FILE}")


def train_prior(config: PriorConfig, clock: Callable[[], float] = time.monotonic) -> dict[str, Any]:
    """Trains a prior, measures it on all held-out images and draws samples.

    Args:
      config: The config of the run.
      clock: Returns seconds, for the time limit.

    Returns:
      The content of report.json.

    Raises:
      RequestError: A dataset is unsuitable, or the output belongs to another run.
      DataError: A dataset is damaged, or the loss is not finite.
    """
    from examples.prior.data import PriorData

    data = PriorData(config)
    contract = data.dataset.contract
    if not contract.has_decoder:
        raise RequestError(
            f"{config.dataset}: expected a tokenizer with a decoder, got one that was imported "
            "without. Import it again with its decoder, and tokenize the dataset again."
        )
    with quiet_start():  # after all checks that do not need it
        import tensorflow as _  # noqa: F401
    with locked(config.output):
        report = _train(config, data, clock)
        text = json.dumps(report, indent=2) + "\n"
        filesystem.write(f"{config.output}/{REPORT_FILE}", text.encode())
    return report


def _train(config: PriorConfig, data: Any, clock: Callable[[], float]) -> dict[str, Any]:
    from examples.prior.baselines import measure_baselines
    from examples.prior.checkpoint import steps_done
    from examples.prior.loop import train, validate
    from examples.prior.sampling import Sampler
    from examples.prior.saved import LOG_FILE, build_prior, claim_directory, open_saved
    from examples.prior.step import TrainStep
    from fsq.terminal.progress_bar import progress_bar
    from fsq.tokenizer import Tokenizer
    from fsq.training.devices import devices_of_training

    claim_directory(config, data)
    output = Path(config.output)
    saved = open_saved(config.output)
    tokenizer = Tokenizer.load(output)
    held_out = data.held_out_tokens()
    baselines = measure_baselines(data.training_tokens(), held_out, data.vocabulary.tokens)
    log = _Log(
        output / LOG_FILE,
        per_token=data.vocabulary.length,
        values=data.dataset.contract.image.shape,
    )
    log.write(0, {"unigram": baselines.unigram, "bigram": baselines.bigram})
    first, steps = steps_done(config.output), config.training.steps
    with devices_of_training(), progress_bar("train", steps, first) as update:
        prior = build_prior(config, data.vocabulary)
        sampler = Sampler(prior)

        reference = {"bigram": baselines.bigram, "unigram": baselines.unigram}

        def progress(step: int, losses: dict[str, float]) -> None:
            log.write(step, {f"training_{name}": value for name, value in losses.items()})
            shown = {"loss": losses["loss"], **reference}
            update(step, "  ".join(f"{name} {value:.3f}" for name, value in shown.items()))

        def validated(step: int, nats: Any) -> None:
            log.write(step, {f"validation_{mode}": value for mode, value in nats.items()})
            reference.update({f"held-out {mode}": value for mode, value in nats.items()})
            every = config.training.sample_steps
            if every and step % every == 0:
                _draw(sampler, tokenizer, saved, output / f"samples-{step:09d}.png")

        steps = train(prior, data, config, progress=progress, validated=validated, clock=clock)
        best = saved.load_network()
        nats = validate(TrainStep(best, config.training), data, config)
        _draw(Sampler(best), tokenizer, saved, output / SAMPLES_FILE)
    return {
        "steps": steps,
        "of_steps": config.training.steps,
        "epochs": round(steps / data.batches_per_epoch, 2),
        "parameters": sum(int(v.numpy().size) for v in best.trainable_variables),
        "held_out_images": len(held_out),
        "held_out_images_trained_on": data.shared,
        "nats_per_token": nats,
        "bits_per_dimension": {mode: log.bits(value) for mode, value in nats.items()},
        "uniform": baselines.uniform,
        "unigram": baselines.unigram,
        "bigram": baselines.bigram,
        "below_unigram": {mode: 1 - value / baselines.unigram for mode, value in nats.items()},
    }


def describe_report(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns a report as (name, value) pairs."""
    steps = f"{report['steps']:,} of {report['of_steps']:,}, {report['epochs']} epochs"
    if report["steps"] < report["of_steps"]:
        steps += "; ended by training.minutes, before the learning rate was zero"
    held_out = f"{report['held_out_images']:,} images"
    if shared := report["held_out_images_trained_on"]:
        held_out += f", {shared:,} with the tokens of a training image"
    pairs = [("steps", steps), ("held out", held_out)]
    for mode, nats in report["nats_per_token"].items():
        bound = "at most " if mode == "masked" else ""
        pairs.append(
            (
                mode,
                f"{bound}{nats:.3f} nats per token, "
                f"{report['bits_per_dimension'][mode]:.4f} bits per dimension, "
                f"{report['below_unigram'][mode]:.1%} below the unigram model",
            )
        )
    pairs += [(name, f"{report[name]:.3f} nats per token") for name in ("bigram", "unigram")]
    return pairs


class _Log:
    """Appends a line of JSON for each measurement; losses are in nats per token."""

    def __init__(self, path: Path, *, per_token: int, values: tuple[int, ...]):
        self._path, self._tokens, self._values = path, per_token, values

    def write(self, step: int, nats: dict[str, float]) -> None:
        line: dict[str, Any] = {"step": step, **nats}
        for name, value in nats.items():
            if name.startswith("validation_"):
                line[f"{name}_bits_per_dimension"] = self.bits(value)
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def bits(self, nats: float) -> float:
        from examples.prior.objectives import bits_per_dimension

        return bits_per_dimension(nats, self._tokens, math.prod(self._values))


def _draw(sampler: Any, tokenizer: Any, saved: Any, path: Path) -> None:
    from examples.prior.sheet import draw_samples
    from fsq.images.image_file import save_picture

    spec = saved.config.samples
    sheet = draw_samples(
        sampler,
        tokenizer,
        list(saved.description.class_names),
        spec,
        per_class=spec.per_class,
        mode=saved.config.modes[0],
    )
    save_picture(sheet, str(path))


if __name__ == "__main__":
    run(main)
