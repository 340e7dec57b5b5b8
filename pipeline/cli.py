"""Command line: one function per verb. Only this module prints and exits, through `console`."""

import gc
import logging
import os
from typing import TYPE_CHECKING

import click

from fsq.errors import DataError, RequestError
from fsq.terminal.console import PATH, one_line, print_pairs, quiet_start, run_command
from fsq.terminal.streams import beside_the_result
from fsq.version import __version__

if TYPE_CHECKING:
    from pipeline.job.config import TokenizeConfig
    from pipeline.run import Summary
    from pipeline.starters.init import Kind

FILES_SHOWN = 5
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="fsq")
def cli() -> None:
    """FSQ tokenization of image datasets: from images to sharded token records."""


@cli.command(short_help="Train an FSQ autoencoder and save it as a tokenizer.")
@click.argument("config", type=PATH)
@click.option("--dry-run", is_flag=True, help="Print the plan without training.")
def train(config: str, dry_run: bool) -> None:
    """Train the FSQ autoencoder described by CONFIG (YAML) and save it as a tokenizer.

    To resume an interrupted run from its last checkpoint, run the same command
    again. Metrics on held-out images are printed at the end and written to the
    tokenizer's card.
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
    evaluation = train_tokenizer(
        loaded, config, lambda message: click.echo(f"{config}: {message}", err=True)
    )
    with beside_the_result():
        click.echo(f"{loaded.output}: {describe_evaluation(evaluation)}")
    if dead := dead_channels(evaluation):
        click.echo(
            f"{loaded.output}: channel {', '.join(map(str, dead))} carries almost no information. "
            "Train again with a higher saturation_weight or a lower learning_rate.",
            err=True,
        )


@cli.command(short_help="Tokenize an image dataset into shards of token records.")
@click.argument("config", type=PATH, required=False)
@click.argument("beam_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- BEAM OPTIONS]")
@click.option(
    "--output", type=PATH, metavar="DIR", help="Write to DIR instead of output.directory."
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Use only the first N images."
)
@click.option("--dry-run", is_flag=True, help="Print the plan without running it.")
@click.option("--overwrite", is_flag=True, help="Remove an earlier job's output first.")
@click.option(
    "--only-rejects", type=PATH, metavar="DIR", help="Retry only the rejects of the run in DIR."
)
def tokenize(
    config: str | None,
    beam_options: tuple[str, ...],
    output: str | None,
    limit: int | None,
    dry_run: bool,
    overwrite: bool,
    only_rejects: str | None,
) -> None:
    """Tokenize the image dataset described by CONFIG (YAML) into shards of token records.

    To resume an interrupted job, run the same command again; the result has the
    same bytes. --only-rejects retries the rejected images of a run and reuses all
    others; CONFIG is then by default the one stored in DIR. Options after -- go to
    Beam; without a --runner the job runs on this machine.
    """
    from fsq.yaml_config import load_config
    from pipeline.job.config import TokenizeConfig

    # Without a config, click takes the first option after '--' for it.
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
        loaded = loaded if output is None else _with_output(loaded, output)
        found = _tokenize(loaded, limit, dry_run, overwrite, beam_options)
        if found is None:
            return
        summary = found
    with beside_the_result():
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
            import pipeline.run  # noqa: F401 - imported while the source is listed
        prepared = prepare(config, limit=limit, overwrite=overwrite, get_listing=listing)
    if dry_run:
        print_pairs(describe_job(prepared))
        return None
    # TensorFlow is needed unless the dataset is finished or its encoder is cached.
    _start(tensorflow=not (prepared.is_finished or has_cached_encoder(prepared.plan)))
    from pipeline.run import run

    return run(prepared, beam_options=beam_options, progress=True)


def _with_output(config: "TokenizeConfig", directory: str) -> "TokenizeConfig":
    """Returns the config with another output directory."""
    from fsq.storage.path_expansion import literal_path
    from fsq.validation import parse
    from pipeline.job.config import OutputConfig

    output = parse(
        OutputConfig, {**config.output.model_dump(), "directory": literal_path(directory)}, "output"
    )
    return config.model_copy(update={"output": output})


def _retry(
    directory: str, config: "TokenizeConfig | None", beam_options: tuple[str, ...]
) -> "Summary":
    _start(tensorflow=True)
    from pipeline.run import retry_rejects

    return retry_rejects(directory, config, beam_options=beam_options, progress=True)


def _start(*, tensorflow: bool) -> None:
    """Imports the libraries of a job, and sets them up for a process that runs one job."""
    with quiet_start():
        import pipeline.run  # noqa: F401

        if tensorflow:
            import tensorflow as tf

            # The runner's threads already use all cores, one unit each; more threads inside
            # each encoder call would only compete with them. The tokens are the same.
            tf.config.threading.set_intra_op_parallelism_threads(1)
    # Loaded modules stay, so the garbage collector need not scan their million objects again.
    gc.freeze()


@cli.command(short_help="Tokenize sample images, to see how it is done.")
@click.argument("directory", metavar="[DIR]", default="fsq_demo")
def demo(directory: str) -> None:
    """Write sample images, a tokenizer and a config to the new directory DIR, and tokenize them.

    DIR is fsq_demo if it is not given. The files come with the package; nothing is
    downloaded.
    """
    from fsq.images.image_file import save_picture
    from fsq.yaml_config import load_config
    from pipeline.job.config import TokenizeConfig
    from pipeline.starters.demo import write_demo

    _start(tensorflow=True)
    made = write_demo(directory)
    images, classes = made.classes.total(), len(made.classes)
    click.echo(f"{made.images}: {images:,} test images of Fashion-MNIST (Zalando, MIT licence)")
    click.echo(f"{made.config}: 'fsq tokenize {made.config}' is run now; {classes} classes")
    found = _tokenize(load_config(str(made.config), TokenizeConfig), None, False, False, ())
    assert found is not None
    print_summary(found)
    from pipeline.reports.contact_sheet import draw_sheet
    from pipeline.reports.verify import verify_dataset

    problems = list(verify_dataset(str(made.tokens)))
    assert not problems, problems
    save_picture(draw_sheet(str(made.tokens), 32, originals=True), str(made.picture))
    click.echo(f"{made.tokens}: all is well")
    click.echo(f"{made.picture}: images, and below them what their tokens decode to")
    click.echo("For your own images: fsq init images DIR")


@cli.command(short_help="Write a commented config for a folder of images.")
@click.argument("kind", type=click.Choice(["images", "training"]))
@click.argument("directory", metavar="DIR")
@click.option(
    "--tokenizer",
    metavar="DIR",
    default="tokenizers/mine",
    show_default=True,
    help="The tokenizer to use, or to train.",
)
@click.option("--output", metavar="FILE", help="The file to write; by default named after DIR.")
def init(kind: "Kind", directory: str, tokenizer: str, output: str | None) -> None:
    """Write a commented config for the images in DIR: to tokenize them, or to train a tokenizer.

    KIND is images, for 'fsq tokenize', or training, for 'fsq train'.
    """
    from pipeline.starters.init import write_config

    path = write_config(kind, directory, tokenizer, output)
    verb = "tokenize" if kind == "images" else "train"
    if kind == "images" and not os.path.exists(tokenizer):
        click.echo(
            f"{tokenizer}: no tokenizer yet. Write a config to train one: "
            f"fsq init training {directory}"
        )
    click.echo(f"{path}: written. See what it would do: fsq {verb} {path} --dry-run")


@cli.command(short_help="Check a dataset: checksums, records, tokens and counts.")
@click.argument("directory", type=PATH, metavar="DIR")
def verify(directory: str) -> None:
    """Read the dataset in DIR back and check its checksums, records, tokens and counts.

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
@click.argument("directory", type=PATH, metavar="DIR")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    default=32,
    show_default=True,
    help="Number of images.",
)
@click.option(
    "--output", type=PATH, required=True, metavar="F.png", help="The image file to write."
)
@click.option("--originals", is_flag=True, help="Draw the source images above the decoded ones.")
@click.option("--split", metavar="NAME", help="The split to draw; by default the first.")
def decode(directory: str, count: int, output: str, originals: bool, split: str | None) -> None:
    """Decode the first N images of the dataset in DIR from their tokens, into a contact sheet."""
    from fsq.images.image_file import check_picture, save_picture

    check_picture(output)
    with quiet_start():
        from pipeline.reports.contact_sheet import draw_sheet

        sheet = draw_sheet(directory, count, originals=originals, split=split)
    save_picture(sheet, output)
    with beside_the_result():
        click.echo(f"{output}: {sheet.width} x {sheet.height} pixels")


@cli.command(short_help="Describe a dataset or a tokenizer.")
@click.argument("directory", type=PATH, metavar="DIR")
def inspect(directory: str) -> None:
    """Describe the dataset or the tokenizer in DIR in a few lines."""
    from pipeline.reports.inspect import inspect_directory

    # An imported tokenizer is run on its reference batch, which loads TensorFlow.
    with quiet_start():
        pairs = inspect_directory(directory)
    print_pairs(pairs)


@cli.command("import", short_help="Import an encoder that was trained elsewhere.")
@click.argument("config", type=PATH)
@click.option("--dry-run", is_flag=True, help="Run all checks without writing anything.")
def import_(config: str, dry_run: bool) -> None:
    """Import the encoder, trained elsewhere, that CONFIG (YAML) describes, and its decoder if any.

    A Keras model, a TensorFlow SavedModel or an ONNX file becomes a tokenizer if it
    gives the tokens of a reference batch made with the original code. Otherwise
    nothing is written.
    """
    from fsq.yaml_config import load_config
    from pipeline.tokenizers.config import ImportConfig
    from pipeline.tokenizers.import_external import (
        describe_agreement,
        describe_import,
        import_tokenizer,
        save_import,
    )
    from pipeline.tokenizers.output_checks import check_free_output

    loaded = load_config(config, ImportConfig)
    check_free_output(loaded.output)
    with quiet_start():
        result = import_tokenizer(loaded)
    if dry_run:
        print_pairs(describe_import(loaded, result))
        return
    save_import(loaded, config, result)
    with beside_the_result():
        click.echo(f"{loaded.output}: {describe_agreement(result)}")


def print_summary(summary: "Summary") -> None:
    """Prints the result of a job, the image counts last."""
    from fsq.dataset.manifest import show_splits
    from pipeline.core.left_out import describe_left_out

    if summary.images_retried:
        click.echo(f"retried: {summary.images_retried:,} rejects of the earlier run")
    if summary.units_resumed:
        click.echo(f"resumed: {summary.units_resumed} of {summary.num_units} units done")
    if summary.runtime is not None:
        click.echo(f"runtime: {summary.runtime}")
    if summary.crop is not None:
        click.echo(f"crop: {summary.crop}")
    if summary.empty_files is not None:
        click.echo(f"empty: {one_line(summary.empty_files)}")
    for line in summary.classes:
        click.echo(f"classes: {one_line(line)}")
    if left_out := describe_left_out(summary.left_out):
        click.echo(f"left out: {left_out}")
    for reason, count in summary.rejects_by_reason.items():
        click.echo(f"rejected: {count:,} {reason}")
    for name, (rejected, listed) in list(summary.rejects_by_file.items())[:FILES_SHOWN]:
        click.echo(f"rejected: {rejected:,} of {listed:,} in {one_line(name)}")
    if (more := len(summary.rejects_by_file) - FILES_SHOWN) > 0:
        click.echo(f"rejected: and in {more:,} more files, see stats.json")
    if len(summary.splits) > 1:
        click.echo(f"splits: {show_splits(summary.splits)}")
    click.echo(
        f"{one_line(summary.directory)}: {summary.records:,} records "
        f"in {summary.num_shards} shards; "
        f"{summary.images_listed:,} images listed = {summary.images_written:,} written + "
        f"{summary.images_rejected:,} rejected"
    )


def main() -> None:
    """Runs the command line. Exit 0: good; 1: the data is bad; 2: the request is bad."""
    # Before TensorFlow is imported, to hide its start-up notes.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # This process and its workers are ours, whatever the environment or ~/.keras/keras.json says:
    # networks run on TensorFlow. Notebooks name a display for plots that we may not have; Keras
    # imports matplotlib where it is installed, which would fail.
    os.environ.update(KERAS_BACKEND="tensorflow", MPLBACKEND="Agg")
    # Beam logs a worker's error several times; it is raised here anyway.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    run_command(cli, "fsq")


if __name__ == "__main__":
    main()
