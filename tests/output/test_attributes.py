"""The attributes: as the conventions demand, and true of the data that the result was computed from."""

from typing import Any

import pytest

import maggjob
from maggjob.grid.healpix import LATITUDES
from maggjob.icesat2.names import DOI_PREFIX
from maggjob.model.ledger import reduce_tally
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.output.attributes import convention_ellipsoid, group_attributes, root_attributes, variable_attributes
from maggjob.statistics.functions import FUNCTIONS, Function, Statistic

ELLIPSOIDS = (
    {"name", "radius"},
    {"name", "semi_major_axis", "semi_minor_axis"},
    {"name", "semi_major_axis", "inverse_flattening"},
)
"""Keys of an ellipsoid in the convention's schema (zarr-conventions/dggs v1), one of which it must have."""
KEYS = {"name", "refinement_level", "indexing_scheme", "spatial_dimension", "ellipsoid", "coordinate", "compression"}


def attributes(*granules: str, state: str = "used") -> dict[str, Any]:
    """The group's attributes of a result of some granules in one cell."""
    reports = tuple(GranuleReport(name, state, rows=1, in_cell=1, kept=1) for name in granules)
    report = CellReport("w/-6134114", "-6134114", "w", "complete", {"kept": len(reports)}, reports, part="part.npz")
    config = maggjob.load_config("atl06.yaml")
    return group_attributes(config, config.grid, "digest", [report], reduce_tally([report]))


@pytest.mark.parametrize("latitude", LATITUDES)
def test_the_grid_is_in_the_words_of_the_convention(latitude: str) -> None:
    plain = maggjob.load_config("atl06.yaml").model_dump()
    plain["output"]["grid"]["latitude"] = latitude
    config = maggjob.load_config(plain)
    dggs = group_attributes(config, config.grid, "digest", [], reduce_tally([]))["dggs"]
    assert set(dggs) == KEYS
    assert [keys for keys in ELLIPSOIDS if keys == set(dggs["ellipsoid"])]
    assert dggs["ellipsoid"] == convention_ellipsoid(config.grid)
    assert all(isinstance(value, float) for key, value in dggs["ellipsoid"].items() if key != "name")


def test_a_published_product_is_cited() -> None:
    of = attributes("ATL06_20231218170643_00052212_007_01", "ATL06_20231218170643_00062212_006_02")
    assert of["title"] == "ICESat-2 land-ice heights by HEALPix cell"
    assert (of["product"], of["product_version"]) == (["ATL06", "ATL06"], ["006", "007"])
    assert of["source_doi"] == ["10.5067/ATLAS/ATL06.006", "10.5067/ATLAS/ATL06.007"]
    assert "Smith" in of["references"][0]
    assert "WGS84" in of["vertical_datum"]
    assert "source" not in of


@pytest.mark.parametrize("product", ["ATL03", "ATL07", "ATL11"])
def test_nothing_is_said_of_heights_of_another_product(product: str) -> None:
    """Heights of ATL07, for example, are above the mean sea surface."""
    of = attributes(f"{product}_20231218170643_00052212_006_01")
    assert product in of["title"]
    assert "land-ice" not in of["title"]
    assert "vertical_datum" not in of
    assert of["source_doi"] == [f"10.5067/ATLAS/{product}.006"]
    assert "Smith" not in str(of)


def test_nothing_is_cited_for_names_that_say_nothing() -> None:
    assert {"title", "product", "source_doi", "references", "vertical_datum"}.isdisjoint(attributes("mine", "yours"))


def test_a_result_of_simulated_granules_says_so() -> None:
    of = attributes("ATL06_20231218170643_00052212_006_00")
    assert of["title"].startswith("simulated")
    assert "simulator" in of["source"]
    assert DOI_PREFIX not in str(of)
    assert "Smith" not in str(of)
    assert root_attributes(["12"], of, {})["title"] == of["title"]


def test_a_mixture_says_so_and_cites_what_is_real() -> None:
    of = attributes("ATL06_20231218170643_00052212_006_00", "ATL06_20231218170643_00062212_007_01")
    assert of["title"].startswith("partly simulated")
    assert of["source_doi"] == ["10.5067/ATLAS/ATL06.007"]


def test_an_empty_result_keeps_its_title() -> None:
    """All its granules failed, or none had a segment there."""
    assert attributes("ATL06_20231218170643_00052212_006_00", state="no_overlap")["title"].startswith("simulated")


def long_name(statistic: Statistic) -> str:
    return str(variable_attributes(statistic, {"h_li": {"long_name": "height", "units": "meters"}})["long_name"])


def test_a_variable_is_named_by_its_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Function(FUNCTIONS["max"].compute)
    monkeypatch.setitem(FUNCTIONS, "range", own)
    assert long_name(Statistic("h", "quantile", "h_li", q=0.25)) == "height, quantile 0.25"
    assert long_name(Statistic("h", "std", "h_li")) == "height, standard deviation"
    assert long_name(Statistic("h", "range", "h_li")) == "height, range"
