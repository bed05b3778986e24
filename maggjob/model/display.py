"""How values show themselves in a notebook or a terminal: briefly, and as a small table."""

from collections.abc import Mapping
from html import escape


def brief(name: str, facts: Mapping[str, object]) -> str:
    """Return a one-line representation.

    Parameters
    ----------
    name : str
        Name of the class.
    facts : mapping
        What is shown, by its name.

    Examples
    --------
    >>> brief("Plan", {"cells": 1612, "window": "cycle22"})
    '<Plan: 1,612 cells, window cycle22>'
    """
    shown = (f"{value:,} {what}" if type(value) is int else f"{what} {value}" for what, value in facts.items())
    return f"<{name}: {', '.join(shown)}>"


def table(name: str, facts: Mapping[str, object]) -> str:
    """Return an HTML table.

    Parameters
    ----------
    name : str
        Name of the class.
    facts : mapping
        What is shown, by its name.

    Examples
    --------
    >>> table("Plan", {"window": "<cycle22>"})
    '<table><caption>Plan</caption><tr><th>window</th><td>&lt;cycle22&gt;</td></tr></table>'
    """
    rows = (
        f"<tr><th>{escape(what)}</th><td>{escape(f'{value:,}' if type(value) is int else str(value))}</td></tr>"
        for what, value in facts.items()
    )
    return f"<table><caption>{escape(name)}</caption>{''.join(rows)}</table>"


class Displayed:
    """Base class of values that show only what `facts` tells."""

    def facts(self) -> dict[str, object]:
        """Return what is shown, by its name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return brief(type(self).__name__, self.facts())

    def _repr_html_(self) -> str:
        return table(type(self).__name__, self.facts())
