"""A catalog may come from anybody: it does not decide which buckets a run asks with the user's credentials."""

from dataclasses import replace
from pathlib import Path

import pytest

import maggjob
from maggjob.catalog.sources import check_sources
from maggjob.errors import CatalogError, InputError

NASA = "s3://nsidc-cumulus-prod-protected/ATLAS/a.h5"
GOOD = [
    "/data/a.h5",
    "https://data.example.org/a.h5",
    "file:///data/a.h5",
    NASA,
    "https://data.nsidc.earthdatacloud.nasa.gov/a.h5",
]
FOREIGN = ["s3://evil/a.h5", "s3://nsidc-cumulus-prod-protected.evil/a.h5", "s3://nsidc/a.h5"]


@pytest.mark.parametrize("url", FOREIGN)
def test_foreign_sources_are_refused_unless_they_are_named(url: str) -> None:
    check_sources(GOOD)
    with pytest.raises(CatalogError, match=r"data_source\.sources") as caught:
        check_sources([*GOOD, url])
    root = "/".join(url.split("/")[:3])
    assert root in str(caught.value)
    check_sources([*GOOD, url], [f"{root}/"])


def test_buckets_of_ones_own_server_are_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    check_sources(["s3://mine/a.h5"])


@pytest.mark.dear("imports boto3 in a process of its own")
def test_a_foreign_bucket_is_not_asked(sector: list[Path]) -> None:
    """The run is refused before it begins, and leaves nothing."""
    catalog = maggjob.make_catalog(sector[:2])
    moved = [replace(entry, urls={"s3": f"s3://evil/{entry.id}.h5"}) for entry in catalog.granules]
    for backend in ("serial", "localhost"):
        with pytest.raises(InputError, match="is not in NASA's archive"):
            maggjob.run("atl06.yaml", catalog=replace(catalog, granules=tuple(moved)), store="x.zarr", backend=backend)
    assert list(Path().iterdir()) == []
