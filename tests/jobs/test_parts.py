"""A part: the same bytes for the same data, and no damage goes unseen."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from maggjob.errors import LedgerError, StoreError
from maggjob.grid.healpix import Grid
from maggjob.jobs.parts import Level, Part, agree, check, ledger_digest, ledger_of, pack, unpack
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.model.tasks import CellTask
from maggjob.statistics.functions import Statistic

STATISTICS = (Statistic("count", function="len", dtype="int32", fill_value=0), Statistic("h_max", "max", source="h_li"))
RECIPE = Recipe(
    groups=("gt1l",),
    latitude="/{group}/latitude",
    longitude="/{group}/longitude",
    time="/{group}/delta_time",
    columns=(("h_li", "/{group}/h_li"),),
    filters=(),
    statistics=STATISTICS,
    grid=Grid(),
)
TASK = CellTask("cycle02/-6134114", "-6134114", "cycle02", RECIPE, (), run="a" * 64, parts="parts")
REPORT = CellReport(
    TASK.id,
    TASK.cell,
    TASK.window,
    "complete",
    {"kept": 3, "fill": 1},
    (GranuleReport("one", "used", {"gt1l": "read"}, rows=9, in_cell=4, kept=3, message="of this run only"),),
    time=(1.0, 2.0),
)
CHILD = np.array([7, 11])
VALUES = {"count": np.array([1, 2], np.int32), "h_max": np.array([1.5, np.nan], np.float32)}


def part(task: CellTask = TASK, report: CellReport = REPORT, **values: np.ndarray) -> bytes:
    return pack(ledger_of(task, report, {"h_li": {"units": "meters"}}), [Level(12, CHILD, VALUES | values)])


def same(one: Part, other: Part) -> bool:
    return (
        one.ledger == other.ledger
        and np.array_equal(one.levels[12].child, other.levels[12].child)
        and one.levels[12].values.keys() == other.levels[12].values.keys()
        and all(np.array_equal(v, other.levels[12].values[k], equal_nan=True) for k, v in one.levels[12].values.items())
    )


def test_a_part_comes_back_as_it_went() -> None:
    back = unpack(part(), "p", 12)
    assert back.ledger["observations"] == 3
    assert back.ledger["segments"] == {"kept": 3, "fill": 1}
    assert back.ledger["attributes"] == {"h_li": {"units": "meters"}}
    assert back.levels[12].child.dtype == np.uint32
    assert back.levels[12].child.tolist() == [7, 11]
    for name, values in VALUES.items():
        assert back.levels[12].values[name].dtype == values.dtype
        np.testing.assert_array_equal(back.levels[12].values[name], values)
    check(back, TASK, "p")


def test_the_same_data_gives_the_same_bytes() -> None:
    other_order = replace(REPORT, segments={"fill": 1, "kept": 3}, seconds=9.0, bytes_read=5, message="slow")
    granule = replace(REPORT.granules[0], message="of another run")
    assert part() == part() == part(report=replace(other_order, granules=(granule,)))
    assert part() != part(h_max=np.array([1.5, 2.0], np.float32))


def test_big_endian_arrays_give_the_same_bytes() -> None:
    assert part() == part(h_max=VALUES["h_max"].astype(">f4"))


def test_numpy_opens_a_part() -> None:
    with np.load(io.BytesIO(part())) as archive:
        assert {"child", "count", "h_max"} <= set(archive.files)
        assert archive["count"].tolist() == [1, 2]


def test_an_empty_part_comes_back() -> None:
    empty = {name: values[:0] for name, values in VALUES.items()}
    report = replace(REPORT, state="empty", segments={}, granules=())
    back = unpack(pack(ledger_of(TASK, report, {}), [Level(12, CHILD[:0], empty)]), "p", 12)
    assert len(back.levels[12].child) == 0
    check(back, TASK, "p")


@pytest.mark.dear("all bytes of a part; some parts stand for all", keep=("1", "64"))
@pytest.mark.parametrize("mask", [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF])
def test_every_flipped_byte_is_seen_or_does_no_harm(mask: int) -> None:
    content = part()
    whole = unpack(content, "p", 12)
    seen = 0
    for i in range(len(content)):
        damaged = bytearray(content)
        damaged[i] ^= mask
        try:
            back = unpack(bytes(damaged), "p", 12)
            check(back, TASK, "p")
        except StoreError:
            seen += 1
            continue
        except Exception as problem:
            pytest.fail(f"byte {i} flipped by {mask:#x}: {type(problem).__name__} {problem}")
        assert same(back, whole), f"byte {i} flipped by {mask:#x} changes the content unseen"
    assert seen > len(content) // 2


def test_every_cut_is_seen() -> None:
    content = part()
    for end in range(len(content)):
        with pytest.raises(StoreError):
            unpack(content[:end], "p", 12)


def test_a_part_of_another_format_is_refused() -> None:
    ledger = ledger_of(TASK, REPORT, {}) | {"format": 2}
    with pytest.raises(StoreError, match="format 2"):
        unpack(pack(ledger, [Level(12, CHILD, VALUES)]), "p", 12)


def replaced_values(**values: Any) -> bytes:
    return pack(ledger_of(TASK, REPORT, {}), [Level(12, CHILD, values)])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (part(replace(TASK, run="b" * 64)), "belongs to"),
        (part(replace(TASK, id="cycle03/-6134114")), "belongs to"),
        (replaced_values(count=VALUES["count"]), "holds"),
        (replaced_values(**VALUES, more=VALUES["count"]), "holds"),
        (part(count=np.arange(3)), "holds"),
        (
            pack(ledger_of(TASK, REPORT, {}), [Level(12, np.array([1, 4096]), {k: v[:2] for k, v in VALUES.items()})]),
            "child 4096",
        ),
        (part(report=replace(REPORT, segments={"kept": 3, "fill": 2})), "counts 5 segments"),
        (part(report=replace(REPORT, segments={"kept": 2, "fill": 2})), "counts 2 observations"),
    ],
    ids=["run", "cell", "lacks", "more", "length", "child", "segments", "observations"],
)
def test_a_part_that_does_not_fit_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        check(unpack(content, "p", 12), TASK, "p")
    assert caught.value.reason == "store"


def test_a_report_agrees_with_its_own_part_only() -> None:
    digest = ledger_digest(unpack(part(), "p", 12).ledger)
    agree(REPORT, digest)
    assert digest == ledger_digest(unpack(part(report=replace(REPORT, seconds=9.0)), "p", 12).ledger)
    others = [replace(REPORT, state="partial"), replace(REPORT, granules=()), replace(REPORT, segments={"kept": 4})]
    for other in others:
        with pytest.raises(LedgerError, match=REPORT.id):
            agree(other, digest)
