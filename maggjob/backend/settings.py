"""Where the workers of a run are and which storage they can reach: workers on Lambda share no disk with the client."""

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from maggjob.backend.preload import local_interpreter
from maggjob.backend.workers import default_workers, memory_per_worker
from maggjob.errors import AccessError, BackendError, InputError
from maggjob.inputs.places import local_place
from maggjob.inputs.plain_yaml import load_yaml

# MB; Lithops' own default for runtime_memory.
LAMBDA_MEMORY = 256
FAIR_SHARE = 400
"""Largest number of workers on Lambda unless the configuration or the user says otherwise: several users of a hub can
run at once within the usual quota of an account."""
QUOTA = 1000
"""Usual quota of concurrent calls of an AWS account."""


@dataclass(frozen=True)
class BackendSettings:
    """Where the calls of a run are executed."""

    backend: str
    """localhost, aws_lambda or serial."""
    workers: int
    """Maximum number of workers at once."""
    config: Mapping[str, Any] | None
    """Lithops' configuration; None for serial."""
    region: str | None
    """Region of the buckets; None to take it from the environment."""

    @property
    def memory_mb(self) -> float:
        """Memory of a worker on Lambda, MB."""
        return float((self.config or {}).get("aws_lambda", {}).get("runtime_memory") or LAMBDA_MEMORY)

    @property
    def worker_memory(self) -> float:
        """Memory that one worker may take, bytes; infinite if unknown."""
        return self.memory_mb * 2**20 if self.backend == "aws_lambda" else memory_per_worker(self.workers)

    @property
    def workers_region(self) -> str | None:
        """Region of workers on Lambda; None if they are on this machine, or the configuration names none."""
        if self.backend != "aws_lambda" or self.config is None:
            return None
        section = {**self.config.get("aws", {}), **self.config.get("aws_lambda", {})}
        return section.get("region") or section.get("region_name")

    @property
    def private_bucket(self) -> str | None:
        """Bucket that credentials for workers are written to; None if the workers read the client's files.

        Raises
        ------
        InputError
            If the workers are on Lambda and the configuration names no bucket.
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
    choose: Callable[[int], int] | None = None,
) -> BackendSettings:
    """Decide where the calls of a run are executed, and by how many workers at once.

    Parameters
    ----------
    backend : {"localhost", "aws_lambda", "serial"}
    tasks : int
        Number of tasks of the map, which limits the number of local workers.
    max_workers : int, optional
        Maximum number of workers; by default as many as cores and memory allow, on Lambda at most what the Lithops
        configuration says.
    given : mapping or path, optional
        See `maggjob.backend.settings.lithops_config`.
    region : str, optional
        Region of the buckets; by default that of the Lithops configuration for Lambda, else the environment's.
    choose : callable, optional
        Chooses the number of workers on Lambda, given the largest number of them that the configuration allows.

    Raises
    ------
    InputError
        If the Lithops configuration cannot be used, or ``max_workers`` is below 1.
    """
    if max_workers is not None and (type(max_workers) is not int or max_workers < 1):
        raise InputError(f"max_workers is {max_workers!r}; give a whole number, 1 or more")
    if backend == "serial":
        return BackendSettings(backend, 1, None, region)
    if backend != "aws_lambda":
        workers = min(max_workers or default_workers(), tasks)
        return BackendSettings(backend, workers, lithops_config(backend, workers, given), region)
    config = lithops_config(backend, None, given)
    check_filled_in(config)
    most = config["aws_lambda"].get("max_workers", FAIR_SHARE)
    if type(most) is not int or most < 1:
        raise InputError(f"max_workers of aws_lambda in the Lithops configuration is {most!r}; write 1 or more")
    workers = max_workers or (most if choose is None else min(most, choose(most)))
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
SESSION = "__LITHOPS_SESSION_ID"
"""Environment variable with which Lithops is told the first part of the ids of its executors."""
OWN = ":"
"""What stands between the id of a user and the rest of a key."""
TO_FILL_IN = "CHANGE-ME"


def resolve_backend(name: str) -> str:
    """Return the backend that a name stands for; ``local`` and ``lambda`` are short for localhost and aws_lambda.

    Raises
    ------
    InputError
        If the name is unknown.
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
    """Return the configuration that is passed to Lithops.

    Parameters
    ----------
    backend : str
        localhost or aws_lambda.
    workers : int, optional
        Number of local processes; by default as many as cores and memory allow.
    given : mapping or path, optional
        Lithops' own configuration; by default lithops_config.yaml in ``folder``, else a built-in one
        for localhost. Lithops does not find a file of that name by itself.
    folder : Path, optional
        By default the working directory.

    Raises
    ------
    InputError
        If the file does not exist, is not a YAML mapping, or has no section for the backend.

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
            content = load_yaml(local_place(source, "Lithops configuration").read_text(encoding="utf-8-sig")) or {}
        except FileNotFoundError as problem:
            raise InputError(
                f"there is no Lithops configuration {source}; 'maggjob init --lithops' writes {CONFIG_FILE}"
            ) from problem
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as problem:
            raise InputError(f"Lithops configuration {source}: {' '.join(str(problem).split())}") from problem
    if not isinstance(content, dict):
        raise InputError(f"Lithops configuration {source}: expected a mapping with a section 'lithops'")
    # Empty sections.
    content = {key: {} if value is None else value for key, value in content.items()}
    for key in {"lithops", backend, "aws", "aws_s3"} & content.keys():
        if not isinstance(content[key], Mapping):
            raise InputError(f"Lithops configuration {source}: section {key!r} is not a mapping")
    config = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    general = config.setdefault("lithops", {})
    general["backend"] = backend
    # maggjob cleans up; Lithops' cleaner outlives the run.
    general.setdefault("data_cleaner", False)
    if backend == "localhost":
        general["storage"] = "localhost"
        local = config.setdefault("localhost", {})
        # Version 2 starts an interpreter per call.
        local.setdefault("version", 1)
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
    """Return the path of the commented Lithops configuration that comes with maggjob."""
    # In a wheel the file is in this folder, in a checkout beside the package.
    inside, beside = resources.files("maggjob.backend") / CONFIG_FILE, Path(str(resources.files("maggjob"))).parent
    return Path(str(inside)) if inside.is_file() else beside / CONFIG_FILE


def name_executors(config: Mapping[str, Any]) -> None:
    """Make the keys of Lithops' objects in a bucket begin with the id of the user at AWS.

    A policy can then keep the calls of one user from the others (runtime/template.yaml, UserPolicy): whoever can write
    an answer can run code in the client that reads it. The separator occurs in no name of a session.

    Parameters
    ----------
    config : mapping
        Lithops' configuration; unless it is for Lambda, nothing is changed.

    Raises
    ------
    BackendError
        If AWS does not recognise the caller.
    """
    if config.get("lithops", {}).get("backend") != "aws_lambda":
        return
    from maggjob.storage.identity import caller_id

    try:
        prefix = f"{caller_id(config.get('aws', {}).get('region'))}{OWN}"
    except AccessError as problem:
        raise BackendError(str(problem)) from None
    if not os.environ.get(SESSION, "").startswith(prefix):
        os.environ[SESSION] = f"{prefix}{secrets.token_hex(3)}"


def check_filled_in(config: Mapping[str, Any]) -> None:
    """Check that a configuration for Lambda contains no placeholder.

    Raises
    ------
    InputError
        If a CHANGE-ME placeholder remains.
    """
    if config.get("lithops", {}).get("backend") == "aws_lambda" and TO_FILL_IN in str(config):
        raise InputError(f"the Lithops configuration still says {TO_FILL_IN}: write the values of your account there")
