"""Imports that wait until something of the module is used."""

import importlib
import sys
from types import ModuleType
from typing import Any


def import_when_used(name: str) -> None:
    """Let later imports of a module cost nothing until one of its attributes is used.

    `importlib.util.LazyLoader` does not do it: already an import statement looks at the module's ``__spec__``.

    Parameters
    ----------
    name : str
        Name of a module at the top level.
    """
    if name in sys.modules:
        return
    stand_in = ModuleType(name)

    def load(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = load  # type: ignore[method-assign]
    sys.modules[name] = stand_in
