"""Where a run's workers are, and what they can reach: those on Lambda have no disk in common with the client."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maggjob.errors import InputError
from maggjob.planning import Plan
from maggjob.resources import default_workers
from maggjob.runner import check_filled_in, lithops_config
from maggjob.storage import is_remote

LAMBDA_MEMORY = 256  # MB; Lithops' own default for runtime_memory
LAMBDA_WORKERS = 1000  # Lithops' own default for max_workers of aws_lambda, and the usual quota of an account


@dataclass(frozen=True)
class Setting:
    """Where the calls of a run go."""

    backend: str
    """localhost, aws_lambda or serial."""
    workers: int
    """Workers at once, at most."""
    config: Mapping[str, Any] | None
    """Lithops' configuration; None for serial."""
    region: str | None
    """Region of the buckets; None for the environment's."""

    @property
    def memory_mb(self) -> float:
        """Memory of a worker on Lambda, MB."""
        return float((self.config or {}).get("aws_lambda", {}).get("runtime_memory") or LAMBDA_MEMORY)

    @property
    def private_bucket(self) -> str | None:
        """Bucket that credentials for workers are written to; None where they read the client's files.

        Raises
        ------
        InputError
            The workers are on Lambda, and no bucket is named.
        """
        if self.backend != "aws_lambda" or self.config is None:
            return None
        bucket = self.config.get("aws_s3", {}).get("storage_bucket")
        if not bucket:
            raise InputError("the Lithops configuration names no bucket; write storage_bucket in its section aws_s3")
        return str(bucket)


def place_run(
    backend: str,
    cells: int,
    max_workers: int | None = None,
    given: Mapping[str, Any] | str | Path | None = None,
    region: str | None = None,
) -> Setting:
    """Work out where the calls of a run go, and how many workers there are at once.

    Parameters
    ----------
    backend : {"localhost", "aws_lambda", "serial"}
    cells : int
        To work on.
    max_workers : int, optional
        At most so many; by default what cores and memory allow here, and what the Lithops configuration says of Lambda.
    given : mapping or path, optional
        See `maggjob.runner.lithops_config`.
    region : str, optional
        By default that of the Lithops configuration for Lambda, else the environment's.

    Raises
    ------
    InputError
        The Lithops configuration cannot be used, or ``max_workers`` is below 1.
    """
    if max_workers is not None and max_workers < 1:
        raise InputError(f"max_workers is {max_workers}; give 1 or more")
    if backend == "serial":
        return Setting(backend, 1, None, region)
    if backend != "aws_lambda":
        workers = min(max_workers or default_workers(), cells)
        return Setting(backend, workers, lithops_config(backend, workers, given), region)
    config = lithops_config(backend, None, given)
    check_filled_in(config)
    most = config["aws_lambda"].get("max_workers", LAMBDA_WORKERS)
    if not isinstance(most, int) or most < 1:
        raise InputError(f"max_workers of aws_lambda in the Lithops configuration is {most!r}; write 1 or more")
    workers = min(max_workers or most, most)
    config["aws_lambda"] = {**config["aws_lambda"], "max_workers": workers}
    where = config["aws_lambda"].get("region") or config.get("aws", {}).get("region")
    return Setting(backend, workers, config, region or where)


def check_reach(backend: str, made: Plan, indexes: str | None = None) -> None:
    """See that workers can reach what they are to read and write.

    Raises
    ------
    InputError
        Something of it lies on the client, and the workers are on Lambda.
    """
    if backend != "aws_lambda":
        return
    why = "workers on Lambda cannot reach this machine"
    if made.store_path is not None and not made.store_path.startswith("s3://"):
        raise InputError(f"store {made.store_path}: {why}; give --store s3://BUCKET/NAME.zarr")
    if indexes is not None and not indexes.startswith("s3://"):
        raise InputError(f"indexes at {indexes}: {why}; give --indexes s3://BUCKET/FOLDER, or leave it out")
    local = [granule.url for granule in made.used_granules if not is_remote(granule.url)]
    if local:
        raise InputError(
            f"{len(local)} of {len(made.used_granules)} granules are local files, such as {local[0]}: {why}; "
            "copy them to a bucket, or make a catalog of the archive with 'maggjob catalog'"
        )
