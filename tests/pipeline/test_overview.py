"""What a report knows of a run: what the run left, no more, and a note where something is missing."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.catalog.catalog import Catalog
from maggjob.errors import InputError
from maggjob.pipeline.overview import LISTED, RunOverview, overview_of
from maggjob.pipeline.overview_files import read_overview
from maggjob.pipeline.session import RunDescription, Session, SessionOptions
from maggjob.pipeline.status import read_summary
from maggjob.storage.run_folder import SUMMARY
from tests import calls
from tests.granule_files import beam, write_granule
from tests.runs import do, files


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Catalog:
    """Three granules in five cells; the third was cut after it had been listed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "granules").mkdir()
    for i, (south, west) in enumerate(((-74.6, -100.0), (-75.2, -101.0), (-75.0, -99.0))):
        path = tmp_path / "granules" / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5"
        write_granule(path, {"gt1l": beam(60, seed=i, south=south, west=west, step=1.6e-2)})
    listed = maggjob.make_catalog("granules")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return listed


def test_an_overview_is_what_the_run_did(catalog: Catalog) -> None:
    result = do(catalog, "map.zarr")
    found = read_overview("map.zarr")
    assert found.state == "incomplete"
    assert found.notes == ()
    # Its time, and its calls.
    assert sum(phase.seconds for phase in found.phases) == pytest.approx(result.wall_time_s, abs=0.01)
    assert [(phase.name, phase.calls) for phase in found.phases] == [
        *((name, len(stage)) for name, stage in zip([s.stage for s in found.calls], found.calls, strict=True)),
        ("other", None),
    ]
    assert {stage.stage: len(stage) for stage in found.calls}.items() >= {"map": result.calls}.items()
    assert all(stage.began + stage.took <= 1000 * result.wall_time_s + 1 for stage in found.calls)
    # What failed: the cut granule, in each of its cells.
    cells = sum(g.id in [one.id for one in r.granules] for r in result.reports for g in [result.plan.used_granules[2]])
    (failure,) = found.failures
    assert (failure.reason, failure.granules, failure.count) == ("truncated", 1, cells)
    assert result.tally.errors["truncated"]["count"] == cells
    (granule,) = failure.listed
    assert (granule.id, granule.cells) == (Path(result.plan.used_granules[2].url).stem, cells)
    assert "truncated" in granule.message or "bytes" in granule.message
    # Cells, estimate, store.
    assert [one.seconds for one in found.slowest] == sorted((one.seconds for one in result.reports), reverse=True)
    assert {one.cell: one.state for one in found.slowest} == {one.cell: one.state for one in result.reports}
    numbers = {one.what: one.actual for one in found.estimate}
    assert numbers["observations"] == result.tally.observations
    assert numbers["read"] >= sum(report.bytes_read for report in result.reports)
    assert all(one.expected is not None for one in found.estimate)
    assert found.stored["bytes"] == sum(len(content) for content in files("map.zarr").values())
    assert found.configuration is not None
    assert found.configuration["output"]["grid"]["child_order"] == 12
    assert found.summary["versions"]["h5coro"].split(".")[0] == "1"
    assert "results" not in found.summary
    assert found.bill == ()
    assert found.dollars == 0


def test_json_has_all_of_it(catalog: Catalog) -> None:
    do(catalog, "map.zarr")
    found = read_overview("map.zarr")
    plain = json.loads(json.dumps(found.to_dict()))
    assert set(plain) >= {"state", "summary", "phases", "calls", "estimate", "bill", "slowest", "failures", "notes"}
    assert [stage["stage"] for stage in plain["calls"]] == [stage.stage for stage in found.calls]
    assert plain["summary"] == {k: v for k, v in read_summary("map.zarr").items() if k != "results"}


@pytest.mark.dear("whole runs")
def test_times_of_calls_change_no_byte_of_a_result(catalog: Catalog) -> None:
    do(catalog, "one.zarr")
    do(catalog, "two.zarr", backend="localhost", max_workers=2)
    assert files("one.zarr") == files("two.zarr")
    assert files("one.zarr.run/parts") == files("two.zarr.run/parts")
    assert Path("one.zarr.run/calls.json").read_bytes() != Path("two.zarr.run/calls.json").read_bytes()


def test_an_older_run_has_no_timeline_and_a_note(catalog: Catalog) -> None:
    do(catalog, "map.zarr", index=True)
    Path("map.zarr.run/calls.json").unlink()
    found = read_overview("map.zarr")
    assert found.calls == ()
    (note,) = found.notes
    assert note.startswith("timeline: not kept")
    assert [phase.name for phase in found.phases] == ["index", "other"]
    assert sum(phase.seconds for phase in found.phases) == pytest.approx(found.summary["wall_time_s"])


def test_after_clean_the_report_is_the_same(catalog: Catalog) -> None:
    do(catalog, "map.zarr", allow_partial=True)
    before = read_overview("map.zarr")
    from maggjob.pipeline.result import clean

    clean("map.zarr")
    assert read_overview("map.zarr") == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("calls.json", b"{", "calls.json is damaged"),
        ("calls.json", b'{"format": 1}', "calls.json is damaged"),
        ("calls.json", b"[]", "calls.json is damaged"),
        ("plan.json", b'{"run_digest": 1', "plan.json is damaged"),
        ("plan.json", b"[]", "plan.json is damaged"),
        ("manifest.json", b"{}", "manifest.json is damaged"),
    ],
)
def test_what_is_damaged_is_left_out_and_named(catalog: Catalog, name: str, content: bytes, said: str) -> None:
    do(catalog, "map.zarr")
    Path("map.zarr.run", name).write_bytes(content)
    found = read_overview("map.zarr")
    assert any(said in note for note in found.notes)
    assert found.failures


@pytest.mark.dear("a whole run per kind", keep=("manifest.json",))
@pytest.mark.parametrize("name", ["calls.json", "manifest.json"])
def test_files_of_another_run_are_left_out(catalog: Catalog, name: str) -> None:
    do(catalog, "map.zarr")
    do(catalog, "other.zarr")
    Path("map.zarr.run", name).write_bytes(Path("other.zarr.run", name).read_bytes())
    found = read_overview("map.zarr")
    assert (found.calls == ()) == (name == "calls.json")
    assert (found.stored == {}) == (name == "manifest.json")


def test_times_of_another_format_are_left_out(catalog: Catalog) -> None:
    do(catalog, "map.zarr")
    path = Path("map.zarr.run/calls.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    assert read_overview("map.zarr").calls == ()


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_unfinished_run_has_no_report(catalog: Catalog) -> None:
    with pytest.raises(BaseException, match="before all"):
        do(catalog, "map.zarr", watch=stop)
    with pytest.raises(InputError, match=r"was stopped in the stage map .*maggjob status map\.zarr"):
        read_overview("map.zarr")
    # Once another one has finished, that is the report.
    do(catalog, "map.zarr")
    (note,) = read_overview("map.zarr").notes
    assert "an earlier attempt at this run, of which one part" in note
    with pytest.raises(BaseException, match="before all"):
        do(catalog, "map.zarr", watch=stop, overwrite=True, restart=True)
    assert any("a newer run began" in note for note in read_overview("map.zarr").notes)


@pytest.mark.parametrize("change", [{"digests": None}, {"started": None}, {"stages": 1}, {"tasks": []}])
def test_a_damaged_summary_is_named(catalog: Catalog, change: dict[str, Any]) -> None:
    do(catalog, "map.zarr")
    path = Path("map.zarr.run", SUMMARY)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"summary\.json is damaged"):
        read_overview("map.zarr")


def test_no_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no summary at"):
        read_overview(str(tmp_path / "nothing.zarr"))


def test_any_job_has_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Session(RunDescription("result", "all", {"tasks": 3}, {"run": "1"}), SessionOptions("serial")) as session:
        session.map("map", calls.raises, [0, 1, 2])
        session.finish({})
    found = read_overview("result")
    assert found.state == "incomplete"
    (stage,) = found.calls
    assert stage.failed == {1: "worker"}
    (failure,) = found.failures
    assert (failure.reason, failure.count, failure.granules) == ("worker", 1, 1)
    assert failure.listed[0].message == "ValueError: task one"
    assert (found.slowest, found.configuration) == ((), None)


def granule(number: int, state: str, reason: str | None = None, message: str | None = None) -> dict[str, Any]:
    return {"id": f"g{number}", "state": state, "reason": reason, "message": message}


def synthetic(count: int) -> RunOverview:
    """A run in which each of some granules failed in two cells."""
    lost = [
        granule(i, "failed", "throttled" if i % 2 else "network", f"a\nline {i}" if i else None) for i in range(count)
    ]
    report = {"state": "partial", "message": None, "window": "w", "cell": "1", "id": "w/1", "seconds": 1.0}
    report |= {"observations": 1, "bytes_read": 1, "attempts": 1, "granules": [*lost, granule(-1, "used")]}
    summary = {
        "complete": False,
        "wall_time_s": 1.0,
        "results": [report, report | {"cell": "2"}],
        "tasks": {},
        "errors": {},
        "cells": {},
    }
    return overview_of(summary)


@pytest.mark.parametrize("count", [1, 2, 2 * LISTED, 1000])
def test_all_reasons_and_the_first_granules_of_each(count: int) -> None:
    found = {one.reason: one for one in synthetic(count).failures}
    expected = Counter("throttled" if i % 2 else "network" for i in range(count))
    assert {reason: one.granules for reason, one in found.items()} == expected
    assert {reason: one.count for reason, one in found.items()} == {k: 2 * n for k, n in expected.items()}
    for one in found.values():
        assert len(one.listed) == min(LISTED, one.granules)
        assert {entry.cells for entry in one.listed} == {2}
    if count > 1:
        assert found["throttled"].listed[0].message == "line 1"


def test_bills_of_stages_are_one_bill() -> None:
    line = {"what": "compute", "quantity": 2.0, "unit": "GB-s", "price": 0.5, "dollars": 1.0}
    stages = [{"name": name, "bill": [line, line | {"what": "logs"}]} for name in ("index", "map")]
    base = {"complete": True, "wall_time_s": 1.0, "tasks": {}, "totals": {}}
    found = overview_of({**base, "stages": stages})
    assert [(row.what, row.quantity, row.dollars) for row in found.bill] == [("compute", 4.0, 2.0), ("logs", 4.0, 2.0)]
    assert found.dollars == 4.0
    # A bill of the whole run, beside what was expected, has precedence: it has lines that no stage has.
    whole = {**base, "stages": stages, "bill": [line | {"expected": 0.7}], "expected_dollars": 0.7}
    found = overview_of(whole)
    assert [(row.what, row.expected) for row in found.bill] == [("compute", 0.7)]
    (cost,) = [one for one in found.estimate if one.what == "cost"]
    assert (cost.expected, cost.actual) == (0.7, 1.0)
