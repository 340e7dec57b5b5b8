"""Changed input: which image differs from the one that an unfinished job has seen."""

import dataclasses
import itertools

from fsq.errors import RequestError
from fsq.storage import filesystem
from pipeline.core.records import Unit, hex_of_hashes, sum_of_hashes
from pipeline.planning.plan import Plan
from pipeline.sources import open_source
from pipeline.sources.base import materialize
from pipeline.sources.image_listing import ListedImage, first_change
from pipeline.work.unit_files import read_status


def changed_image(plan: Plan) -> str | None:
    """Names the first image that is another than in the listing of an unfinished job."""
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
            records = open_source(job.config.source).read(
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
