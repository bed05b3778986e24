"""The house stands: imports point down, workers stay light, the public names are there."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import maggjob

PACKAGE = Path(maggjob.__file__).parent
# Each module may import those before it, and nothing else of maggjob. docs/architecture.md draws the floors.
ORDER = (
    "__init__ errors "  # the ground
    "cells tracks expression statistics model segments cost footprints "  # 0: pure
    "config_source config config_file orbit surface "  # 0: pure, with pydantic
    "hdf5_messages chunks hdf5_walk hdf5 credentials aws_profile storage source private lists "  # 1: files and network
    "visits shares granule index index_file reading "  # 1: granules
    "parts catalog area coverage local_files catalog_file records cmr search planning tasking "  # 1: plans
    "attributes "  # 1: results
    "resources job written shard output call invocation collecting runner "  # 2: workers
    "lambda_handler runtime rights doctor "  # 2: AWS Lambda
    "simulated_file simulator view plan_map placing indexing splitting batching stages result "  # 3: stages
    "status pipeline report progress demo "  # 3: the whole job, and what shows it
    "cli_runtime cli __main__"  # 4: the command line
).split()


def imported(tree: ast.AST) -> set[str]:
    """Modules of maggjob that a source imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "maggjob":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {a.name if a.name in ORDER else "__init__" for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {(a.name.split(".") + ["__init__"])[1] for a in node.names if a.name.split(".")[0] == "maggjob"}
    return found


def test_every_module_has_its_place() -> None:
    assert sorted(path.stem for path in PACKAGE.glob("*.py")) == sorted(ORDER)


@pytest.mark.parametrize("module", ORDER[1:])
def test_imports_point_down(module: str) -> None:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    above = imported(tree) - set(ORDER[: ORDER.index(module)])
    assert not above, f"{module} imports {above}, which do not stand below it"


def test_pure_modules_touch_nothing() -> None:
    for module in ORDER[2 : ORDER.index("config_source")]:
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert names.isdisjoint({"obstore", "lithops", "h5coro", "os", "socket", "requests"}), module


def test_no_assert_guards_input() -> None:
    for path in PACKAGE.glob("*.py"):
        assert not [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)], path.name


def test_a_worker_imports_little() -> None:
    heavy = "pydantic yaml click healpy pandas zarr astropy shapely matplotlib earthaccess boto3 lithops"
    code = f"import maggjob.written, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
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
