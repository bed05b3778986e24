"""Full-size granules whose tracks cross one cell, and the task for each way of processing it."""

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.cell_ways import WAYS

CELL_AT = (-80.5, -100.0)
"""Latitude and longitude in the cell, degrees."""


def make_granules(folder: Path, count: int) -> tuple[list[Path], int]:
    """Simulate full-size granules whose tracks cross one cell.

    Parameters
    ----------
    folder : Path
        Folder for the granules.
    count : int
        Maximum number of granules.

    Returns
    -------
    tuple of (list of Path, int)
        The granules, and the cell's nested id.
    """
    from maggjob.grid.healpix import locate
    from maggjob.simulator.scene import Scene, passes, simulate

    south, west = CELL_AT
    (cell,) = locate(np.array([south]), np.array([west]), 6, "authalic").tolist()
    around = (west - 1.0, south - 0.15, west + 1.0, south + 0.15)
    crossing = passes(Scene(regions=(10, 11, 12), area=around, most=count))
    paths: list[Path] = []
    for one in crossing:
        paths += simulate(folder, Scene(rgts=(one.rgt,), regions=(one.region,), absent=0.0, everything=True))
    return paths, cell


def links(paths: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Link to simulated granules under the names of other years and cycles, to have as many as wanted.

    Parameters
    ----------
    paths : sequence of Path
        Simulated granules.
    folder : Path
        Folder for the links.
    count : int
        Number of links.
    """
    found = []
    for number in range(count):
        path, more = paths[number % len(paths)], number // len(paths)
        year, cycle = int(path.name[6:10]) + more, 22 + 4 * more
        found.append(folder / f"{path.name[:6]}{year}{path.name[10:25]}{cycle:02d}{path.name[27:]}")
        if not found[-1].exists():
            found[-1].symlink_to(path)
    return found


def write_tasks(folder: Path, root: str, fast: str, paths: Sequence[Path], cell: int) -> dict[str, Path]:
    """Index the granules, and write the task for each way of processing the cell.

    Parameters
    ----------
    folder : Path
        Folder for indexes, parts and tasks.
    root : str
        URL of the server that the tasks read from.
    fast : str
        URL of a server without latency, from which the indexes are made.
    paths : sequence of Path
        The granules.
    cell : int
        Nested id.
    """
    from maggjob.config.load import load_config
    from maggjob.granules.granule import open_granule
    from maggjob.granules.index_format import decode, index_digest
    from maggjob.granules.index_store import ask_indexes, find_indexes
    from maggjob.granules.selection import Buffers
    from maggjob.grid.healpix import format_cell
    from maggjob.jobs.granule_index import index_granules
    from maggjob.model.tasks import CellTask, Granule, IndexTask
    from maggjob.storage.archive import Archive
    from maggjob.storage.folder import Folder

    recipe = load_config("atl06.yaml").recipe()
    granules = tuple(Granule(p.stem, f"{root}/{p.name}", p.stat().st_size) for p in paths)
    indexes = folder / "indexes"
    near = tuple(replace(granule, url=f"{fast}/{p.name}") for granule, p in zip(granules, paths, strict=True))
    report = index_granules(IndexTask("all", recipe, near, str(indexes)))
    failed = [g.message for g in report.granules if g.state == "failed"]
    if report.message or failed:
        raise SystemExit(report.message or failed[0])
    name = format_cell(cell, 6)
    plain = CellTask(f"cycle22/{name}", name, "cycle22", recipe, granules, parts=str(folder / "parts"))
    chunks, asked, archive, digest = [], [], Archive(), index_digest(recipe)
    found = find_indexes(near, Folder(str(indexes)), digest)
    with ThreadPoolExecutor() as pool:
        stored = {name: index() for name, index in ask_indexes(found, Folder(str(indexes)), pool).each.items()}
    # As the tasks of a run are, which have read a list that says where indexes are.
    listed = tuple(replace(far, index=one.index) for far, one in zip(granules, found, strict=True))
    for granule, far in zip(near, granules, strict=True):
        index = decode(stored[granule.id], granule.id, digest)
        selection = index.select(cell, recipe.grid)
        ranges = selection.ranges(recipe.needed_paths)
        asked.append((far, ranges))
        buffers = Buffers(ranges, open_granule(granule, archive).source.views(ranges))
        for beam in selection.beams:
            tables = []
            for path in recipe.needed_paths[beam.group]:
                table = beam.datasets[path]
                pieces = [
                    table.inline.get(n) or bytes(buffers.cut(*table.range_of(n)))
                    for n in table.numbers(beam.start, beam.stop)
                ]
                tables.append((replace(table, inline={}), pieces))
            chunks.append((beam.start, beam.stop, beam.chosen, beam.child, tables))
    (folder / "chunks").write_bytes(pickle.dumps(chunks))
    (folder / "ranges").write_bytes(pickle.dumps(asked))
    content = {"nested": cell, "chunks": str(folder / "chunks"), "ranges": str(folder / "ranges")}
    tasks = {way: plain if way != "c" else replace(plain, granules=listed, indexes=str(indexes)) for way in WAYS}
    for way, task in tasks.items():
        (folder / way).write_bytes(pickle.dumps(content | {"task": task}))
    return {way: folder / way for way in WAYS}
