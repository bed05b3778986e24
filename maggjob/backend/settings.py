"""Where a run's workers are, and what they can reach: those on Lambda have no disk in common with the client."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from maggjob.backend.preload import local_interpreter
from maggjob.backend.workers import default_workers
from maggjob.errors import InputError

LAMBDA_MEMORY = 256  # MB; Lithops' own default for runtime_memory
LAMBDA_WORKERS = 1000  # Lithops' own default for max_workers of aws_lambda, and the usual quota of an account


@dataclass(frozen=True)
class BackendSettings:
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


def settings_of(
    backend: str,
    tasks: int,
    max_workers: int | None = None,
    given: Mapping[str, Any] | str | Path | None = None,
    region: str | None = None,
) -> BackendSettings:
    """Work out where the calls of a run go, and how many workers there are at once.

    Parameters
    ----------
    backend : {"localhost", "aws_lambda", "serial"}
    tasks : int
        Tasks of the map: there are never more local workers.
    max_workers : int, optional
        At most so many; by default what cores and memory allow here, and what the Lithops configuration says of Lambda.
    given : mapping or path, optional
        See `maggjob.backend.settings.lithops_config`.
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
        return BackendSettings(backend, 1, None, region)
    if backend != "aws_lambda":
        workers = min(max_workers or default_workers(), tasks)
        return BackendSettings(backend, workers, lithops_config(backend, workers, given), region)
    config = lithops_config(backend, None, given)
    check_filled_in(config)
    most = config["aws_lambda"].get("max_workers", LAMBDA_WORKERS)
    if not isinstance(most, int) or most < 1:
        raise InputError(f"max_workers of aws_lambda in the Lithops configuration is {most!r}; write 1 or more")
    workers = min(max_workers or most, most)
    config["aws_lambda"] = {**config["aws_lambda"], "max_workers": workers}
    where = config["aws_lambda"].get("region") or config.get("aws", {}).get("region")
    return BackendSettings(backend, workers, config, region or where)


BACKENDS = {
    "localhost": "localhost",
    "local": "localhost",
    "aws_lambda": "aws_lambda",
    "lambda": "aws_lambda",
    "serial": "serial",
}
CONFIG_FILE = "lithops_config.yaml"
TO_FILL_IN = "CHANGE-ME"


def resolve_backend(name: str) -> str:
    """The backend behind a name; ``local`` and ``lambda`` are short for localhost and aws_lambda.

    Raises
    ------
    InputError
        There is no such backend.
    """
    if name not in BACKENDS:
        raise InputError(f"backend {name!r} is unknown; known are {', '.join(BACKENDS)}")
    return BACKENDS[name]


def lithops_config(
    backend: str = "localhost",
    workers: int | None = None,
    given: Mapping[str, Any] | str | Path | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """The configuration that Lithops is handed.

    Parameters
    ----------
    backend : str
        localhost or aws_lambda.
    workers : int, optional
        Local processes; by default what cores and memory allow.
    given : mapping or path, optional
        Lithops' own configuration; by default lithops_config.yaml in ``folder``, else a built-in one
        for localhost. Lithops finds no file of that name by itself.
    folder : Path, optional
        By default the working directory.

    Raises
    ------
    InputError
        The file is not there, is no YAML mapping, or has no section for the backend.

    Examples
    --------
    >>> lithops_config(workers=2)["localhost"]["worker_processes"]
    2
    """
    source: str | Path | None = None
    content: Any = {}
    if isinstance(given, Mapping):
        content = dict(given)
    else:
        beside = (folder or Path()) / CONFIG_FILE
        source = given if given is not None else beside if beside.is_file() else None
    if source is not None:
        try:
            content = yaml.safe_load(Path(source).read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as problem:
            raise InputError(f"Lithops configuration {source}: {' '.join(str(problem).split())}") from problem
    if not isinstance(content, dict):
        raise InputError(f"Lithops configuration {source}: expected a mapping with a section 'lithops'")
    content = {key: {} if value is None else value for key, value in content.items()}  # sections that are left empty
    for key in {"lithops", backend, "aws", "aws_s3"} & content.keys():
        if not isinstance(content[key], Mapping):
            raise InputError(f"Lithops configuration {source}: section {key!r} is no mapping")
    config = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    general = config.setdefault("lithops", {})
    general["backend"] = backend
    general.setdefault("data_cleaner", False)  # we clean up ourselves; its process would outlive the run
    if backend == "localhost":
        general["storage"] = "localhost"
        local = config.setdefault("localhost", {})
        local.setdefault("version", 1)  # version 2 starts an interpreter a call
        local.setdefault("runtime", local_interpreter())
        local["worker_processes"] = workers or default_workers()
    elif backend not in config:
        raise InputError(
            f"Lithops configuration {source or '(none)'} has no section {backend!r}; add one as in {packaged_config()}"
        )
    elif backend == "aws_lambda" and general.get("storage", "localhost") == "localhost":
        general["storage"] = "aws_s3"
    return config


def packaged_config() -> Path:
    """The commented configuration that comes with maggjob."""
    # In a wheel it lies in this room, in a checkout beside the package.
    inside, beside = resources.files("maggjob.backend") / CONFIG_FILE, Path(str(resources.files("maggjob"))).parent
    return Path(str(inside)) if inside.is_file() else beside / CONFIG_FILE


def check_filled_in(config: Mapping[str, Any]) -> None:
    """See that no placeholder is left in a configuration for Lambda.

    Raises
    ------
    InputError
        There is one.
    """
    if config.get("lithops", {}).get("backend") == "aws_lambda" and TO_FILL_IN in str(config):
        raise InputError(f"the Lithops configuration still says {TO_FILL_IN}: write there what the AWS account has")
