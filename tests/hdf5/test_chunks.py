"""Chunks as they are stored: of the right size or refused, in every way to pack them."""

import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.errors import CorruptError
from maggjob.hdf5.chunks import GAP, ChunkTable, merge, shuffle
from tests.strategies import many

ROWS = np.arange(8, dtype="<f4")


def table(*, deflated: bool, shuffled: bool) -> ChunkTable:
    return ChunkTable(8, ROWS.dtype, 4, deflated, shuffled, np.array([0, 100]), np.array([16, 16]))


def stored(values: np.ndarray, *, deflated: bool, shuffled: bool) -> bytes:
    plain = shuffle(values) if shuffled else values.tobytes()
    return zlib.compress(plain) if deflated else plain


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_of_two_chunks(deflated: bool, shuffled: bool) -> None:
    chunks = [stored(ROWS[i : i + 4], deflated=deflated, shuffled=shuffled) for i in (0, 4)]
    one = table(deflated=deflated, shuffled=shuffled)
    for start in range(9):
        for stop in range(start, 9):
            wanted = [chunks[number] for number in one.numbers(start, stop)]
            np.testing.assert_array_equal(one.values(start, stop, wanted), ROWS[start:stop])


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("rows", [3, 5])
def test_a_chunk_of_another_size_is_refused(deflated: bool, shuffled: bool, rows: int) -> None:
    content = stored(ROWS[:rows], deflated=deflated, shuffled=shuffled)
    with pytest.raises(CorruptError, match=f"{4 * rows} bytes|inflate"):
        table(deflated=deflated, shuffled=shuffled).values(0, 4, [content])


@many
@given(st.lists(st.tuples(st.integers(0, 4 * GAP), st.integers(1, 2 * GAP)), max_size=12))
def test_merged_ranges_hold_each_range_and_lie_apart(given_ranges: list[tuple[int, int]]) -> None:
    ranges = [(start, start + length) for start, length in given_ranges]
    merged = merge(ranges)
    assert all(any(low <= start and stop <= high for low, high in merged) for start, stop in ranges)
    assert all(low in {start for start, _ in ranges} and high in {stop for _, stop in ranges} for low, high in merged)
    assert all(after[0] - before[1] >= GAP for before, after in pairwise(merged))
