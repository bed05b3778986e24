"""Failed and partial cells of a result are mapped again, by the plan that its run left."""

from typing import Any

from maggjob.errors import InputError
from maggjob.inputs.places import PlaceLike, store_place
from maggjob.output.saved_plan import read_plan
from maggjob.pipeline.cell_map import RunOptions, execute
from maggjob.pipeline.result import RunResult
from maggjob.pipeline.resume import earlier_run
from maggjob.planning.plan import Plan
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import PLAN, RUN, run_folder


def retry_plan(store: PlaceLike, region: str | None = None) -> Plan | None:
    """Return the plan of the last run of a store, whose failed cells can be mapped again by `execute`.

    Parameters
    ----------
    store : str or Path
        Path or s3:// URL of the Zarr.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    Plan or None
        None if the result is complete.

    Raises
    ------
    InputError
        If there was no run, it left no plan, or an update is unfinished.
    """
    text = store_place(store)
    folder = run_folder(text)
    if exists(folder, region) and not Folder(folder, region).has(PLAN) and Folder(folder, region).has(RUN):
        raise InputError(f"{text} is the result of another job: run its command again, and what failed is done again")
    plan, earlier = read_plan(text, region), earlier_run(text, region)
    if earlier is not None and earlier.digest != plan.digest:
        raise InputError(
            f"an update of {text} has not been published; 'maggjob update {text}' completes it, and maps failed cells "
            "again"
        )
    return None if earlier is not None and earlier.complete else plan


def retry(store: PlaceLike, **options: Any) -> RunResult | None:
    """Map the failed and partial cells of a result again, and publish it anew.

    Parameters
    ----------
    store : str or Path
        Path or s3:// URL of the Zarr.
    **options
        Fields of `RunOptions`.

    Returns
    -------
    RunResult or None
        None if the result is complete, so that there is nothing to do.

    Raises
    ------
    MaggjobError
        As `run`, or if there was no run, or it left no plan.
    """
    how = RunOptions.taken_from(options)
    plan = retry_plan(store, how.region)
    return None if plan is None else execute(plan, how)
