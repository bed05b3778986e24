"""Which granules share a pack: neighbours do, each is in one, and the reads are those that cells make."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.grid.coverage import footprint_pairs
from maggjob.grid.footprints import Footprints
from maggjob.icesat2.orbit import TRACKS, ground_track, region_angles, swath, track_place
from maggjob.planning.packs import LEAST, MOST, cut_packs, order_granules, pack_reads, pack_size
from tests.strategies import few, many


def name(rgt: int, region: int, cycle: int = 22) -> str:
    return f"ATL06_20240101000000_{rgt:04d}{cycle:02d}{region:02d}_007_01"


@st.composite
def catalogs(draw: st.DrawFn) -> tuple[list[str], list[dict[int, list[int]]]]:
    """Names of granules, of ICESat-2 or others, and the granules of each cell of some windows."""
    count = draw(st.integers(1, 40))
    tracks = st.builds(name, st.integers(1, TRACKS), st.integers(1, 14), st.integers(1, 24))
    names = draw(st.lists(tracks | st.text(max_size=5), min_size=count, max_size=count, unique=True))
    windows = draw(st.integers(1, 3))
    cells = st.dictionaries(st.integers(0, 99), st.sets(st.integers(0, count - 1)), max_size=12)
    found = []
    for number in range(windows):
        pairs = draw(cells)
        found.append({c: sorted(i for i in some if i % windows == number) for c, some in pairs.items()})
    return names, found


@many
@given(catalogs(), st.integers(1, 50))
def test_each_granule_of_a_plan_is_in_one_pack(of: tuple[list[str], list[dict[int, list[int]]]], workers: int) -> None:
    names, windows = of
    ordered = order_granules(names, windows)
    used = sorted({i for pairs in windows for some in pairs.values() for i in some})
    assert sorted(ordered) == used
    packs = cut_packs(ordered, workers)
    assert [i for pack in packs for i in pack] == ordered
    sizes = [len(pack) for pack in packs]
    assert all(0 < size <= pack_size(len(used), workers) for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    # The order of the cells and of the catalog does not matter, that of the windows does.
    turned = [dict(reversed(pairs.items())) for pairs in windows]
    assert order_granules(names, turned) == ordered
    own = [{i for some in pairs.values() for i in some} for pairs in windows]
    place = [next(n for n, some in enumerate(own) if i in some) for i in ordered]
    assert place == sorted(place)


@many
@given(catalogs(), st.integers(1, 50), st.data())
def test_reads_are_those_that_cells_make(
    of: tuple[list[str], list[dict[int, list[int]]]], workers: int, data: st.DataObject
) -> None:
    names, windows = of
    packs = cut_packs(order_granules(names, windows), workers)
    packs = data.draw(st.lists(st.sampled_from(packs), unique_by=tuple)) if packs else []  # some have no index
    cells = [set(some) for pairs in windows for some in pairs.values()]
    reads = [sum(bool(some & set(pack)) for pack in packs) for some in cells]
    assert pack_reads(packs, windows) == sum(reads)
    pieces = data.draw(st.lists(st.sampled_from((1, 4, 16)), min_size=len(cells), max_size=len(cells)))
    assert pack_reads(packs, windows, pieces) == sum(n * m for n, m in zip(reads, pieces, strict=True))


@few
@given(st.integers(1, 100_000), st.integers(1, 5000))
def test_a_pack_has_a_share_of_the_granules_within_bounds(granules: int, workers: int) -> None:
    size = pack_size(granules, workers)
    assert LEAST <= size <= MOST
    assert size * workers >= granules or size == MOST
    assert (size - 1) * workers < granules or size == LEAST


def test_places_of_tracks_are_in_order_of_longitude() -> None:
    tracks = sorted(range(1, TRACKS + 1), key=track_place)
    assert [track_place(rgt) for rgt in tracks] == list(range(TRACKS))
    nodes = [float(ground_track(rgt, np.array([0.0]))[1][0]) for rgt in tracks]
    steps = [(b - a) % 360.0 for a, b in pairwise(nodes)]
    assert steps == pytest.approx([360.0 / TRACKS] * (TRACKS - 1), abs=1e-6)


def test_cycles_of_a_track_follow_each_other_without_a_time_axis_and_tracks_with_one() -> None:
    names = [name(rgt, region, cycle) for cycle in (1, 2) for region in (10, 11) for rgt in (1387, 884, 442)]
    cells = {5: list(range(12))}
    whole = [names[i] for i in order_granules(names, [cells])]
    expected = [name(r, region, c) for region in (10, 11) for r in (1387, 442, 884) for c in (1, 2)]
    assert whole == expected
    windows = [names[i] for i in order_granules(names, [{5: list(range(6))}, {5: list(range(6, 12))}])]
    assert windows == [name(r, region, c) for c in (1, 2) for region in (10, 11) for r in (1387, 442, 884)]


@pytest.fixture(scope="module")
def passes() -> tuple[list[str], dict[int, list[int]]]:
    """Some passes over the middle of Antarctica, and the cells that they lie in."""
    tracks = sorted(range(1, TRACKS + 1), key=track_place)[:240]
    rings = [[swath(rgt, *region_angles()[11], 6300.0, 24).round(5)] for rgt in sorted(tracks)]
    pairs = footprint_pairs(Footprints.of(rings), 6, "authalic")
    cells = {cell: list(positions) for cell, positions in pairs.by_cell().items()}
    return [name(rgt, 11) for rgt in sorted(tracks)], cells


def test_neighbouring_tracks_share_packs_and_cells(passes: tuple[list[str], dict[int, list[int]]]) -> None:
    names, cells = passes
    total = sum(map(len, cells.values()))

    def reads(ids: list[str]) -> int:
        return pack_reads(cut_packs(order_granules(ids, [cells]), 1), [cells])

    in_time = pack_reads(cut_packs(range(len(names)), 1), [cells])
    by_name, by_cells = reads(names), reads([f"granule{random.Random(i).random()}" for i in range(len(names))])
    assert by_name < total / 8
    assert by_name < by_cells < total / 4
    assert in_time > 4 * by_name
