"""What goes from stage to stage: names of granules, small tasks, plain reports."""

import json
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.config.load import load_config
from maggjob.icesat2.names import GranuleName
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellCounts, CellReport, GranuleReport, Tally
from maggjob.model.tasks import CellTask, Granule, GranuleList
from tests.strategies import few, many

REAL_NAMES = {
    "ATL06_20181014001049_02350102_003_01.h5": ("20181014001049", 235, 1, 2, "003", "01"),
    "ATL06_20230816161508_08782002_006_02.h5": ("20230816161508", 878, 20, 2, "006", "02"),
    "processed_ATL06_20190222031203_08500210_001_01.h5": ("20190222031203", 850, 2, 10, "001", "01"),
    "processed_ATL06_20191106230008_06270503_006_01.h5": ("20191106230008", 627, 5, 3, "006", "01"),
}
BUCKET = "s3://nsidc-cumulus-prod-protected/ATLAS/ATL06/006/2023/08/16/"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_config("atl06.yaml").recipe()


def task(recipe: Recipe, granules: tuple[Granule, ...] | GranuleList) -> CellTask:
    return CellTask(
        id="cycle22/-6134114",
        cell="-6134114",
        window="cycle22",
        recipe=recipe,
        granules=granules,
        run=64 * "a",
        parts="s3://some-bucket/some/prefix/parts",
        credentials="s3://some-bucket/some/prefix/credentials.json",
        region="us-west-2",
    )


# --- Names of granules ---


@pytest.mark.parametrize("name", REAL_NAMES)
@pytest.mark.parametrize("before", ["", BUCKET, "https://data.nsidc.earthdatacloud.nasa.gov/a/ATL06/", "../data/"])
def test_a_real_name_says_what_it_is(name: str, before: str) -> None:
    start, rgt, cycle, region, version, revision = REAL_NAMES[name]
    assert GranuleName.parse(before + name) == GranuleName("ATL06", start, rgt, cycle, region, version, revision)


def test_a_granule_id_needs_no_suffix() -> None:
    name = "ATL06_20230816161508_08782002_006_02"
    assert GranuleName.parse(name) == GranuleName.parse(name + ".h5")


def test_another_product_has_such_names_too() -> None:
    parsed = GranuleName.parse("ATL08_20230816161508_08782002_006_02.h5")
    assert parsed is not None
    assert parsed.product == "ATL08"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "granule.h5",
        "ATL06_20230816161508_0878200_006_02.h5",
        "ATL06_2023081616150_08782002_006_02.h5",
        "ATL06-20230816161508-08782002-006-02.h5",
        "atl06_20230816161508_08782002_006_02.h5",
        "ATL06_20230816161508_08782002_006_02/other.h5",  # a folder's name is none of a granule
    ],
)
def test_another_name_says_nothing(name: str) -> None:
    assert GranuleName.parse(name) is None


@many
@given(st.integers(1, 1387), st.integers(1, 99), st.integers(1, 14), st.integers(1, 999))
def test_a_name_leads_back_to_its_numbers(rgt: int, cycle: int, region: int, version: int) -> None:
    name = f"ATL06_20230816161508_{rgt:04d}{cycle:02d}{region:02d}_{version:03d}_01.h5"
    parsed = GranuleName.parse(name)
    assert parsed is not None
    assert (parsed.rgt, parsed.cycle, parsed.region, int(parsed.version)) == (rgt, cycle, region, version)


# --- Tasks ---


def test_a_task_with_a_reference_is_small(recipe: Recipe) -> None:
    listed = task(recipe, GranuleList("s3://some-bucket/some/prefix/granules.zlib", 123_456_789, 65_536))
    assert len(pickle.dumps(listed)) < 2500


def test_a_granule_adds_little_to_a_task(recipe: Recipe) -> None:
    granules = tuple(
        Granule(f"ATL06_20230816161508_{i:04d}2002_006_02.h5", f"{BUCKET}ATL06_20230816161508_{i:04d}2002_006_02.h5", 9)
        for i in range(40)
    )
    assert len(pickle.dumps(task(recipe, granules))) < 2500 + 40 * 250


def test_a_task_goes_by_pickle(recipe: Recipe) -> None:
    sent = task(recipe, (Granule("a", "file:///a.h5", 3),))
    assert repr(pickle.loads(pickle.dumps(sent))) == repr(sent)  # repr: NaN equals nothing


def test_a_task_is_frozen(recipe: Recipe) -> None:
    with pytest.raises(FrozenInstanceError):
        task(recipe, ()).cell = "1"  # type: ignore[misc]


def test_a_part_is_named_by_its_task(recipe: Recipe) -> None:
    sent = task(recipe, ())
    assert sent.part == "s3://some-bucket/some/prefix/parts/cycle22/-6134114.npz"
    assert replace(sent, parts=None).part is None


def test_a_recipe_knows_its_paths_and_columns(recipe: Recipe) -> None:
    assert recipe.path("/{group}/land_ice_segments/h_li", "gt3r") == "gt3r/land_ice_segments/h_li"
    assert recipe.used_columns == {"h_li", "s_li"}
    assert replace(recipe, statistics=()).used_columns == frozenset()


# --- Reports ---

GRANULE_REPORT = GranuleReport("a", "failed", {"gt1l": "read"}, rows=5, in_cell=2, reason="network", message="reset")
REPORT = CellReport(
    "cycle22/-6134114",
    "-6134114",
    "cycle22",
    "partial",
    {"quality": 3, "kept": 7},
    (GRANULE_REPORT,),
    time=(1.5, 2.5),
    arrays={"count": np.ones(3)},
)


def test_a_ledger_leaves_out_what_differs_from_run_to_run() -> None:
    assert GRANULE_REPORT.ledger() == replace(GRANULE_REPORT, message="other words").ledger()
    assert GRANULE_REPORT.ledger()["reason"] == "network"
    assert GRANULE_REPORT.ledger()["beams"] == {"gt1l": "read"}


def test_observations_are_the_segments_kept() -> None:
    assert REPORT.observations == 7
    assert replace(REPORT, segments={}).observations == 0


def test_a_report_is_plain_without_its_arrays() -> None:
    plain = json.loads(json.dumps(REPORT.to_dict()))
    assert "arrays" not in plain
    assert (plain["observations"], plain["time"]) == (7, [1.5, 2.5])
    assert plain["granules"][0]["message"] == "reset"


def test_a_report_goes_by_pickle() -> None:
    back = pickle.loads(pickle.dumps(REPORT))
    assert back.to_dict() == REPORT.to_dict()
    assert back.arrays["count"].tolist() == [1.0, 1.0, 1.0]


@few
@given(st.dictionaries(st.sampled_from(("complete", "empty", "planned")), st.integers(0, 100)))
def test_a_tally_is_plain(cells: dict[str, int]) -> None:
    tally = Tally(3, cells, {"used": 1}, {"rows": 5}, {"network": {"granules": 1, "examples": ["a"]}})
    assert json.loads(json.dumps(tally.to_dict()))["cells"] == cells


def test_reports_of_many_cells_share_the_id_and_the_beams_of_a_granule() -> None:
    beams = {"gt1l": "read", "gt1r": "absent"}
    sent = [
        GranuleReport("ATL06_one", "used", dict(beams), 70_000, 3, 5000, kept, {"fill": 5000 - kept, "kept": kept})
        for kept in (4000, 4100)
    ]
    sent += [GranuleReport("ATL06_one", "failed", reason="read", message="truncated")]
    one, two, three = (pickle.loads(pickle.dumps(report)) for report in sent)
    assert [one, two, three] == sent
    assert [one.ledger(), three.ledger()] == [sent[0].ledger(), sent[2].ledger()]
    assert one.id is two.id is three.id
    assert one.beams is two.beams
    assert one.rows is two.rows


@given(st.dictionaries(st.integers(0, 12 * 4**29), st.integers(0, 2**40), max_size=30))
def test_counts_by_cell_are_those_of_a_dict(counts: dict[int, int]) -> None:
    packed = pickle.loads(pickle.dumps(CellCounts(counts)))
    assert packed == counts
    assert list(packed) == sorted(counts)
    assert all(packed.get(cell, -1) == count for cell, count in counts.items())
    assert packed.get(-5) is None
    assert len(packed) == len(counts)
