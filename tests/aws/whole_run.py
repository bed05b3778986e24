"""A whole run on the emulated Lambda, compared with a serial run of the client: the same bytes in every object."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3

import maggjob
from tests.aws.world import REGION, World


@dataclass(frozen=True)
class Compared:
    """What two runs of the same work left behind."""

    on_lambda: dict[str, bytes]
    """Objects of the Zarr and the parts, by key, of the run on Lambda."""
    serial: dict[str, bytes]
    """The same of the serial run."""
    complete: bool
    """True if both runs were."""
    observations: int
    """Segments that the run on Lambda used."""
    cells: int
    """Cells of the plan."""


def objects(store: str) -> dict[str, bytes]:
    """Return the objects of a store and of its parts."""
    bucket = boto3.resource("s3").Bucket("results")
    found = [item for below in ("/", ".run/parts/") for item in bucket.objects.filter(Prefix=f"{store}{below}")]
    return {item.key.removeprefix(store): item.get()["Body"].read() for item in found}


def run_on_both(aws: World, folder: Path, area: tuple[float, float, float, float]) -> Compared:
    """Simulate granules, and run them on the emulated Lambda and in this process.

    Parameters
    ----------
    aws : World
        The environment must point at it.
    folder : Path
        For the granules.
    area : tuple of float
        West, south, east and north of the granules, in degrees.
    """
    for name in ("archive", "results"):
        boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    for path in maggjob.simulate(folder, area=area, every=20, most=4):
        boto3.client("s3").upload_file(str(path), "archive", path.name)
    here = maggjob.make_catalog(folder)
    moved = [replace(e, urls={"s3": f"s3://archive/{Path(e.urls['file']).name}"}) for e in here.granules]
    catalog = replace(here, granules=tuple(moved))
    config = aws.fresh_config(runtime_timeout=300)
    given: dict[str, dict[str, Any]] = {"aws_lambda": {"lithops_config": config}, "serial": {"region": REGION}}
    done = {
        backend: maggjob.run(
            "atl06.yaml",
            catalog=catalog,
            store=f"s3://results/{backend}.zarr",
            backend=backend,
            index=True,
            deadline=900,
            **options,
        )
        for backend, options in given.items()
    }
    result = done["aws_lambda"]
    return Compared(
        objects("aws_lambda.zarr"),
        objects("serial.zarr"),
        all(one.complete for one in done.values()),
        result.tally.observations,
        len(result.plan.cells),
    )
