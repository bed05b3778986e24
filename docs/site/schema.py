"""The arrays and attributes of a result, as tables made from the code: part of the reference."""

from maggjob.config.load import builtin_configs, load_config
from maggjob.config.schema import Config
from maggjob.output.arrays import variables
from maggjob.output.time_axis import TimeAxis, coordinate_values

# Units and long names of ATL06's and ATL08's heights; those of a result are copied from its granules.
SOURCE = {
    "h_li": {"units": "meters", "long_name": "Land Ice height"},
    "h_te": {"units": "meters", "long_name": "long_name of h_te"},
    "h_canopy": {"units": "meters", "long_name": "long_name of h_canopy"},
}
HEAD = ("variable", "dtype", "dimensions", "units", "fill value", "`long_name`; `cell_methods`")
GROUP = {
    "Conventions": "`CF-1.11`",
    "zarr_conventions": "the convention of DGGS in Zarr that the group follows",
    "dggs": "grid, order, scheme, ellipsoid and coordinate, in the words of that convention; xdggs reads it",
    "coordinates": "names of the variables that are coordinates",
    "latitude_convention": "`authalic` or `geodetic-spherical`",
    "cycles": "91-day cycles of the granules used",
    "number_of_granules": "number of granules used",
    "number_of_reference_ground_tracks": "number of their ground tracks",
    "title": "what the result is",
    "product": "short name of the product",
    "product_version": "its version, by the names of the granules",
    "vertical_datum": "what heights refer to",
    "source_doi": "DOI of that version; absent if granules were simulated",
    "references": "how the product is cited; absent if granules were simulated",
    "source": "only if granules were simulated: says so",
    "time_coverage_start": "time of the first segment kept",
    "time_coverage_end": "time of the last segment kept",
    "tally": "[the ledger](../concepts/ledger.md): observations, cells, granules, segments, errors, fits",
    "config": "the configuration as JSON, as far as it decides the result",
    "config_digest": "its digest",
    "run_digest": "digest of configuration, catalog, cells and window: equal digests, equal bytes",
}
"""Attributes of the group of an order."""
ROOT = {
    "comment": "how to open the group",
    "group": "name of the group of the finest order, such as `12`",
    "groups": "names of all groups, if there are several orders",
    "title": "as in the group",
    "source": "as in the group, if granules were simulated",
}
"""Attributes of the root, which holds no arrays."""
Row = tuple[str, ...]


def _fill(value: float) -> str:
    return "NaN" if value != value else f"{value:g}"


def _row(name: str, dtype: str, dims: tuple[str, ...], fill: float, attributes: dict) -> Row:
    text = str(attributes.get("long_name", ""))
    if "flag_meanings" in attributes:
        pairs = zip(attributes["flag_values"], attributes["flag_meanings"].split(), strict=True)
        text += ": " + ", ".join(f"{number} {word}" for number, word in pairs)
    if "cell_methods" in attributes:
        text += f"; `{attributes['cell_methods']}`"
    if name == "cell_ids":
        text = "nested HEALPix ids; attributes `grid_name`, `level`, `indexing_scheme`, `ellipsoid`"
    return f"`{name}`", dtype, ", ".join(dims), str(attributes.get("units", "")), _fill(fill), text


def rows_of(config: Config) -> list[Row]:
    """Return a row per array of a result, in the order in which they are written."""
    kind = config.output.time
    time = () if kind == "none" else (kind,)
    found = [
        _row(name, dtype, ("cells",) if name in ("cell_ids", "morton") else (*time, "cells"), fill, dict(attributes))
        for name, (dtype, fill, attributes) in variables(config, config.recipe(), SOURCE).items()
    ]
    if time:
        axis = coordinate_values(TimeAxis(kind, (f"{kind}22",)), {})
        fills = {name: float("nan") if values.dtype.kind == "f" else 0 for name, (values, _) in axis.items()}
        found += [_row(n, str(values.dtype), time, fills[n], own) for n, (values, own) in axis.items()]
    return found


def maps() -> dict[str, Config]:
    """Return the built-in configurations of maps of cells, by name."""
    every = {name.removesuffix(".yaml"): load_config(name) for name in builtin_configs() if name.startswith("atl")}
    return dict(sorted(every.items()))
