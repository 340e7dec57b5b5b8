"""What tells one job from another, named down to the field or the image that differs."""

from typing import Any

from fsq.errors import RequestError
from pipeline.core.records import hex_of_hashes, sum_of_hashes
from pipeline.planning.plan import Plan
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
    change = plan.job.source.open().first_change(plan.job.work, plan.listing)
    return None if change is None else f"input {change}"


def refuse_changed_content(plan: Plan) -> None:
    """Reads what finished units were made of again, if its files were written since.

    Raises:
      RequestError: It is not the same; the message names the file.
    """
    job = plan.job
    source = job.source.open()
    with plan.listing.on_disk() as listing:
        for unit in plan.units:
            status = read_status(job, unit.name)
            if status is None or status.etag == unit.etag or not unit.spans:
                continue
            before = sum(int(total, 16) for total in [*status.content.values(), status.refused])
            after = sum_of_hashes(source.read(listing.locate(unit), job.features))
            if hex_of_hashes(before) != hex_of_hashes(after):
                change = source.first_change(job.work, plan.listing, unit)
                change = change or f"{unit.path} was written anew"
                raise RequestError(
                    f"{job.output}: expected parts of this job, found parts of another: input "
                    f"{change} (content {hex_of_hashes(before)[:12]}, "
                    f"is {hex_of_hashes(after)[:12]}). Choose another directory, or --overwrite."
                )
