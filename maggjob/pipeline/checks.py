"""The check of a result, with a login to the archive if granules are read."""

from typing import Any

from maggjob.inputs.places import PlaceLike, store_place
from maggjob.output.saved_plan import read_plan
from maggjob.output.verify import Verification, verify
from maggjob.storage.earthdata import private_object


def verify_result(store: PlaceLike, *, region: str | None = None, **options: Any) -> Verification:
    """Check that a result is still what its run wrote.

    Parameters
    ----------
    store : str or Path
        Path or s3:// URL of the Zarr.
    region : str, optional
        Region of the bucket.
    **options
        ``deep``, ``recompute``, ``granules`` and ``seed``: see `maggjob.output.verify.verify`.

    Raises
    ------
    InputError
        If there is no result, or its manifest, ledger or plan is missing or damaged.
    AccessError
        If granules are to be read, and there is no login for the archive.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> result = maggjob.run("atl06.yaml", catalog=maggjob.make_catalog("granules"), store="map.zarr", backend="serial")
    >>> verify_result("map.zarr", deep=True, recompute=1, granules=True).good
    True
    """
    text = store_place(store)
    reads = options.get("recompute") or options.get("granules")
    urls = [granule.url for granule in read_plan(text, region).used_granules] if reads else []
    with private_object(urls, None, region) as credentials:
        return verify(text, region=region, credentials=credentials, **options)
