"""The house stands: rooms import downwards only, workers stay light, the public names are there.

What each room is for, and what it may import, stands in the docstring of its folder and in docs/architecture.md.
"""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import maggjob

PACKAGE = Path(maggjob.__file__).parent
GROUND = {"errors", "_version", "inputs"}
"""Modules that every room may import."""
MAY_IMPORT = {
    "errors": "",
    "_version": "",
    "inputs": "",
    "backend": "storage",
    "grid": "",
    "hdf5": "",
    "icesat2": "",
    "statistics": "",
    "storage": "",
    "model": "grid statistics",
    "config": "grid icesat2 model statistics",
    "simulator": "icesat2",
    "granules": "grid hdf5 icesat2 model statistics storage",
    "jobs": "granules grid model statistics storage",
    "catalog": "config granules grid icesat2 model storage",
    "planning": "backend catalog config granules grid icesat2 model storage",
    "output": "catalog config grid icesat2 jobs model planning statistics storage",
    "aws": "backend jobs storage",
    "pipeline": "backend catalog config granules grid icesat2 jobs model output planning storage",
    "show": "backend catalog grid icesat2 model output pipeline planning statistics storage",
    "job": "jobs model",
    "coverage": "grid",
    "cli": "aws backend catalog config grid icesat2 pipeline planning show simulator storage",
    "__main__": "cli",
}
"""Each room, and the rooms of which it may import modules, besides those of the ground."""


def room_of(path: Path) -> str:
    """The folder of a module, or the name of one that lies beside the folders."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> set[str]:
    """Modules of maggjob that a source imports, at its top or inside functions, such as ``grid.healpix``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "maggjob":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {n if (PACKAGE.parent / (n.replace(".", "/") + ".py")).is_file() else node.module for n in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "maggjob"}
    return {name.removeprefix("maggjob").removeprefix(".") or "__init__" for name in found}


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def imports() -> dict[str, set[str]]:
    """Modules that each module imports; read by the tests that ask, as every process collects this file."""
    return {".".join(p.relative_to(PACKAGE).with_suffix("").parts): imported(p) for p in MODULES}


def floors(imports: dict[str, set[str]]) -> dict[str, int]:
    """Floor of each node of a graph: one above the highest that it imports.

    Raises
    ------
    ValueError
        If nodes import each other in a circle.
    """
    found: dict[str, int] = {}

    def floor(node: str, above: tuple[str, ...]) -> int:
        if node in above:
            raise ValueError(f"a circle: {' -> '.join([*above[above.index(node) :], node])}")
        if node not in found:
            found[node] = 1 + max((floor(one, (*above, node)) for one in imports[node]), default=0)
        return found[node]

    for node in imports:
        floor(node, ())
    return found


def test_every_room_has_its_rule() -> None:
    rooms = {
        p.name.removesuffix(".py") for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()
    }
    assert rooms - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_what_it_may(module: Path) -> None:
    room = room_of(module)
    allowed = {room, *GROUND, *MAY_IMPORT[room].split()}
    outside = {name for name in imported(module) if name.split(".")[0] not in allowed}
    assert not outside, f"{module.relative_to(PACKAGE)} imports {outside}; {room} may import {sorted(allowed)}"


def test_modules_import_no_circle() -> None:
    assert max(floors(imports()).values()) <= 25


def test_rooms_stand_on_few_floors() -> None:
    rooms: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for module, names in imports().items():
        room = module.split(".")[0]
        rooms[room] |= {name.split(".")[0] for name in names} - {room}
    assert max(floors(rooms).values()) <= 12


@pytest.mark.parametrize("folder", sorted(p.parent for p in PACKAGE.glob("*/__init__.py")), ids=lambda p: p.name)
def test_a_room_says_what_it_is_for(folder: Path) -> None:
    (only,) = ast.parse((folder / "__init__.py").read_text()).body
    assert isinstance(only, ast.Expr), "one docstring, and nothing else"
    assert isinstance(only.value, ast.Constant)


def test_the_package_is_easy_to_look_over() -> None:
    assert len([p for p in PACKAGE.iterdir() if p.name != "__pycache__"]) <= 26
    lines = {p.relative_to(PACKAGE): len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert not {path: count for path, count in lines.items() if count > 400}


@pytest.mark.parametrize("room", ["grid", "statistics", "icesat2", "model"])
def test_pure_rooms_touch_nothing(room: str) -> None:
    for path in (PACKAGE / room).glob("*.py"):
        imports = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {(n.module if isinstance(n, ast.ImportFrom) else n.names[0].name) or "" for n in imports}
        roots = {name.split(".")[0] for name in names}
        assert roots.isdisjoint({"obstore", "lithops", "h5coro", "os", "socket", "requests"}), path.name


def test_icesat2_is_named_in_its_room_only() -> None:
    """A product's name, or a pattern of one, in code; docstrings and comments may speak of them."""
    for path in MODULES:
        if room_of(path) in ("icesat2", "simulator"):
            continue
        tree = ast.parse(path.read_text())
        documented = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        named = [n.value for n in strings if id(n) not in documented and "ATL" in n.value.replace("ATLAS", "")]
        assert not named, f"{path.relative_to(PACKAGE)} names {named}"


def test_no_assert_guards_input() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)], path.name


@pytest.mark.parametrize("module", ["maggjob.job", "maggjob.jobs.wire"])
def test_a_worker_imports_little(module: str) -> None:
    heavy = "pydantic yaml click healpy pandas zarr astropy shapely matplotlib earthaccess boto3 lithops"
    code = f"import {module}, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("given", "found"), [(None, "4"), ("20", "20")])
def test_threads_of_numpy_do_not_spin_unless_told_to(given: str | None, found: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_THREAD_TIMEOUT"}
    environment |= {} if given is None else {"OPENBLAS_THREAD_TIMEOUT": given}
    code = "import maggjob, os, sys; print(os.environ['OPENBLAS_THREAD_TIMEOUT'], 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [found, "False"]  # numpy reads it when it is loaded


def test_the_public_names_are_there() -> None:
    assert set(maggjob.__all__) <= set(dir(maggjob))
    for name in maggjob.__all__:
        assert callable(getattr(maggjob, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = maggjob.nothing


def test_the_names_that_users_import_from_modules_are_there() -> None:
    from maggjob.coverage import area_cells
    from maggjob.job import index_granules, map_cell, map_cells, reduce_tally

    assert area_cells is maggjob.area_cells
    assert (map_cell, reduce_tally) == (maggjob.map_cell, maggjob.reduce_tally)
    assert callable(index_granules)
    assert callable(map_cells)
