"""The tables of `benchmarks.throughput`."""

from typing import Any

from rich.table import Table

from benchmarks.contenders import CONTENDERS
from benchmarks.workloads import Workload

TITLES = {contender.name: contender.title for contender in CONTENDERS}


def limit_table(workload: Workload, limit: dict[str, Any]) -> Table:
    """What decoding and encoding alone allow, and what the encoder asks of the machine."""
    table = Table("alone, all cores", title=f"{workload.name}: {workload.title}")
    table.add_column("images/s", justify="right")
    table.add_row("decode", _whole(limit["decode"]))
    for name, speed in limit["encode"].items():
        table.add_row(f"encode, {name}", _whole(speed))
    table.add_row("limit of decode and the fastest encode", _whole(limit["limit"]))
    table.add_row("ours, steady, over the limit", _ratio(limit["ours_over_limit"]))
    table.add_section()
    table.add_row("encoder, GFLOP per image", f"{limit['encoder_gflop']:.3g}")
    table.add_row("encoder, GFLOP/s", f"{limit['encoder_gflops']:.1f}")
    table.add_row("matrix product, GFLOP/s", f"{limit['matrix_gflops']:.1f}")
    return table


def contenders_table(contenders: dict[str, Any]) -> Table:
    """Everybody's medians, and how many times as fast ours is."""
    table = Table("from files to tokens", caption=CAPTION)
    for column in (
        "images",
        "whole, images/s",
        "steady, images/s",
        "ours is x, whole",
        "ours is x, steady",
        "CPU ms/image",
        "peak MB",
        "tokens as ours",
    ):
        table.add_column(column, justify="right")
    for name, found in sorted(contenders.items(), key=lambda item: list(TITLES).index(item[0])):
        if "skipped" in found:
            table.add_row(f"{TITLES[name]}: {found['skipped']}")
            continue
        table.add_row(
            TITLES[name],
            f"{found['images']:,}",
            _whole(found["whole"]),
            _whole(found["steady"]),
            _ratio(found["ours_over_whole"]),
            _ratio(found["ours_over_steady"]),
            f"{found['cpu_milliseconds']:.2f}",
            _whole(found["peak_mb"]),
            "-" if found["tokens_equal"] is None else f"{found['tokens_equal']:.3%}",
        )
    return table


CAPTION = (
    "Every record was counted. Tokens differ where a peer decodes or resamples otherwise, and at "
    "rounding boundaries where its encoder's last decimals do. Peak memory: anonymous memory of "
    "all processes, and files and shared memory of the one with most of them."
)


def _whole(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
