"""What maps say about a result: its title, where it comes from, and which variables are shown unless asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maggjob.grid.areas import SOUTH
from maggjob.show.cell_result import CellResult, Variable
from maggjob.show.colours import error_of, is_change, is_error
from maggjob.show.plane import CELL_WIDTH


@dataclass(frozen=True)
class Heading:
    """The text above a map."""

    title: str
    """Product, version and what it is."""
    details: str
    """Cycles, dates, granules, cells, grid and projection."""
    simulated: bool
    """True if the data are simulated."""


def heading(result: CellResult, crs: int, time: int | None = None) -> Heading:
    """Return the text above a map.

    Parameters
    ----------
    result : CellResult
    crs : int
        EPSG code of the projection.
    time : int, optional
        Position of the time that is shown.
    """
    attributes = result.attributes
    title = str(attributes.get("title", "")) or "A map of HEALPix cells"
    simulated = title.startswith("simulated")
    title = title.removeprefix("simulated: ")
    product = " and ".join(map(str, _listed(attributes.get("product"))))
    version = ", ".join(map(str, _listed(attributes.get("product_version"))))
    origin = f"{product} version {version}" if product and version else product
    if origin and product not in title:
        title = title.replace("ICESat-2", f"ICESat-2 {origin}", 1) if "ICESat-2" in title else f"{title} ({origin})"
    tally, order = attributes.get("tally", {}), result.grid.child_order
    totals = [part for part in (_counted(tally, attributes), _cells(tally.get("cells", {}))) if part]
    if result.times is not None and len(result.times.labels) > 1 and time is not None and totals:
        # They are those of the whole result, of which one time is shown.
        totals[0] = f"all {len(result.times.labels)} {result.times.kind}s together: {totals[0]}"
    parts = [_when(result, time), *totals]
    width = CELL_WIDTH / 2**order
    parts.append(f"HEALPix order {order} (cells {width:.2g} km wide)" if width >= 0.1 else f"HEALPix order {order}")
    parts.append(f"EPSG:{crs}, {'Antarctic' if crs == SOUTH else 'Arctic'} polar stereographic")
    return Heading(title, " · ".join(part for part in parts if part), simulated)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _when(result: CellResult, time: int | None) -> str:
    if result.times is not None and time is not None:
        span = result.times.spans[time]
        of = f"{result.times.kind} {result.times.labels[time]} of {len(result.times.labels)}"
        return of if span is None else f"{of}, {span[0]} to {span[1]}"
    cycles = ranges([int(cycle) for cycle in _listed(result.attributes.get("cycles"))])
    start, end = (str(result.attributes.get(f"time_coverage_{name}", ""))[:10] for name in ("start", "end"))
    said = f"cycle{'s' if ',' in cycles or 'to' in cycles else ''} {cycles}" if cycles else ""
    return ", ".join(part for part in (said, f"{start} to {end}" if start and end else "") if part)


def ranges(numbers: Sequence[int]) -> str:
    """Return whole numbers as ranges.

    Parameters
    ----------
    numbers : sequence of int
        Ascending.

    Examples
    --------
    >>> ranges([14, 17, 18, 19])
    '14, 17 to 19'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _counted(tally: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
    said = f"{tally['observations']:,} observations" if "observations" in tally else ""
    granules = attributes.get("number_of_granules")
    return f"{said} of {int(granules):,} granules" if said and granules else said


def _cells(cells: Mapping[str, int]) -> str:
    if not cells:
        return ""
    states = [f"{cells[state]:,} {state}" for state in ("complete", "empty", "partial", "failed") if cells.get(state)]
    said = f"{cells['planned']:,} planned cell" + ("s" if cells["planned"] != 1 else "")
    return f"{said}: {', '.join(states)}" if states else said


def default_variables(result: CellResult) -> tuple[str, ...]:
    """Return the variables that say most: a rate or a change beside its error, or heights and their number.

    Parameters
    ----------
    result : CellResult
    """
    own, config = result.variables, result.attributes["config"]
    floats = [variable for variable in own.values() if not variable.whole and not is_error(variable.name)]
    changes = [v.name for v in floats if error_of(v.name, own) and (is_change(v, config))]
    rates = [name for name in changes if own[name].units.endswith("/yr")]
    if rates or changes:
        name = (rates or changes)[0]
        return name, str(error_of(name, own))
    first = "h_mean" if "h_mean" in own else next((v.name for v in floats), None)
    shown = [name for name in (first, "count" if "count" in own else None) if name is not None]
    return tuple(shown or list(own)[:1])


def panel_title(variable: Variable) -> str:
    """Return the title of a panel: name, meaning and units."""
    units = f" ({variable.units})" if variable.units else ""
    return f"{variable.name}: {variable.label}{units}" if variable.label != variable.name else f"{variable.name}{units}"
