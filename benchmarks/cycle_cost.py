"""Projected cost of an Antarctic cycle on Lambda, from one measured cell and measured indexes."""

from dataclasses import dataclass
from typing import Any

from maggjob.backend.bill import Prices


@dataclass(frozen=True)
class Cycle:
    """An Antarctic cycle: numbers of cycle 22 of ATL06 version 007; workers and their start are assumptions."""

    granules: int = 4153
    """Granules that touch Antarctica."""
    cells: int = 1344
    """Cells of order 6 on grounded ice."""
    visits: int = 77_400
    """Pairs of granule and cell: 57.6 per cell."""
    observations: float = 1.37e9
    """Segments of good quality."""
    memory: float = 1.769
    """Memory of a worker in GB: one processor."""
    workers: int = 200
    """Concurrent workers, each of which starts once."""
    start: float = 0.8
    """Seconds of INIT, to start the interpreter and import modules; the image is cached."""
    objects: int = 4
    """Objects of Lithops per call: its data, state, result and log."""


def cost(cell: dict[str, Any], index: dict[str, Any], prices: Prices, cycle: Cycle) -> None:
    """Print the cost of a cycle, one term per line.

    The measured cell is scaled by observations. Cells and indexes are billed by their wall time at 30 ms per request,
    for cells including imports. A call indexes sixteen granules.

    Parameters
    ----------
    cell : dict
        Measurements of one cell (`benchmarks.reading.compare`).
    index : dict
        Measurements of making indexes, per granule (`benchmarks.reading.indexing`).
    prices : Prices
    cycle : Cycle
    """
    calls, index_calls = cycle.cells, -(-cycle.granules // 16)
    map_seconds = cell["slow"] / cell["observations"] * cycle.observations
    index_seconds = index["wall"] * cycle.granules
    of_map = map_seconds * cycle.memory * prices.gb_second
    of_index = index_seconds * cycle.memory * prices.gb_second
    of_init = cycle.workers * cycle.start * cycle.memory * prices.gb_second
    of_calls = (calls + index_calls) * prices.call
    of_puts = ((calls + index_calls) * cycle.objects + calls + cycle.granules) * prices.put
    of_gets = (cycle.visits + 2 * calls + (calls + index_calls) * cycle.objects) * prices.get
    gb = f"GB x ${prices.gb_second * 1e6:.2f}/1e6"
    print("projected cost of an Antarctic cycle, with assumed prices and workers")
    print(f"  cells     {map_seconds:8.0f} s x {cycle.memory} {gb} = ${of_map:.3f}")
    print(f"  indexes   {index_seconds:8.0f} s x {cycle.memory} {gb} = ${of_index:.3f}, once for all runs")
    print(f"  INIT      {cycle.workers} x {cycle.start} s x {cycle.memory} {gb} = ${of_init:.3f}")
    print(f"  calls     {calls + index_calls} = ${of_calls:.4f}")
    print(f"  PUTs      {of_puts / prices.put:,.0f} = ${of_puts:.3f}")
    print(f"  GETs      {of_gets / prices.get:,.0f} of the user's own buckets = ${of_gets:.3f}")
    compute = of_map + of_index
    print(f"  compute without INIT ${compute:.3f}, total ${compute + of_init + of_calls + of_puts + of_gets:.3f}")
