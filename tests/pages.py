"""The blocks of a page of the documentation, and what runs them: a shell, a Python, an archive and a CMR to ask."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import shapely
import yaml

import maggjob
from maggjob.config.load import builtin_configs
from maggjob.simulator.scene import simulate
from tests.catalog.test_search_run import stand

ROOT = Path(maggjob.__file__).parents[1]
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
AREA = (-105.0, -75.8, -103.0, -75.0)
CYCLES = tuple(range(14, 25))
RESULTS = {
    "atl06": ("atl06.zarr", "map.zarr"),
    "atl06_cycles": ("atl06_cycles.zarr", "cycles.zarr"),
    "atl06_trend": ("dh.zarr", "change.zarr"),
}
"""Results that pages use, by the configuration that makes them."""
# Pip asks a package index: what it would install is what the tests run with.
PIP = re.compile(r"^pip install .*$", re.MULTILINE)
MAGGJOB = """#!{python}
import os
import maggjob.catalog.search
maggjob.catalog.search.CMR = os.environ["CMR_OF_THE_TEST"]
from maggjob.cli.commands import main
main()
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    text = page.read_text()
    return [
        Block(match[2], textwrap.dedent(match[3]), text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


def added_to_atl06(text: str) -> dict[str, Any]:
    """Return the built-in configuration with the sections of a block of YAML added to its own."""
    whole: dict[str, Any] = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    for section, content in yaml.safe_load(text).items():
        for key, value in content.items():
            there = whole.setdefault(section, {})
            there[key] = there[key] | value if isinstance(there.get(key), dict) else value
    return whole


def granules_for_pages(folder: Path) -> list[Path]:
    """Simulate thin granules of eleven cycles near Pine Island Glacier, of the version that a search asks for."""
    made = simulate(folder, area=AREA, cycles=CYCLES, every=20, most=3, pass_bias=0.05, dem_error=0.3)
    return [path.rename(path.with_name(path.name.replace("_006_00", "_007_01"))) for path in made]


def results_for_pages(folder: Path) -> None:
    """Make a catalog, and results and outlines under the names that pages use."""
    catalog = maggjob.make_catalog(folder / "granules")
    catalog.write(folder / "catalog.json")
    for config, names in RESULTS.items():
        first, *others = (folder / name for name in names)
        maggjob.run(f"{config}.yaml", catalog=catalog, store=first, backend="serial", index=False)
        for other in others:
            shutil.copytree(first, other)
            shutil.copytree(f"{first}.run", f"{other}.run")
    west, south, east, north = AREA
    halves = {"Pine Island": (west, south, -104.0, north), "Thwaites": (-104.0, south, east, north)}
    shapes = {name: shapely.box(*box) for name, box in halves.items()}
    (folder / "glacier.geojson").write_text(shapely.to_geojson(shapes["Pine Island"]))
    pyogrio.raw.write(
        folder / "glaciers.gpkg",
        shapely.to_wkb(np.array(list(shapes.values()))),
        [np.array(list(shapes), object)],
        ["name"],
        geometry_type="Polygon",
        crs="EPSG:4326",
    )


class Reader:
    """Somebody who types what a page shows, block by block, in a folder."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {}
        tools = folder / ".tools"
        tools.mkdir()
        (tools / "maggjob").write_text(MAGGJOB.format(python=sys.executable))
        (tools / "maggjob").chmod(0o755)
        (tools / "python").symlink_to(sys.executable)
        (folder / ".config" / "fish" / "completions").mkdir(parents=True)
        self.environment = os.environ | {
            "CMR_OF_THE_TEST": endpoint,
            "HOME": str(folder),
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def shell(self, text: str) -> str:
        """Run a block of commands; the first that fails is an error."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", PIP.sub("", text)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, text: str, where: str) -> None:
        """Run a block of Python, with the names of the blocks before it."""
        exec(compile(text, where, "exec"), self.names)

    def block(self, block: Block, where: str) -> None:
        """Do what a reader does with a block."""
        if block.language == "sh":
            self.shell(block.text)
        elif block.language == "python":
            self.python(block.text, where)
        elif block.language == "yaml":
            (self.folder / "mine.yaml").write_text(yaml.safe_dump(added_to_atl06(block.text)))


@contextmanager
def reader(folder: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in a copy of a prepared folder, with stand-ins for NASA's CMR, archive and login."""
    shutil.copytree(prepared, folder, symlinks=True)
    granules = sorted((prepared / "granules").glob("*.h5"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr("earthaccess.login", lambda **asked: None)
    with stand(granules) as there:
        monkeypatch.setattr("maggjob.catalog.search.CMR", there.endpoint)
        yield Reader(folder, there.endpoint)
