"""The page of a report: one file, everything escaped, and the same numbers as the overview."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.errors import ExistsError, InputError
from maggjob.pipeline.overview import FailedGranule, Failure, RunOverview
from maggjob.pipeline.overview_files import read_overview
from maggjob.show.report_page import report_html, write_report
from maggjob.show.timeline import KINDS
from tests.browser import PHONE, browser, find_chromium
from tests.granule_files import beam, write_granule
from tests.runs import do

VOID = {"meta", "img", "br", "input", "link", "hr", "path"}


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        """Values of an attribute, of all elements that have it."""
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three granules, one of which was cut."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "granules").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for i, (south, west) in enumerate(((-74.6, -100.0), (-75.2, -101.0), (-75.0, -99.0))):
            path = Path(f"granules/ATL06_2019022203120{i}_085{i}0211_006_01.h5")
            write_granule(path, {"gt1l": beam(60, seed=i, south=south, west=west, step=1.6e-2)})
        catalog = maggjob.make_catalog("granules")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        do(catalog, "map.zarr", allow_partial=True)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_a_page_has_all_of_it_and_asks_for_nothing(here: Path) -> None:
    found = read_overview("map.zarr")
    path = write_report("map.zarr", "report.html")
    text = path.read_text()
    page = Page(text)
    assert path.stat().st_size < 400_000
    # One file: it refers to nothing outside of itself.
    assert page.attributes("href") == []
    assert [source[:22] for source in page.attributes("src")] == ["data:image/png;base64,"]
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
    ids = page.attributes("id")
    assert ids == ["map", "ledger", "failed", "timeline", "time", "estimate", "slowest", "origin"]
    said = page.text
    cells = found.summary["cells"]
    for words in (
        "incomplete",
        f"{found.summary['total_obs']:,}",
        "truncated",
        found.failures[0].listed[0].id,
        found.slowest[0].cell,
        found.summary["digests"]["run"],
        "child_order: 12",
        f"version: h5coro{found.summary['versions']['h5coro']}",
        f"partial {cells['partial']}",
    ):
        assert words in said, words
    assert sum(tag == "svg" for tag, _ in page.tags) == 1 + len(found.calls)
    assert set(KINDS) >= {str(attributes.get("class")) for tag, attributes in page.tags if tag == "path"}


def test_from_another_folder_it_finds_the_store(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = write_report(here / "map.zarr", "report.html").read_text()
    assert "data:image/png" in text


EVIL = "<script>alert('x')</script>\"&<b>"


def test_everything_is_escaped(here: Path) -> None:
    found = read_overview("map.zarr")
    tasks = {EVIL: {"done": 1, "failed": 1, "tasks": 2}}
    evil = replace(
        found,
        summary={**found.summary, "store_path": EVIL, "window": EVIL, "absent": [EVIL], "versions": {EVIL: EVIL}},
        failures=(Failure(EVIL, 3, 9, (FailedGranule(EVIL, 1, EVIL),)),),
        slowest=tuple(replace(one, cell=EVIL, state=EVIL) for one in found.slowest),
        phases=tuple(replace(one, name=EVIL) for one in found.phases),
        calls=tuple(replace(one, stage=EVIL) for one in found.calls),
        estimate=tuple(replace(one, what=EVIL) for one in found.estimate),
        configuration={EVIL: [EVIL]},
        notes=(EVIL,),
    )
    other = replace(evil, summary={k: v for k, v in evil.summary.items() if k != "cells"} | {"tasks": tasks})
    for one in (evil, other):
        page = Page(report_html(one, b"png", EVIL))
        assert [tag for tag, _ in page.tags].count("script") == 1, "its own"
        # The text of the page, and not elements: in tables, bars, headings and the title.
        assert page.text.count(EVIL) >= 15


def test_without_matplotlib_there_is_no_map_and_the_page_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InputError("matplotlib is needed to draw a map; type pip install 'maggjob[view]'")

    monkeypatch.setattr("maggjob.show.report_picture.check_matplotlib", refuse)
    text = write_report("map.zarr", "report.html").read_text()
    assert "<img" not in text
    assert "no map: matplotlib is needed" in text
    assert "truncated" in text


def test_without_a_result_there_is_no_map(here: Path) -> None:
    found = read_overview("map.zarr")
    page = Page(report_html(replace(found, summary={**found.summary, "published": False})))
    assert "not published" in page.text


def test_what_an_older_run_did_not_keep_is_said(here: Path) -> None:
    found = replace(read_overview("map.zarr"), calls=(), configuration=None, stored={}, notes=("timeline: not kept",))
    old = {k: v for k, v in found.summary.items() if k not in ("versions", "absent", "in_transition", "fits", "taken")}
    page = Page(report_html(replace(found, summary=old)))
    assert "timeline: not kept" in page.text
    assert "timeline" not in page.attributes("id")


def test_the_bill_is_on_the_page(here: Path) -> None:
    from maggjob.pipeline.overview import BillRow

    found = read_overview("map.zarr")
    rows = (BillRow("compute", 12.5, "GB-s", 0.25, 0.5), BillRow("INIT", 1.0, "GB-s", 0.125))
    text = Page(report_html(replace(found, bill=rows))).text
    assert "$0.3750on Lambda" in text
    assert "all$0.375000" in text
    assert "expectedcompute12.5 GB-s$0.250000$0.500000INIT" in text


def test_other_jobs_have_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    maggjob.simulate_sst("sst", start="2019-01-01", end="2019-01-03", every=20)
    maggjob.series(
        "mur25_sst.yaml", start="2019-01-01", end="2019-01-04", files=("sst",), store="sst.zarr", backend="serial"
    )
    page = Page(write_report("sst.zarr").read_text())
    assert page.attributes("id") == ["picture", "tasks", "failed", "timeline", "time", "work", "origin"]
    assert "data:image/png" in page.attributes("src")[0]
    assert "missing1" in page.text, "a day"
    assert "nothing failed" in page.text


def test_only_a_page_is_replaced(here: Path) -> None:
    Path("notes.html").write_text("mine")
    with pytest.raises(ExistsError, match=r"notes\.html"):
        write_report("map.zarr", "notes.html")
    assert Path("notes.html").read_text() == "mine"
    before = sorted(Path().iterdir())
    for out, said in (("report.png", "ends in .html"), ("no/where.html", "no folder"), ("granules", "ends in .html")):
        with pytest.raises(InputError, match=said):
            write_report("map.zarr", out)
    with pytest.raises(InputError, match="no summary at"):
        write_report("nothing.zarr", "other.html")
    assert sorted(Path().iterdir()) == before


# --- In a browser


@pytest.mark.dear("starts a browser")
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: make browser installs it on Debian")
def test_in_a_browser_it_fits_a_phone_and_asks_for_nothing(here: Path, tmp_path: Path) -> None:
    path = write_report("map.zarr", "report.html")
    with browser(tmp_path) as page:
        for width, height, scale, mobile in ((1440, 900, 1.0, False), PHONE):
            page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
            )
            for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 27)")):
                page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                page.events.clear()
                page.call("Page.navigate", url=path.absolute().as_uri())
                page.wait("document.readyState == 'complete'")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
                assert page.evaluate("document.querySelector('img').naturalWidth") > 600
                # Bars have a size.
                boxes = "[...document.querySelectorAll('.plot svg')].map(e => e.getBoundingClientRect())"
                assert page.evaluate(f"{boxes}.every(box => box.width > 300 && box.height > 10)")
                assert [url for url in page.requests() if not url.startswith(("file:", "data:"))] == []
                assert page.complaints() == []
        # What is folded is printed.
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate("[...document.querySelectorAll('details')].every(one => one.open)")


def test_the_structure_is_the_same_for_all(here: Path) -> None:
    """Text, page and JSON are made from one overview."""
    found: RunOverview = read_overview("map.zarr")
    plain: dict[str, Any] = found.to_dict()
    page = Page(report_html(found)).text
    for failure in plain["failures"]:
        assert failure["reason"] in page
    assert plain["state"] in page
