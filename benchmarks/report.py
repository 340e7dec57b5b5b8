"""Tables of `benchmarks.throughput`; in Markdown: python -m benchmarks.report FILE.json"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.contenders import CONTENDERS
from benchmarks.workloads import WORKLOADS, Workload

TITLES = {contender.name: contender.title for contender in CONTENDERS}


def limit_rows(limit: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the speeds of decoding and encoding alone, their limit, and the encoder's GFLOP/s."""
    yield "decode", _whole(limit["decode"])
    for name, speed in limit["encode"].items():
        yield f"encode, {name}", _whole(speed)
    yield "limit: decode and the fastest encode", _whole(limit["limit"])
    yield "fsq tokenize, steady, over the limit", _ratio(limit["ours_over_limit"])
    yield "encoder, GFLOP per image", f"{limit['encoder_gflop']:.3g}"
    yield "encoder, GFLOP/s", f"{limit['encoder_gflops']:.1f}"
    yield "matrix product, GFLOP/s", f"{limit['matrix_gflops']:.1f}"


def limit_table(workload: Workload, limit: dict[str, Any]) -> Table:
    """Makes a table of `limit_rows`."""
    table = Table("alone, all cores", title=f"{workload.name}: {workload.title}")
    table.add_column("images/s", justify="right")
    for row in limit_rows(limit):
        table.add_row(*row)
    return table


COLUMNS = (
    "images",
    "whole, images/s",
    "steady, images/s",
    "speed-up of fsq, whole",
    "speed-up of fsq, steady",
    "CPU ms/image",
    "peak MB",
    "same tokens as fsq",
)


def contender_rows(contenders: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields the medians of each contender, and the speed-up of `fsq tokenize` over it."""
    for name, found in sorted(contenders.items(), key=lambda item: list(TITLES).index(item[0])):
        if "skipped" in found:
            yield (f"{TITLES[name]}: {found['skipped']}",)
            continue
        yield (
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


def contenders_table(contenders: dict[str, Any]) -> Table:
    """Makes a table of `contender_rows`."""
    table = Table("from files to tokens", caption=CAPTION)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in contender_rows(contenders):
        table.add_row(*row)
    return table


def markdown(results: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of both tables of each workload."""
    for name, found in results["workloads"].items():
        yield f"### {name}: {WORKLOADS[name].title}"
        yield ""
        if found["limit"]:
            yield from _markdown_table(("alone, all cores", "images/s"), limit_rows(found["limit"]))
        header = ("from files to tokens", *COLUMNS)
        yield from _markdown_table(header, contender_rows(found["contenders"]))


def _markdown_table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|---|{'---:|' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join((*row, *[''] * (len(header) - len(row))))} |"
    yield ""


CAPTION = (
    "All records were counted. Tokens differ where a peer decodes or resamples differently, and "
    "at rounding boundaries where its encoder rounds differently. Peak memory: anonymous memory "
    "of all processes, plus mapped files and shared memory of the process with most of them."
)


def _whole(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    print("\n".join(markdown(json.loads(Path(sys.argv[1]).read_text()))))
