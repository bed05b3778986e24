"""What a run keeps about itself beside its results: when each of its calls ran, and the versions of its packages.

None of it is part of a result, which depends on data and configuration only. The times of all calls are in an object of
their own, so that the summary stays small enough to be read by people.
"""

import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from platform import platform, python_version
from typing import Any

from maggjob._version import __version__
from maggjob.backend.call_times import StageCalls
from maggjob.inputs.plain_json import load_json

FORMAT = 1
"""Version of the object with the times."""
PACKAGES = ("lithops", "h5coro", "mortie", "obstore", "zarr", "numpy", "earthaccess")
"""Packages that may affect results."""


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of maggjob, of the packages that may affect results, and of Python with its platform."""
    found = {"maggjob": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | {"python": f"{python_version()} on {platform(terse=True)}"}


def calls_json(started: str, stages: Iterable[StageCalls]) -> bytes:
    """Return the times of all calls of a run as JSON.

    Parameters
    ----------
    started : str
        Start of the run, as in its summary: it tells which run the times are of.
    stages : iterable of StageCalls
        The stages, in the order in which they began.
    """
    plain = {"format": FORMAT, "started": started, "stages": [stage.to_dict() for stage in stages]}
    return json.dumps(plain, separators=(",", ":")).encode()


def parse_calls(content: bytes, started: str) -> list[StageCalls]:
    """Return the times of the calls of a run; nothing if they are of another run, or of another format.

    Parameters
    ----------
    content : bytes
        From `calls_json`.
    started : str
        Start of the run.

    Raises
    ------
    ValueError
        If the content is damaged.
    """
    plain: Any = load_json(content)
    try:
        if plain["format"] != FORMAT or plain["started"] != started:
            return []
        return [StageCalls.from_dict(stage) for stage in plain["stages"]]
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"{type(problem).__name__}: {problem}") from problem
