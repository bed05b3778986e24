"""Attributes of the result: the grid for xdggs, CF metadata, and the provenance of the data."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from maggjob.config.schema import Config
from maggjob.grid.healpix import Grid, ellipsoid
from maggjob.icesat2.names import EPOCH, GranuleName, product_of, provenance
from maggjob.model.reports import CellReport, Tally
from maggjob.output.time_axis import TimeAxis
from maggjob.statistics.fit_model import COUNTS, NO_FIT
from maggjob.statistics.functions import FUNCTIONS, Statistic

CONVENTION = {
    "uuid": "7b255807-140c-42ca-97f6-7a1cfecdbc38",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/dggs/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/dggs/blob/v1/README.md",
    "name": "dggs",
    "description": "Discrete Global Grid Systems convention for zarr",
}


PARTIAL_ATTRIBUTES = {
    "long_name": "how much of the data of the cell was read",
    "flag_values": [0, 1, 2],
    "flag_meanings": "complete partial failed",
}
"""Attributes of the variable ``partial``."""


def cell_ids_attributes(grid: Grid) -> dict[str, Any]:
    """Return the attributes of ``cell_ids``: exactly those that xdggs reads, as it rejects any others."""
    return {
        "grid_name": "healpix",
        "level": grid.child_order,
        "indexing_scheme": "nested",
        "ellipsoid": ellipsoid(grid.latitude),
    }


def convention_ellipsoid(grid: Grid) -> dict[str, Any]:
    """Return the ellipsoid in the words of the convention (PROJJSON); xdggs spells the semi-major axis otherwise."""
    return {"semi_major_axis" if key == "semimajor_axis" else key: of for key, of in ellipsoid(grid.latitude).items()}


def plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON holds them: tuples as lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in attributes.items()}


def root_attributes(groups: Sequence[str], of: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of the root, which holds no arrays: they say which group does.

    Parameters
    ----------
    groups : sequence of str
        Names of the groups with arrays, that of the finest order first.
    of : mapping
        Attributes of that group.
    own : mapping
        Global attributes of the configuration.
    """
    group, *others = groups
    how = f"the arrays are in the group {group!r}: xarray.open_zarr(store, group={group!r})"
    if others:
        how += f"; those of coarser orders are in {', '.join(map(repr, others))}"
    several = {"groups": list(groups)} if others else {}
    kept = {key: of[key] for key in ("title", "source") if key in of}
    return {"comment": how, "group": group} | several | kept | plain_attributes(own)


def variable_attributes(statistic: Statistic, source: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the CF attributes of a variable, as far as the attributes of its source allow.

    Parameters
    ----------
    statistic : Statistic
    source : mapping
        ``units`` and ``long_name`` of each column in the granules.
    """
    if statistic.function in ("count", "len"):
        having = f" with {statistic.source}" if statistic.source else ""
        return {"long_name": f"number of segments{having}", "units": "1"}
    if statistic.function == "nunique":
        return {"units": "1"}
    if statistic.fit is not None:
        return fit_attributes(statistic, source)
    function = FUNCTIONS[statistic.function] if statistic.function else None
    method = None if function is None else function.cell_method
    own = source.get(statistic.source.strip(), {}) if statistic.source else {}
    attributes: dict[str, Any] = {}
    if function is not None and function.unitless:
        attributes["units"] = "1"
    elif "units" in own:
        attributes["units"] = _squared(own["units"]) if statistic.function == "var" else own["units"]
    if "long_name" in own:
        label = (function.label if function else None) or (method or str(statistic.function)).replace("_", " ")
        if statistic.function == "quantile":
            label = f"quantile {statistic.q:g}"
        weighted = "weighted " if statistic.weights and statistic.function == "average" else ""
        attributes["long_name"] = f"{own['long_name']}, {weighted}{label}"
    if method is not None:
        attributes["cell_methods"] = f"area: {method}"
    return attributes


OF_FIT = {
    "coefficient": "coefficient of {term}",
    "error": "standard error of the coefficient of {term}, clustered by pass",
    "formal_error": "formal error of the coefficient of {term}, as if segments were independent",
    "rms": "root mean square of the residuals",
    "passes": "number of passes used",
    "tracks": "number of reference ground tracks used",
    "cycles": "number of cycles used",
    "segments": "number of segments used",
    "clipped": "number of segments clipped",
    "state": "state of the fit",
    "span": "time from the first to the last segment used",
}
"""What a variable of a fit is, in words."""


def fit_attributes(statistic: Statistic, source: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the attributes of a variable of a fit.

    Parameters
    ----------
    statistic : Statistic
    source : mapping
        ``units`` and ``long_name`` of each column in the granules.
    """
    of, term = statistic.of, "the intercept" if statistic.term == "1" else statistic.term
    own = source.get(str(statistic.source).strip(), {})
    attributes: dict[str, Any] = {"long_name": f"fit of {statistic.source}: {OF_FIT[of].format(term=term)}"}
    if of == "state":
        words = "no_fit determined few_passes few_cycles singular"
        return attributes | {"flag_values": [NO_FIT, 0, 1, 2, 3], "flag_meanings": words}
    if of in COUNTS:
        return attributes | {"units": "1"}
    if of == "span":
        return attributes | {"units": "year"}
    per = {"1": "", "t": " year-1", "year": " year-1"}.get(statistic.term or "1")
    if "units" in own and per is not None:
        attributes["units"] = f"{own['units']}{per}"
    return attributes


def _squared(units: str) -> str:
    return f"{units}2" if units.isalpha() else f"({units})2"


def group_attributes(
    config: Config, grid: Grid, run: str, reports: Sequence[CellReport], tally: Tally, axis: TimeAxis | None = None
) -> dict[str, Any]:
    """Return the attributes of the group, which are the same for every run on the same data.

    Parameters
    ----------
    config : Config
    grid : Grid
        Grid of the cells and the children in the group.
    run : str
        Digest of the run.
    reports : sequence of CellReport
        Reports of all planned cells.
    tally : Tally
    axis : TimeAxis, optional
        Time axis of the result.
    """
    morton = config.aggregation.coordinates.morton
    coordinates = ["cell_ids", *([] if morton is None else ["morton"]), *(axis.coordinates if axis else ())]
    return {
        "Conventions": "CF-1.11",
        "zarr_conventions": [CONVENTION],
        "dggs": {
            "name": "healpix",
            "refinement_level": grid.child_order,
            "indexing_scheme": "nested",
            "ellipsoid": convention_ellipsoid(grid),
            "spatial_dimension": "cells",
            "coordinate": "cell_ids",
            "compression": "none",
        },
        "coordinates": " ".join(coordinates),
        "latitude_convention": grid.latitude,
        **_origin(reports),
        **plain_attributes(config.output.attrs),
        "tally": {
            "observations": tally.observations,
            "cells": dict(tally.cells),
            "granules": dict(tally.granules),
            "segments": dict(tally.segments),
            "errors": {reason: error["count"] for reason, error in sorted(tally.errors.items())},
            **({"fits": {name: dict(states) for name, states in sorted(tally.fits.items())}} if tally.fits else {}),
        },
        "config": json.dumps(config.science(), sort_keys=True),
        "config_digest": config.digest,
        "run_digest": run,
    }


def _origin(reports: Sequence[CellReport]) -> dict[str, Any]:
    """Return the granules that the result is computed from, as counts and products, and their time range."""
    own = [report for report in reports if report.part is not None]
    used = {granule.id for report in own for granule in report.granules if granule.state == "used"}
    times = [report.time for report in own if report.time is not None]
    names = _parsed(sorted(used))
    attributes: dict[str, Any] = {
        "cycles": sorted({name.cycle for name in names}),
        "number_of_granules": len(used),
        "number_of_reference_ground_tracks": len({name.rgt for name in names}),
        # A result without data is still one of its product.
        **provenance(names or _parsed(granule.id for report in reports for granule in report.granules)),
    }
    others = sorted({name for name in map(product_of, used) if name is not None})
    if not names and others:
        attributes |= {"title": f"ICESat-2 {' and '.join(others)} by HEALPix cell", "product": others}
    if times:
        attributes["time_coverage_start"] = _iso(min(first for first, _ in times))
        attributes["time_coverage_end"] = _iso(max(last for _, last in times))
    return attributes


def _parsed(ids: Iterable[str]) -> list[GranuleName]:
    return [name for name in map(GranuleName.parse, ids) if name is not None]


def _iso(seconds: float) -> str:
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
