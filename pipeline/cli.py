"""The command line: verbs to functions. It alone prints and exits, by way of `console`."""

import gc
import logging
import os
from typing import TYPE_CHECKING

import click

from fsq.errors import DataError, RequestError
from fsq.terminal.console import one_line, print_pairs, quiet_start, run_command
from fsq.version import __version__

if TYPE_CHECKING:
    from pipeline.job.config import TokenizeConfig
    from pipeline.run import Summary

FILES_SHOWN = 5
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="fsq")
def cli() -> None:
    """Images in, token shards out: FSQ tokenization of image datasets."""


@cli.command(short_help="Train an FSQ autoencoder and save it as a tokenizer.")
@click.argument("config")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
def train(config: str, dry_run: bool) -> None:
    """Train an FSQ autoencoder by CONFIG and save it as a tokenizer.

    Run the same command again after an interruption and it goes on from the
    last checkpoint. The figures on held-out images come at the end, and stand
    on the tokenizer's card.
    """
    from fsq.yaml_config import load_config
    from pipeline.tokenizers.config import TrainConfig
    from pipeline.tokenizers.train import (
        dead_channels,
        describe_evaluation,
        describe_training,
        train_tokenizer,
    )

    loaded = load_config(config, TrainConfig)
    if dry_run:
        print_pairs(describe_training(loaded))
        return
    with quiet_start():
        import tensorflow as _  # noqa: F401
    evaluation = train_tokenizer(loaded, config)
    click.echo(f"{loaded.output}: {describe_evaluation(evaluation)}")
    if dead := dead_channels(evaluation):
        click.echo(
            f"{loaded.output}: channel {', '.join(map(str, dead))} carries next to nothing. "
            "Train again with a higher saturation_weight or a lower learning_rate.",
            err=True,
        )


@cli.command(short_help="Tokenize an image dataset: the main job.")
@click.argument("config", required=False)
@click.argument("beam_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- BEAM OPTIONS]")
@click.option("--output", metavar="DIR", help="Write here instead of output.directory.")
@click.option("--limit", type=click.IntRange(min=1), help="Take just the first N images.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--overwrite", is_flag=True, help="Remove another job's output first.")
@click.option("--only-rejects", metavar="DIR", help="Try the rejects of the run in DIR again.")
def tokenize(
    config: str | None,
    beam_options: tuple[str, ...],
    output: str | None,
    limit: int | None,
    dry_run: bool,
    overwrite: bool,
    only_rejects: str | None,
) -> None:
    """Tokenize an image dataset by CONFIG into sharded TFRecords.

    An interrupted job goes on where it stopped when the same command is given
    again, and ends in the same bytes. With --only-rejects the images that were
    refused are tried once more, all others are kept; CONFIG is then that in DIR
    unless given. Options after -- go to Beam; without a --runner among them the
    job runs on this machine.
    """
    from fsq.yaml_config import load_config
    from pipeline.job.config import TokenizeConfig

    # What follows '--' fills the first argument too when there is no config.
    if config is not None and config.startswith("-"):
        beam_options, config = (config, *beam_options), None
    loaded = None if config is None else load_config(config, TokenizeConfig)
    if only_rejects is not None:
        if output is not None or limit is not None or dry_run or overwrite:
            raise RequestError(
                "--only-rejects: expected no --output, --limit, --dry-run or --overwrite with it."
            )
        summary = _retry(only_rejects, loaded, beam_options)
    elif loaded is None:
        raise click.UsageError("Missing argument 'CONFIG'.")
    else:
        moved = loaded if output is None else _with_output(loaded, output)
        found = _tokenize(moved, limit, dry_run, overwrite, beam_options)
        if found is None:
            return
        summary = found
    print_summary(summary)


def _tokenize(
    config: "TokenizeConfig",
    limit: int | None,
    dry_run: bool,
    overwrite: bool,
    beam_options: tuple[str, ...],
) -> "Summary | None":
    from fsq.dataset.manifest import has_manifest
    from pipeline.planning.background_listing import list_in_background
    from pipeline.planning.prepare import describe_job, prepare
    from pipeline.planning.runtime_selection import has_cached_encoder

    with quiet_start(), list_in_background(config) as listing:
        if not dry_run and not has_manifest(config.output.directory):
            import pipeline.run  # noqa: F401 - meanwhile, because it takes as long
        prepared = prepare(config, limit=limit, overwrite=overwrite, get_listing=listing)
    if dry_run:
        print_pairs(describe_job(prepared))
        return None
    # A finished dataset needs no TensorFlow, nor does an encoder that was cached; otherwise it is
    # loaded here, in silence.
    _start(tensorflow=not (prepared.is_finished or has_cached_encoder(prepared.plan)))
    from pipeline.run import run
    from pipeline.work.job_progress import show_progress

    return run(prepared, beam_options=beam_options, progress=show_progress)


def _with_output(config: "TokenizeConfig", directory: str) -> "TokenizeConfig":
    """Returns a config that writes elsewhere."""
    from fsq.validation import parse
    from pipeline.job.config import OutputConfig

    output = parse(OutputConfig, {**config.output.model_dump(), "directory": directory}, "output")
    return config.model_copy(update={"output": output})


def _retry(
    directory: str, config: "TokenizeConfig | None", beam_options: tuple[str, ...]
) -> "Summary":
    _start(tensorflow=True)
    from pipeline.run import retry_rejects
    from pipeline.work.job_progress import show_progress

    return retry_rejects(directory, config, beam_options=beam_options, progress=show_progress)


def _start(*, tensorflow: bool) -> None:
    """Loads what a job needs, and sets it up for a process that does nothing else."""
    with quiet_start():
        import pipeline.run  # noqa: F401

        if tensorflow:
            import tensorflow as tf

            # The runner's threads already fill the cores, one unit each; threads inside each
            # call of the encoder would only get in each other's way. The tokens are the same.
            tf.config.threading.set_intra_op_parallelism_threads(1)
    # What is loaded by now stays; the collector need not walk a million objects again and again.
    gc.freeze()


@cli.command(short_help="Read a dataset back and check every promise.")
@click.argument("directory", metavar="DIR")
def verify(directory: str) -> None:
    """Read the dataset in DIR back and check every promise it makes.

    Prints one line for each problem and exits with 1 if there is any.
    """
    from pipeline.reports.verify import verify_dataset

    problems = 0
    for problem in verify_dataset(directory):
        problems += 1
        click.echo(problem)
    if problems:
        raise DataError(f"{directory}: {problems} problem(s) found.")
    click.echo(f"{directory}: all is well")


@cli.command(short_help="Draw images decoded from tokens.")
@click.argument("directory", metavar="DIR")
@click.option("--count", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--output", required=True, metavar="F.png")
@click.option("--originals", is_flag=True, help="Draw the source images above them.")
def decode(directory: str, count: int, output: str, originals: bool) -> None:
    """Decode the first images of the dataset in DIR, from its tokens alone, into one picture."""
    from fsq.images.image_file import check_picture, save_picture

    check_picture(output)
    with quiet_start():
        from pipeline.reports.contact_sheet import draw_sheet

        sheet = draw_sheet(directory, count, originals=originals)
    save_picture(sheet, output)
    click.echo(f"{output}: {sheet.width} x {sheet.height} pixels")


@cli.command(short_help="Describe a dataset or a tokenizer.")
@click.argument("directory", metavar="DIR")
def inspect(directory: str) -> None:
    """Describe the dataset or the tokenizer in DIR in a few lines."""
    from pipeline.reports.inspect import inspect_directory

    # An adopted tokenizer is run, and then TensorFlow is loaded.
    with quiet_start():
        pairs = inspect_directory(directory)
    print_pairs(pairs)


@cli.command("import", short_help="Adopt an encoder that was trained elsewhere.")
@click.argument("config")
@click.option("--dry-run", is_flag=True, help="Check everything, print the result and stop.")
def import_(config: str, dry_run: bool) -> None:
    """Adopt by CONFIG an encoder that was trained elsewhere, and its decoder if there is one.

    A Keras model, a TensorFlow SavedModel or an ONNX file becomes a tokenizer
    like any other, if it gives the tokens of a reference batch that the
    original code made. Nothing is written before that is known.
    """
    from fsq.yaml_config import load_config
    from pipeline.tokenizers.config import ImportConfig
    from pipeline.tokenizers.import_external import (
        adopt_tokenizer,
        describe_adoption,
        describe_agreement,
        save_adoption,
    )
    from pipeline.tokenizers.output_checks import check_free_output

    loaded = load_config(config, ImportConfig)
    check_free_output(loaded.output)
    with quiet_start():
        adoption = adopt_tokenizer(loaded)
    if dry_run:
        print_pairs(describe_adoption(loaded, adoption))
        return
    save_adoption(loaded, config, adoption)
    click.echo(f"{loaded.output}: {describe_agreement(adoption)}")


def print_summary(summary: "Summary") -> None:
    """Prints what a job came to; the accounts last."""
    if summary.images_retried:
        click.echo(f"retried: {summary.images_retried:,} rejects of the run before")
    if summary.units_resumed:
        click.echo(f"resumed: {summary.units_resumed} of {summary.num_units} units done")
    if summary.runtime is not None:
        click.echo(f"runtime: {summary.runtime}")
    for reason, count in summary.rejects_by_reason.items():
        click.echo(f"rejected: {count:,} {reason}")
    for name, (rejected, listed) in list(summary.rejects_by_file.items())[:FILES_SHOWN]:
        click.echo(f"rejected: {rejected:,} of {listed:,} in {one_line(name)}")
    if (more := len(summary.rejects_by_file) - FILES_SHOWN) > 0:
        click.echo(f"rejected: and in {more:,} more files, see stats.json")
    click.echo(
        f"{one_line(summary.directory)}: {summary.records:,} records "
        f"in {summary.num_shards} shards; "
        f"{summary.images_listed:,} images listed = {summary.images_written:,} written + "
        f"{summary.images_rejected:,} rejected"
    )


def main() -> None:
    """Runs the command line. Exit 0: good; 1: the data is bad; 2: the request is bad."""
    # Before TensorFlow is imported: its start-up notes are no news to our users.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Beam logs a worker's error several times over; it is raised to us anyway.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    run_command(cli, "fsq")


if __name__ == "__main__":
    main()
