"""Whether workers can reach what a run reads and writes: asked before anything is written."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from maggjob.backend.settings import BackendSettings
from maggjob.errors import AccessError, GranuleError, InputError
from maggjob.storage.archive import Archive, Ranges
from maggjob.storage.credentials import data_centre
from maggjob.storage.stores import DEFAULT_REGION
from maggjob.storage.urls import is_remote

ELSEWHERE = "NASA's archive can be read over s3 in us-west-2 only"


class Work(Protocol):
    """What a run reads and writes, as in `maggjob.pipeline.session.RunDescription`."""

    @property
    def store(self) -> str:
        """Path or URL of the result."""

    @property
    def urls(self) -> Sequence[str]:
        """URLs that are read from the archive."""

    @property
    def folders(self) -> Mapping[str, str | None]:
        """Other folders that workers use, by the name of their option; None if not used."""


def check_reach(backend: str, run: Work) -> None:
    """Check that workers can reach everything that they read and write.

    Parameters
    ----------
    backend : {"localhost", "aws_lambda", "serial"}
        Backend of the calls.
    run : RunDescription
        Description of the work.

    Raises
    ------
    InputError
        If the workers are on Lambda, and the store, a granule or a folder is on this machine.
    """
    if backend != "aws_lambda":
        return
    why = "workers on Lambda cannot reach this machine"
    if not run.store.startswith("s3://"):
        raise InputError(f"store {run.store}: {why}; give --store s3://BUCKET/NAME.zarr")
    for name, url in run.folders.items():
        if url is not None and not url.startswith("s3://"):
            raise InputError(f"{name} at {url}: {why}; give --{name} s3://BUCKET/FOLDER, or leave it out")
    local = [url for url in run.urls if not is_remote(url)]
    if local:
        raise InputError(
            f"{len(local)} of {len(run.urls)} granules are local files, such as {local[0]}: {why}; "
            "copy them to a bucket, or make a catalog of the archive with 'maggjob catalog'"
        )


def check_region(settings: BackendSettings, run: Work) -> None:
    """Check that workers on Lambda are in the region from which NASA's archive can be read over s3.

    Parameters
    ----------
    settings : BackendSettings
        Where the calls are executed.
    run : RunDescription
        Description of the work.

    Raises
    ------
    InputError
        If they are in another region, and a granule is in one of NASA's protected buckets.
    """
    there = settings.workers_region
    url = next(filter(data_centre, run.urls), None)
    if settings.backend == "aws_lambda" and url is not None and there not in (None, DEFAULT_REGION):
        raise InputError(
            f"workers are in {there}, and {ELSEWHERE}, such as {url}; write region: {DEFAULT_REGION} in section aws "
            "of the Lithops configuration and deploy there, or give --driver https"
        )


def check_archive(settings: BackendSettings, run: Work, credentials: str | None) -> None:
    """Read a byte of one of NASA's protected granules where local workers will, as whole runs are denied elsewhere.

    Anything but a denial concerns this granule only, and is left to the run.

    Parameters
    ----------
    settings : BackendSettings
        Where the calls are executed; on Lambda nothing is read, as this machine may be elsewhere.
    run : RunDescription
        Description of the work.
    credentials : str, optional
        Path of the archive's credentials.

    Raises
    ------
    AccessError
        If the archive denies access.
    """
    url = next(filter(data_centre, run.urls), None)
    if settings.backend == "aws_lambda" or url is None:
        return
    archive = Archive(credentials)
    try:
        if data_centre(url) in archive.credential_set().s3:
            Ranges(url, archive).get(0, 1)
    except AccessError as problem:
        raise AccessError(f"{problem}; elsewhere, give --driver https") from None
    except GranuleError:
        return
