"""Tasks for those who call Lithops themselves: what would fail after the map is looked at before it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from maggjob.config.load import ConfigLike
from maggjob.errors import InputError
from maggjob.inputs.places import store_place
from maggjob.model.tasks import CellTask
from maggjob.pipeline.target import check_target
from maggjob.planning.make import plan
from maggjob.planning.tasks import make_tasks
from maggjob.storage.credentials import data_centre, environment_token, needs_login
from maggjob.storage.earthdata import private_object


def tasks(
    config: ConfigLike,
    *,
    credentials: str | None = None,
    region: str | None = None,
    overwrite: bool = False,
    **asked: Any,
) -> list[CellTask]:
    """Make tasks for `maggjob.map_cell`, those with most granules first.

    With a store, the lists of granules are written beside it and the tasks say where: Lithops accepts at most 4 MiB of
    tasks. Without a store, the tasks contain the lists, and the reports contain the arrays.

    Parameters
    ----------
    config : str, Path, mapping or Config
    credentials : str, optional
        Where the archive's credentials are (`archive_credentials`); by default the worker's environment has them.
    region : str, optional
        Region of the buckets.
    overwrite : bool
        Whether an existing store may be replaced when the reports are assembled.
    **asked
        ``catalog``, ``store``, ``driver``, ``max_cells`` and ``morton_cell``: see `plan`.

    Raises
    ------
    ExistsError
        If the store exists, and is not to be replaced.
    InputError
        If the granules need credentials that the workers would not have, or another argument cannot be used.

    See Also
    --------
    assemble_run : Assemble the reports into a Zarr store.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> (task,) = tasks("atl06.yaml", catalog=maggjob.make_catalog("granules"), max_cells=1)
    >>> maggjob.map_cell(task).state
    'complete'
    """
    if asked.get("store") is not None:
        check_target(store_place(asked["store"]), overwrite, region)
    found = plan(config, **asked)
    if credentials is None:
        check_login([granule.url for granule in found.used_granules])
    if asked.get("store") is None:
        found = replace(found, store_path=None)
    return make_tasks(found, credentials, region)


def check_login(urls: Sequence[str]) -> None:
    """Check that workers can read granules with what their environment has.

    Parameters
    ----------
    urls : sequence of str
        URLs of the granules.

    Raises
    ------
    InputError
        If they lie in NASA's archive, and there are no credentials for it.
    """
    lost = next((u for u in urls if data_centre(u) or (needs_login(u) and environment_token() is None)), None)
    if lost is not None:
        raise InputError(
            f"{lost} needs an Earthdata login, which tasks made by hand do not have: use maggjob.run, or "
            "with maggjob.archive_credentials(urls) as credentials: maggjob.tasks(..., credentials=credentials)"
        )


@contextmanager
def archive_credentials(
    urls: Sequence[str], bucket: str | None = None, region: str | None = None
) -> Iterator[str | None]:
    """Log in to NASA Earthdata, and keep credentials for workers in a private object while the block runs.

    Parameters
    ----------
    urls : sequence of str
        URLs of the granules that are to be read.
    bucket : str, optional
        Bucket for the object, if the workers are on Lambda; by default it is a local file.
    region : str, optional
        Region of the bucket.

    Yields
    ------
    str or None
        Path or URL of the object, for ``credentials`` of `tasks`; None if the granules need no login.

    Raises
    ------
    AccessError
        If there is no login.

    Examples
    --------
    >>> with archive_credentials(["granules/ATL06_20181014001049_02350102_003_01.h5"]) as credentials:
    ...     print(credentials)
    None
    """
    with private_object(urls, bucket, region) as place:
        yield place
