"""Build and push an image by the maggjob that this process imports, and print what came of it as JSON.

python -m tests.image.push ADDRESS BASE TAG CACHE    # the registry's login in the variable AUTHORIZATION
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maggjob.aws.build import BuildOptions, push_image
from maggjob.aws.image import Image
from maggjob.aws.login import Login
from tests.image.registry import Registry
from tests.image.tools import MINOR, ROOT, run


@dataclass(frozen=True)
class Pushed:
    """An image that was pushed by `push_image`."""

    uri: str
    """Where it is."""
    digest: str
    """Digest of its manifest."""
    sent: int
    """Bytes sent."""
    fetched: int
    """Bytes fetched: base and wheels."""
    said: tuple[str, ...]
    """What the builder said."""
    seconds: float
    """How long it took."""


def push(registry: Registry, base: str, tag: str, cache: Path, checkout: Path = ROOT) -> Pushed:
    """Build and push the image of a checkout, in a process of its own.

    Parameters
    ----------
    registry : Registry
    base : str
        Base image.
    tag : str
    cache : Path
        The builder's cache.
    checkout : Path
        Folder with the packages maggjob and runtime.
    """
    began = time.monotonic()
    words = [registry.address, base, tag, str(cache)]
    variables = {
        "AUTHORIZATION": registry.authorization,
        "PYTHONPATH": f"{checkout}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    answer = json.loads(run([sys.executable, "-m", "tests.image.push", *words], {**os.environ, **variables}))
    return Pushed(**{**answer, "said": tuple(answer["said"])}, seconds=time.monotonic() - began)


def main(address: str, base: str, tag: str, cache: str) -> None:
    """Build and push."""
    image = Image("123456789012", "us-west-2", "user", f"maggjob:{tag}")
    login = Login(f"http://{address}", os.environ["AUTHORIZATION"])
    said: list[str] = []
    pushed = push_image(image, login, BuildOptions(MINOR, base=base, cache=Path(cache)), said.append)
    answer: dict[str, Any] = {"uri": f"{address}/{image.repository}:{tag}", "said": said}
    answer |= {name: getattr(pushed, name) for name in ("digest", "sent", "fetched")}
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
