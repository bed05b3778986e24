"""Footprints as arrays, and written small."""

import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.grid.footprints import UNIT, Footprints
from maggjob.icesat2.orbit import Pass
from maggjob.simulator.scene import footprint
from tests.strategies import few

points = st.lists(st.tuples(st.floats(-180, 360), st.floats(-90, 90)), min_size=1, max_size=12)
rings_of = st.lists(st.lists(points.map(lambda p: np.array(p, float)), max_size=3), max_size=6)


@few
@given(rings_of)
def test_pack_and_unpack(rings: list[list[np.ndarray]]) -> None:
    made = Footprints.of(rings)
    back = Footprints.unpack(json.loads(json.dumps(made.pack())))
    assert back.owner.tolist() == [i for i, some in enumerate(rings) for _ in some]
    assert back.start.tolist() == made.start.tolist()
    every = [ring for some in rings for ring in some]
    assert len(back.rings()) == len(every)
    for ring, other in zip(every, back.rings(), strict=True):
        assert np.abs(ring - other).max() <= UNIT / 2 + 1e-9
    assert back.pack() == made.pack()  # and nothing more is lost


def test_rings_are_as_they_were_given() -> None:
    rings = [[np.array(footprint(Pass(rgt, 22, 11)))] for rgt in (1, 2)]
    made = Footprints.of([rings[0], [], rings[1]])
    assert made.owner.tolist() == [0, 2]
    assert all(np.array_equal(a, b[0]) for a, b in zip(made.rings(), rings, strict=True))
    assert np.array_equal(Footprints.unpack(made.pack()).longitude.round(5), made.longitude)  # as CMR's five decimals


def test_it_is_small() -> None:
    rings = [[np.array(footprint(Pass(rgt, 22, 11)))] for rgt in range(1, 101)]
    written = len(json.dumps(Footprints.of(rings).pack()))
    assert written < len(json.dumps([ring[0].tolist() for ring in rings])) / 2


def steps(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"owner": [0]},
        {"owner": [1, 0]},
        {"points": [4, 5]},
        {"points": [5]},
        {"steps": steps(b"\0" * 40)},
        {"steps": steps(b"\0" * 41)},
        {"steps": "not base64!"},
    ],
)
def test_what_does_not_fit_together(change: dict[str, Any]) -> None:
    square = np.array([[0, -70], [10, -70], [10, -80], [0, -80], [0, -70]], float)
    packed = Footprints.of([[square], [square]]).pack()
    with pytest.raises(ValueError, match=r"rings|base64|Only base64|reshape|buffer size"):
        Footprints.unpack(packed | change)
