"""What a configuration names and no granule has: told at the plan, or after the index, and nothing is left behind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

import maggjob
from maggjob.catalog.catalog import Catalog
from maggjob.cli.commands import main
from maggjob.errors import ConfigError
from tests.servers import archive, server

H_LI = "/{group}/land_ice_segments/h_li"


@pytest.fixture
def folder(sector: list[Path], tmp_path: Path) -> Path:
    """Return a folder with copies of three granules."""
    (tmp_path / "data").mkdir()
    for path in sector[:3]:
        shutil.copy(path, tmp_path / "data")
    return tmp_path / "data"


def plain() -> dict[str, Any]:
    """Return the configuration, to be changed."""
    return maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_unset=True)


def variable(config: dict[str, Any]) -> None:
    config["data_source"]["variables"]["h_li"] = H_LI.replace("h_li", "h_lii")


def condition(config: dict[str, Any]) -> None:
    config["data_source"]["filters"] = [{"dataset": "/{group}/land_ice_segments/fit/snr", "op": "<", "value": 1}]


def quality(config: dict[str, Any]) -> None:
    config["data_source"]["quality_filter"]["dataset"] = "/{group}/land_ice_segments/atl06_quality"


def time(config: dict[str, Any]) -> None:
    config["data_source"]["coordinates"]["time"] = "/{group}/land_ice_segments/time"


def group(config: dict[str, Any]) -> None:
    config["data_source"]["groups"] = ["gt1l", "beam_of_another_product"]


def every_group(config: dict[str, Any]) -> None:
    config["data_source"]["groups"] = ["profile_1", "profile_2"]


KINDS = [
    (variable, "variables.h_li: no granule has .*h_lii"),
    (condition, "filters.0.dataset: no granule has .*snr"),
    (quality, "quality_filter.dataset: no granule has .*atl06_quality"),
    (time, "coordinates.time: no granule has .*/time"),
    (group, "groups: no granule has beam_of_another_product; they have gt1l, gt1r, gt2l, gt2r, gt3l, gt3r"),
    (every_group, "no granule has .* in any of the groups profile_1, profile_2"),
]


@pytest.mark.parametrize(("change", "said"), KINDS, ids=[change.__name__ for change, _ in KINDS])
def test_it_is_told_at_the_plan(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    import yaml

    catalog, config = maggjob.make_catalog(folder), plain()
    change(config)
    with pytest.raises(ConfigError, match=said):
        maggjob.plan(config, catalog=catalog)
    catalog.write("catalog.json")
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    before = sorted(Path().iterdir())
    for command in ("plan", "run"):
        given = ["maggjob", command, "--config", "mine.yaml", "--catalog", "catalog.json", "--store", "map.zarr"]
        monkeypatch.setattr("sys.argv", given)
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 1
        assert "data_source." in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


def remote(folder: Path, url: Callable[[str], str]) -> Catalog:
    """Return a catalog of the granules as a server has them."""
    local = maggjob.make_catalog(folder).to_dict()
    urls = [url(f"/{path.name}") for path in sorted(folder.iterdir())]
    local["granules"]["urls"] = {"https": {"base": "", "rest": urls}}
    found = maggjob.plan("atl06.yaml", catalog=local).catalog
    assert len(found.granules) == 3
    return found


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize(("change", "said"), KINDS, ids=[change.__name__ for change, _ in KINDS])
def test_granules_of_a_server_tell_it_at_the_latest_after_their_index(
    folder: Path, index: bool, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    config = plain()
    change(config)
    with server(archive({f"/{path.name}": path.read_bytes() for path in folder.iterdir()})) as there:
        catalog = remote(folder, there.url)
        how: dict[str, Any] = {"catalog": catalog, "store": "map.zarr", "backend": "serial", "max_cells": 2}
        if change is time and not index:
            result = maggjob.run(config, **how, index=False)
            assert result.complete
            return
        with pytest.raises(
            ConfigError,
            match=said.split(";", maxsplit=1)[0] if index and change is not every_group else "no granule has",
        ) as caught:
            maggjob.run(config, **how, index=index, indexes="indexes")
    assert not getattr(caught.value, "unfinished", False)
    assert not Path("map.zarr").exists()
    assert not Path("map.zarr.run").exists()


def test_what_one_granule_has_is_enough(folder: Path) -> None:
    first, *others = sorted(folder.iterdir())
    for path in others:
        with h5py.File(path, "r+") as file:
            for beam in [name for name in file if name.startswith("gt")]:
                del file[f"{beam}/land_ice_segments/h_li"]
    catalog = maggjob.make_catalog(folder)
    assert maggjob.plan("atl06.yaml", catalog=catalog).pairs
    result = maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    assert result.tally.granules["failed"] == 2
    assert {report.id for r in result.reports for report in r.granules if report.state == "used"} == {first.stem}


def test_times_that_are_not_asked_for_may_be_absent(folder: Path) -> None:
    for path in folder.iterdir():
        with h5py.File(path, "r+") as file:
            for beam in [name for name in file if name.startswith("gt")]:
                del file[f"{beam}/land_ice_segments/delta_time"]
    config = plain()
    config["data_source"]["coordinates"].pop("time", None)
    catalog = maggjob.make_catalog(folder)
    result = maggjob.run(config, catalog=catalog, store="map.zarr", backend="serial", index=True, indexes="i")
    assert result.complete
    assert result.absent == ("times, so that the result has none",)
