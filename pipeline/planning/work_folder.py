"""Work folder: sets it up before the first unit."""

from fsq.dataset.manifest import CONFIG_FILE
from fsq.errors import RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage import filesystem
from pipeline.core.records import Unit
from pipeline.job.job import Job
from pipeline.planning.output_directory import OutputDirectory
from pipeline.planning.plan import Plan
from pipeline.work.job_file import JobFile, write_job_file


def set_up_work_folder(plan: Plan, output: OutputDirectory) -> list[Unit]:
    """Sets up the work folder; returns the units with the paths they are read from.

    Args:
      plan: The plan of the job.
      output: What the output directory holds; an unfinished job in it is this one.

    Raises:
      RequestError: The output cannot be written.
    """
    try:
        return _set_up(plan, output)
    except OSError as error:
        raise RequestError(
            f"{output.path}: expected a directory that can be written, "
            f"got: {error.strerror or error}. Choose another{filesystem.room_for(error)}."
        ) from error


def _set_up(plan: Plan, output: OutputDirectory) -> list[Unit]:
    job = plan.job
    if output.job_file is None:
        filesystem.remove(job.work)  # without a job file, its parts can be of any job
    make_folders(job)
    write_inputs(plan)
    listing = plan.listing.write_to(job.work)
    job_file = output.job_file or JobFile(fingerprint=plan.fingerprint, num_units=job.num_units)
    write_job_file(job.output, job_file.model_copy(update={"fingerprint": plan.fingerprint}))
    return [listing.locate(unit) for unit in plan.units]


def make_folders(job: Job) -> None:
    """Makes the folders of a job, and removes what killed runs and older jobs left in them."""
    for folder in (job.output, job.work, job.parts, job.staging):
        filesystem.make_folder(folder)
        filesystem.remove_temporary(folder)


def write_inputs(plan: Plan) -> None:
    """Writes tokenizer and config to the work folder; finalizing copies them to the dataset."""
    work = plan.job.work
    contract = plan.tokenizer.contract.to_json().encode()
    filesystem.write(filesystem.join(work, CONTRACT_FILE), contract)
    filesystem.write(filesystem.join(work, WEIGHTS_FILE), plan.tokenizer.weights)
    # Not in the fingerprint (max_reject_fraction may change), so the latest config counts.
    filesystem.write(filesystem.join(work, CONFIG_FILE), plan.config_text.encode())
