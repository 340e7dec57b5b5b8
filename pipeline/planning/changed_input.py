"""Changed input: finds images that changed since an unfinished job listed or encoded them."""

from fsq.errors import RequestError
from pipeline.core.records import hex_of_hashes, sum_of_hashes
from pipeline.planning.plan import Plan
from pipeline.work.unit_files import read_status


def changed_image(plan: Plan) -> str | None:
    """Describes the first image that differs from the listing of an unfinished job."""
    change = plan.job.config.open_source().first_change(plan.job.work, plan.listing)
    return None if change is None else f"input {change}"


def refuse_changed_content(plan: Plan) -> None:
    """Checks the images of finished units; reads those again whose etag changed.

    Raises:
      RequestError: An image changed; the message names it or its file.
    """
    job = plan.job
    source = job.config.open_source()
    with plan.listing.on_disk() as listing:
        for unit in plan.units:
            status = read_status(job, unit.name)
            if status is None or status.etag == unit.etag or not unit.spans:
                continue
            hashes = [*status.content.values(), status.rejected_content]
            before = sum(int(total, 16) for total in hashes)
            after = sum_of_hashes(source.read(listing.locate(unit), job.features))
            if hex_of_hashes(before) != hex_of_hashes(after):
                change = source.first_change(job.work, plan.listing, unit)
                change = change or f"{unit.path} was rewritten"
                raise RequestError(
                    f"{job.output}: expected parts of this job, found parts of another job: input "
                    f"{change} (content was {hex_of_hashes(before)[:12]}, is "
                    f"{hex_of_hashes(after)[:12]}). Choose another directory, or use --overwrite."
                )
