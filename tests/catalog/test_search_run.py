"""From a search in the configuration to a map: CMR and archive stand-ins on loopback, everything else as it is."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

import maggjob
from maggjob.catalog.file import read_catalog
from maggjob.cli.commands import main
from maggjob.config.load import builtin_configs
from maggjob.errors import CatalogError
from maggjob.pipeline.result import read_summary
from maggjob.simulator.scene import cmr_record
from tests.oracle import differences, reference
from tests.runs import files as contents
from tests.servers import Request, Server, archive, server, status

AOI = (-105.0, -75.8, -103.0, -75.2)


@pytest.fixture
def granules(sector: list[Path]) -> list[Path]:
    return sector


@dataclass(frozen=True)
class Stand:
    """Stand-ins that run."""

    cmr: Server
    """Where CMR is."""
    archive: Server
    """Where granules are."""

    @property
    def endpoint(self) -> str:
        """Return the endpoint in the form in which a search names it."""
        return self.cmr.url("/search/")


@contextmanager
def stand(granules: list[Path], page: int = 2000, **faults: Any) -> Iterator[Stand]:
    """A CMR that lists granules and an archive that has them.

    ``faults``: ``hits`` to say another total, ``answer`` to answer otherwise.
    """
    with server(archive({f"/ATLAS/{path.name}": path.read_bytes() for path in granules})) as files:
        records = []
        for path in granules:
            record = copy.deepcopy(cmr_record(path))
            record["umm"]["RelatedUrls"] = [{"Type": "GET DATA", "URL": files.url(f"/ATLAS/{path.name}")}]
            records.append(record)

        def answer(request: Request) -> None:
            asked = urlsplit(request.path)
            if not asked.path.endswith("/granules.umm_json"):
                return request.reply(404)
            query = parse_qs(asked.query)
            size = min(page, int(query.get("page_size", ["10"])[0]))
            start = int(request.headers.get("CMR-Search-After") or 0)
            some = records[start : start + size]
            body = json.dumps({"hits": len(records), "took": 1, "items": some}).encode()
            headers = {"CMR_Hits": str(faults.get("hits", len(records))), "Content_Type": "application/json"}
            if some:
                headers["CMR_Search_After"] = str(start + len(some))
            return request.reply(200, body, **headers)

        with server(faults.get("answer", answer)) as cmr:
            yield Stand(cmr, files)


def configured(endpoint: str, **search: Any) -> str:
    """A configuration that searches, in ./mine.yaml."""
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    plain["search"] = {"cycle": 22, "version": "006", "aoi": list(AOI), "endpoint": endpoint} | search
    Path("mine.yaml").write_text(yaml.safe_dump(plain))
    return "mine.yaml"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is kept, or found, beyond this test; there is nobody to log in as."""
    monkeypatch.setenv("MAGGJOB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "cache"


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of ``maggjob`` with arguments."""
    monkeypatch.setattr("sys.argv", ["maggjob", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


@pytest.mark.dear("a whole run; the catalog of the search is checked without one")
def test_a_search_in_the_configuration_runs_to_the_map(
    granules: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    with stand(granules) as there:
        config = configured(there.endpoint)
        assert typed(monkeypatch, "--config", config, "--backend", "serial") == 0
        said = capsys.readouterr()
        assert f"CMR: {len(granules)} of {len(granules)} granules listed" in said.err
        assert {seen.path for seen in there.archive.seen} <= {f"/ATLAS/{path.name}" for path in granules}
        assert len(there.cmr.seen) == 1
    plain = read_summary("mine.zarr")
    assert plain["complete"]
    assert (plain["driver"], plain["window"]) == ("https", "cycle22")
    exact = maggjob.make_catalog([str(path) for path in granules], aoi=AOI)
    cells = {result["cell"] for result in plain["results"]}
    from maggjob.grid.healpix import format_cell, parse_cell

    assert {format_cell(cell, 6) for cell in exact.cells} <= cells
    truth = reference(granules, 12, "authalic")
    inside = {parse_cell(cell, 6) for cell in cells}
    expected = {child: values for child, values in truth.items() if child >> 12 in inside}
    dataset = maggjob.open_result("mine.zarr")
    values = {name: dataset[name].values for name in dataset.data_vars}
    assert differences(values, dataset.cell_ids.values, expected) == []
    assert plain["total_obs"] == sum(int(v["count"]) for v in expected.values()) > 0
    assert (line := next(x for x in said.out.splitlines() if x.startswith("expected")))
    assert f"(was {plain['total_obs']:,})" in line
    assert [path.name for path in cache.iterdir()] == ["index"]


@pytest.mark.dear("hundreds of records on several pages")
def test_pages_come_one_after_the_other(granules: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.catalog.cmr.PAGE", 4)
    heard: list[tuple[int, int]] = []
    with stand(granules, page=4) as there:
        config = configured(there.endpoint)
        plan = maggjob.plan(config, watch=lambda came, total: heard.append((came, total)))
        assert len(there.cmr.seen) == 2
    assert heard == [(4, len(granules)), (len(granules), len(granules))]
    assert {entry.id for entry in plan.catalog.granules} <= {path.stem for path in granules}


@pytest.mark.dear("as the search in a configuration")
def test_a_catalog_from_cmr_is_that_of_its_records(
    granules: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with stand(granules) as there:
        options = ["--cycle", "22", "--version", "006", "--aoi", ",".join(map(str, AOI)), "--endpoint", there.endpoint]
        assert typed(monkeypatch, "catalog", *options) == 0
        assert typed(monkeypatch, "catalog", "--config", configured(there.endpoint), "--out", "by_config.json") == 0
    asked, by_config = read_catalog("catalog.json"), read_catalog("by_config.json")
    recorded = [cmr_record(path) for path in granules]
    Path("records.json").write_text(json.dumps({"hits": len(recorded), "took": 1, "items": recorded}))
    assert typed(monkeypatch, "catalog", "--from-records", "records.json", *options[:-2], "--out", "recorded.json") == 0
    again = read_catalog("recorded.json")
    assert asked.cells == by_config.cells == again.cells
    assert asked.digest == by_config.digest == again.digest
    assert capsys.readouterr().out.count(f"{asked.pairs:,} pairs") == 3
    assert again.granules[0].urls["s3"].startswith("s3://nsidc-cumulus-prod-protected/")
    assert typed(monkeypatch, "catalog", "--info", "catalog.json") == 0
    text = capsys.readouterr().out
    assert f"granules      {len(asked.granules)}, cycle22, by https" in text
    assert f"area          {','.join(map(str, AOI))}" in text
    assert f"searched      {asked.provenance['searched']}, {len(granules)} listed" in text
    assert "cycle 22" in text
    assert "mortie" in text


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"hits": 7000}, "CMR reports 7000 granules"),
        ({"hits": 1}, "CMR reports 1 granules"),
        ({"hits": "many"}, "does not say how many granules"),
        ({"answer": status(400, b'{"errors": ["no such product"]}')}, "CMR answered 400: no such product"),
        ({"answer": status(200, b"<html>down for maintenance</html>")}, "not with a page of umm_json"),
        ({"answer": status(200, b'{"hits": 1, "items": [{"meta": {}, "um')}, "not with a page of umm_json"),
    ],
    ids=["more than come", "fewer than come", "no number", "an error", "a page of HTML", "a page cut short"],
)
def test_what_cmr_gets_wrong_is_told_and_nothing_is_written(
    granules: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cache: Path,
    faults: dict[str, Any],
    said: str,
) -> None:
    with stand(granules, **faults) as there:
        config = configured(there.endpoint)
        for command in (("--config", config, "--backend", "serial"), ("catalog", "--config", config)):
            assert typed(monkeypatch, *command) == 1
            told = capsys.readouterr()
            assert (told.out, len(told.err.splitlines())) == ("", 1)
            assert said in told.err
            assert "error in maggjob itself" not in told.err
    assert files() == ["mine.yaml"]
    assert not cache.exists()


def test_an_area_without_granules_is_told(
    granules: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with stand(granules) as there:
        assert typed(monkeypatch, "--config", configured(there.endpoint, aoi="greenland")) == 1
        assert "touches the area greenland" in capsys.readouterr().err
        assert typed(monkeypatch, "--config", configured(there.endpoint, cycle=21)) == 1
        assert "none of ATL06 version 006 of cycle 21" in capsys.readouterr().err
    assert files() == ["mine.yaml"]


@pytest.mark.dear("waits for a server that is not there")
def test_a_cmr_that_is_not_there_is_told(
    granules: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("maggjob.catalog.cmr.RETRY", 0)
    with stand(granules) as there:
        config = configured(there.endpoint)
        assert typed(monkeypatch, "catalog", "--config", config) == 0
    capsys.readouterr()
    assert typed(monkeypatch, "catalog", "--config", config, "--out", "new.json") == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert files() == ["catalog.json", "mine.yaml"]


@pytest.mark.dear("two servers and four runs")
def test_an_update_asks_as_the_result_did(tmp_path: Path) -> None:
    """A cycle that CMR lists by now is added; the rest of the search is that of the result's catalog."""
    scene = {"area": AOI, "every": 150, "most": 2}
    granules = [maggjob.simulate(tmp_path / "granules", cycles=(cycle,), **scene) for cycle in (21, 22)]
    every = [path for some in granules for path in some]
    plain = yaml.safe_load(builtin_configs()["atl06_cycles.yaml"].read_text())
    with stand(every) as there:
        search = {"version": "006", "aoi": list(AOI), "endpoint": there.endpoint}
        for store, cycles in (("map.zarr", (21, 21)), ("one.zarr", (21, 22))):
            config = plain | {"search": search | {"cycles": list(cycles)}}
            found = maggjob.run(config, store=store, driver="https", backend="serial", index=True, indexes="indexes")
            assert isinstance(found, maggjob.RunResult)
        assert maggjob.plan_update("map.zarr").nothing
        update = maggjob.plan_update("map.zarr", cycles="21-22")
        assert list(update.added) == sorted(path.stem for path in granules[1])
        assert update.kept_windows == ("cycle21",)
        maggjob.update("map.zarr", cycles=(21, 22), backend="serial", indexes="indexes")
    assert contents("map.zarr") == contents("one.zarr")


@pytest.mark.dear("two runs; the update beside it asks, too")
def test_an_area_without_a_name_is_asked_for(tmp_path: Path) -> None:
    every = maggjob.simulate(tmp_path / "granules", cycles=(21,), area=AOI, every=60, most=3)
    west, south, east, north = AOI
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    area = {"type": "Polygon", "coordinates": [ring]}
    plain = yaml.safe_load(builtin_configs()["atl06_cycles.yaml"].read_text())
    with stand(every) as there:
        search = {"version": "006", "aoi": area, "endpoint": there.endpoint, "cycles": [21, 21]}
        maggjob.run(plain | {"search": search}, store="map.zarr", driver="https", backend="serial")
        with pytest.raises(CatalogError, match="--aoi"):
            maggjob.plan_update("map.zarr")
        assert maggjob.plan_update("map.zarr", aoi=area).nothing
