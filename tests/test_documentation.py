"""What the documentation shows runs."""

import doctest
import importlib
from pathlib import Path

import pytest

import maggjob

PACKAGE = Path(maggjob.__file__).parent
MODULES = sorted(".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in PACKAGE.rglob("[!_]*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), extraglobs={"maggjob": maggjob})
    assert result.failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [
        name
        for name in maggjob.__all__
        if any(test.examples for test in finder.find(getattr(maggjob, name), name, module=False))
    ]
    promised = "load_config run plan tasks task map_cell reduce_tally open_result simulate make_catalog"
    assert set(promised.split()) <= set(found)
