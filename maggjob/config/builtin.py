"""The built-in configurations, by name. It imports nothing heavy, so that a shell completes their names at once."""

import re
from importlib import resources
from pathlib import Path

END = ".yaml"
JOB = re.compile(r"^job: (\w+)", re.MULTILINE)
"""Line of a configuration of another job than cells."""


def builtin_configs(job: str | None = "cells") -> dict[str, Path]:
    """Return the path of each built-in configuration of a job by the name of its file.

    Parameters
    ----------
    job : str, optional
        Job of the configurations: cells, series or scenes; None for all.
    """
    # A wheel has them in this folder, a checkout beside the package.
    package = Path(str(resources.files("maggjob")))
    inside = package / "config" / "builtin"
    folder = inside if inside.is_dir() else package.parent / "configs"
    return {path.name: path for path in sorted(folder.glob(f"*{END}")) if job in (None, job_of(path))}


def job_of(path: Path) -> str:
    """Return the job that a configuration is for."""
    found = JOB.search(path.read_text(encoding="utf-8"))
    return "cells" if found is None else found.group(1)


def builtin_names(job: str | None = "cells") -> list[str]:
    """Return the names of the built-in configurations of a job, without the end of the names of their files."""
    return [name.removesuffix(END) for name in builtin_configs(job)]


def find_builtin(name: str, job: str | None = "cells") -> Path | None:
    """Return the path of a built-in configuration; None if there is none of that name.

    Parameters
    ----------
    name : str
        Its name, with or without ``.yaml``.
    job : str, optional
        Its job; None for any.

    Examples
    --------
    >>> find_builtin("atl06").name
    'atl06.yaml'
    """
    return builtin_configs(job).get(f"{name.removesuffix(END)}{END}")
