"""Samples images from a trained prior into a PNG file, a row for each class.

python -m examples.prior.sample out/prior --output out/samples.png --guidance 1.5
"""

import click

from examples.prior.command import run
from fsq.terminal.console import PATH, quiet_start
from fsq.terminal.streams import beside_the_result


@click.command("sample")
@click.argument("directory", type=PATH, metavar="CHECKPOINT_DIR")
@click.option("--output", type=PATH, required=True, metavar="F.png")
@click.option("--per-class", type=click.IntRange(1, 16), help="Images in a row.")
@click.option("--guidance", type=click.FloatRange(min=0), help="1 for none.")
@click.option("--top-k", type=click.IntRange(min=0), help="0 for all tokens.")
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True))
@click.option("--steps", type=click.IntRange(min=1), help="Steps of --masked.")
@click.option("--seed", type=click.IntRange(min=0))
@click.option("--masked", is_flag=True, help="Sample in mode 'masked'.")
def main(directory: str, output: str, masked: bool, **chosen: float | int | None) -> None:
    """Sample from the prior in CHECKPOINT_DIR; defaults are those of its config."""
    with quiet_start():
        import tensorflow as _  # noqa: F401
    from examples.prior.sampling import Sampler
    from examples.prior.saved import open_saved
    from examples.prior.sheet import draw_samples
    from fsq.images.image_file import check_picture, save_picture
    from fsq.tokenizer import Tokenizer
    from fsq.training.devices import devices_of_training

    saved = open_saved(directory)
    mode = saved.choose_mode(masked=masked)
    given = {name: value for name, value in chosen.items() if value is not None}
    spec = saved.sampling_options(given)
    check_picture(output)
    with devices_of_training():
        sheet = draw_samples(
            Sampler(saved.load_network()),
            Tokenizer.load(directory),
            list(saved.description.class_names),
            spec,
            per_class=spec.per_class,
            mode=mode,
        )
    save_picture(sheet, output)
    with beside_the_result():
        click.echo(f"{output}: {sheet.width} x {sheet.height} pixels")


if __name__ == "__main__":
    run(main)
