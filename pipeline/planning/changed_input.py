"""What tells one job from another, named down to the field or the image that differs."""

import dataclasses
import itertools
from typing import Any

from fsq.errors import RequestError
from fsq.storage import filesystem
from pipeline.core.records import Unit, hex_of_hashes, sum_of_hashes
from pipeline.planning.plan import Plan
from pipeline.sources import open_source
from pipeline.sources.base import materialize
from pipeline.sources.image_listing import ListedImage, first_change
from pipeline.work.unit_files import read_status


def refuse_other(plan: Plan, fields: dict[str, Any], what: str) -> None:
    """Raises a RequestError that names the first field in which the two jobs differ."""
    difference = first_difference(fields, plan.fields)
    if difference is None:
        return
    advice = "Choose another directory, or --overwrite"
    if difference.startswith("input "):
        difference = _changed_image(plan) or difference
        advice += f"; after mending rejects alone: fsq tokenize --only-rejects {plan.job.output}"
    raise RequestError(
        f"{plan.job.output}: expected {what} of this job, found {what} of another: "
        f"{difference}. {advice}."
    )


def first_difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Names the first value in which two nested mappings differ: '<path> was <old>, is <new>'."""
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            return f"{name} {first_difference(before, after)}"
        return f"{name} was {_shorten(before)}, is {_shorten(after)}"
    return None


def _shorten(value: Any) -> str:
    if value is None:
        return "absent"
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def _changed_image(plan: Plan) -> str | None:
    """Names the first image that is another than in the listing of an interrupted job."""
    listing = plan.listing
    if listing.text is None:
        return None
    before = filesystem.join(plan.job.work, listing.files[0].path)
    if not filesystem.exists(before):
        return None
    with filesystem.open_read(before) as file:
        change = first_change(file, listing.text)
    return None if change is None else f"input {change}"


def refuse_changed_content(plan: Plan) -> None:
    """Reads what finished units were made of again, if its files were written since.

    Raises:
      RequestError: It is not the same; the message names the file.
    """
    job = plan.job
    with materialize(plan.listing) as listing:
        for unit in plan.units:
            status = read_status(job, unit.name)
            if status is None or status.stamp == unit.stamp or not unit.spans:
                continue
            path = unit.path if listing.text is None else listing.files[0].path
            before = sum(int(total, 16) for total in [*status.content.values(), status.refused])
            records = open_source(job.source).read(
                dataclasses.replace(unit, path=path), job.features
            )
            after = sum_of_hashes(records)
            if hex_of_hashes(before) != hex_of_hashes(after):
                name = _rewritten_image(plan, unit) or unit.path
                raise RequestError(
                    f"{job.output}: expected parts of this job, found parts of another: input "
                    f"{name} was written anew (content {hex_of_hashes(before)[:12]}, "
                    f"is {hex_of_hashes(after)[:12]}). Choose another directory, or --overwrite."
                )


def _rewritten_image(plan: Plan, unit: Unit) -> str | None:
    """Names the first image of a unit that is another than in the job's listing."""
    if plan.listing.text is None:
        return None
    plan.listing.text.seek(0)
    first, stop = unit.spans[0].first, unit.spans[0].first + unit.num_records
    with filesystem.open_read(filesystem.join(plan.job.work, unit.path)) as before:
        for old, new in itertools.islice(zip(before, plan.listing.text, strict=True), first, stop):
            if old != new:
                return ListedImage.from_line(new).key
    return None
