"""How values show themselves: briefly, whatever they hold, and never as markup of their content."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import maggjob
from maggjob.model.display import brief, table
from maggjob.simulator.scene import simulate


def test_values_are_shown_in_one_line_and_as_a_table() -> None:
    simulate("granules", area=(-105.0, -76.0, -100.0, -75.0), every=100, most=3)
    catalog = maggjob.make_catalog("granules")
    plan = maggjob.plan("atl06.yaml", catalog=catalog, store="<b>.zarr")
    result = maggjob.run("atl06.yaml", catalog=catalog, store="<b>.zarr", backend="serial")
    for value in (catalog, plan, result, result.tally):
        assert len(repr(value)) < 600
        assert "\n" not in repr(value)
        assert type(value).__name__ in repr(value)
        html = value._repr_html_()
        assert html.startswith("<table>")
        assert "<b>" not in html
        parser = HTMLParser()
        parser.feed(html)
    assert f"{result.tally.observations:,}" in repr(result)


def test_markup_in_a_value_is_text() -> None:
    assert "<script>" not in table("A", {"name": "<script>alert(1)</script>"})
    assert brief("A", {"number": 1234567}) == "<A: 1,234,567 number>"


@pytest.mark.dear("starts a process")
def test_help_shows_the_public_names() -> None:
    code = "import maggjob; help(maggjob)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("make_catalog", "run", "retry", "verify_result", "ledger", "open_result"):
        assert f"    {name}(" in shown
    assert {"run", "tasks", "ledger"} <= set(dir(maggjob))
    assert not {"os", "Any", "import_module", "TYPE_CHECKING"} & set(dir(maggjob))


@pytest.mark.parametrize(
    "url",
    [
        "s3://nsidc-cumulus-prod-protected/ATLAS/ATL06/007/a/ATL06_20190222031203_08500210_007_01.h5",
        "https://data.nsidc.earthdatacloud.nasa.gov/a/ATL06_20190222031203_08500210_007_01.h5",
    ],
)
def test_tasks_by_hand_say_how_to_log_in(url: str) -> None:
    from maggjob.errors import InputError
    from maggjob.pipeline.by_hand import check_login

    with pytest.raises(InputError, match="archive_credentials"):
        check_login([url])
    check_login(["s3://my-own-bucket/a.h5", "granules/a.h5"])


@pytest.mark.dear("starts a process")
def test_a_store_that_is_there_is_seen_before_anything_is_mapped() -> None:
    from maggjob.errors import ExistsError

    simulate("granules", area=(-105.0, -76.0, -100.0, -75.0), every=100, most=2)
    catalog = maggjob.make_catalog("granules")
    maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    before = sorted(Path("map.zarr.run").rglob("*"))
    with pytest.raises(ExistsError, match="overwrite=True"):
        maggjob.tasks("atl06.yaml", catalog=catalog, store="map.zarr")
    assert sorted(Path("map.zarr.run").rglob("*")) == before
