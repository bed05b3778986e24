"""The command line: exit codes, one-line errors, and no half-written files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
import yaml

from maggjob._version import __version__
from maggjob.config.load import builtin_configs
from tests.granule_files import beam, write_granule
from tests.typed import maggjob

COMPLETE, BAD_INPUT, INCOMPLETE = 0, 1, 2
HANGS = 600.0  # seconds that no command takes, on however busy a machine


def python_m(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m maggjob`` here, with Lithops' temporary files here as well."""
    temporary = Path("../tmp").absolute()
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "maggjob", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
        timeout=HANGS,
        check=False,
    )


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Path:
    """Three granules in five cells, in ./granules; the third has two cells alone."""
    folder = tmp_path / "here"
    (folder / "granules").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for i, (south, west) in enumerate(((-74.6, -100.0), (-75.2, -101.0), (-75.0, -99.0))):
        write_granule(
            folder / "granules" / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5",
            {"gt1l": beam(60, seed=i, south=south, west=west, step=1.6e-2)},
        )
    return folder


@pytest.fixture
def catalog(here: Path) -> Path:
    """./catalog.json."""
    from maggjob.catalog.local import from_files
    from maggjob.config.load import load_config

    from_files(["granules"], load_config("atl06.yaml").recipe()).write("catalog.json")
    return here / "catalog.json"


def tree() -> dict[str, bytes | None]:
    """Everything here: files with their content, folders with None."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(Path().rglob("*"))}


def refused(*arguments: str, said: str) -> None:
    """Exit 1, one line on standard error, nothing on standard output, nothing written."""
    before = tree()
    done = maggjob(*arguments)
    assert (done.returncode, done.stdout) == (BAD_INPUT, "")
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert tree() == before


def summary(store: str = "atl06.zarr") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(f"{store}.run/summary.json").read_text())
    return content


def count(store: str = "atl06.zarr") -> int:
    return int(xr.open_zarr(store, group="12")["count"].sum())


def edited(change: Callable[[dict[str, Any]], object], name: str = "mine.yaml") -> str:
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    change(plain)
    Path(name).write_text(yaml.safe_dump(plain))
    return name


# ---- as it should go


def test_two_commands_make_a_map() -> None:
    made = python_m("catalog", "--from-files", "granules")
    assert (made.returncode, made.stderr) == (COMPLETE, "")
    assert "3 granules in 5 cells" in made.stdout
    done = python_m("--config", "atl06.yaml")
    assert done.returncode == COMPLETE
    # A run of more than five seconds says how far it is.
    assert all(" of 5 cells, " in line for line in done.stderr.splitlines())
    plain = summary()
    assert plain["backend"] == "localhost"
    assert plain["cells"] == {"planned": 5, "complete": 5, "empty": 0, "partial": 0, "failed": 0}
    assert plain["total_obs"] == count() > 0
    assert f"{plain['total_obs']:,}" in done.stdout
    assert "atl06.zarr" in done.stdout
    assert sorted(path.name for path in Path().iterdir()) == [
        "atl06.zarr",
        "atl06.zarr.run",
        "catalog.json",
        "granules",
    ]


def test_a_backend_may_be_given(catalog: Path) -> None:
    done = maggjob("run", "--config", "atl06.yaml", "--backend", "serial", "--store", "map.zarr", "--max-workers", "2")
    assert done.returncode == COMPLETE
    assert summary("map.zarr")["backend"] == "serial"
    assert summary("map.zarr")["total_obs"] == count("map.zarr") > 0


def test_paths_may_be_given(catalog: Path) -> None:
    catalog.rename("listed.json")
    done = maggjob(
        "--config", "atl06.yaml", "--catalog", "listed.json", "--store", "a/b/map.zarr", "--backend", "serial"
    )
    assert done.returncode == COMPLETE
    assert count("a/b/map.zarr") == summary("a/b/map.zarr")["total_obs"] > 0


def test_cells_may_be_chosen(catalog: Path) -> None:
    most = maggjob("--config", "atl06.yaml", "--max-cells", "2", "--backend", "serial")
    assert most.returncode == COMPLETE
    plain = summary()
    assert (plain["total_cells"], plain["total_pairs"]) == (2, 4)
    assert plain["segments"]["rows"] == sum(n for state, n in plain["segments"].items() if state != "rows")
    assert plain["segments"]["outside"] > 0
    cell = plain["results"][0]["cell"]
    assert cell.startswith("-")
    one = maggjob("--config", "atl06.yaml", "--morton-cell", cell, "--store", "one.zarr", "--backend", "serial")
    assert one.returncode == COMPLETE
    assert [result["cell"] for result in summary("one.zarr")["results"]] == [cell]


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(catalog: Path) -> None:
    before = tree()
    done = maggjob("--config", "atl06.yaml", "--dry-run")
    assert (done.returncode, done.stderr) == (COMPLETE, "")
    for said in ("cells         5\n", "granules      3, read by file\n", "cycle02", "atl06.zarr"):
        assert said in done.stdout
    assert tree() == before


def test_overwriting_is_asked_for(catalog: Path) -> None:
    assert maggjob("--config", "atl06.yaml", "--max-cells", "1", "--backend", "serial").returncode == COMPLETE
    refused("--config", "atl06.yaml", "--backend", "serial", said="atl06.zarr already exists; give --overwrite")
    done = maggjob("--config", "atl06.yaml", "--backend", "serial", "--overwrite")
    assert done.returncode == COMPLETE
    assert summary()["total_cells"] == 5
    assert count() == summary()["total_obs"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], ["catalog", "--help"]])
def test_help_helps(arguments: list[str]) -> None:
    done = python_m(*arguments) if arguments == ["--help"] else maggjob(*arguments)
    assert (done.returncode, done.stderr) == (COMPLETE, "")
    assert "Usage: " in done.stdout
    assert "maggjob --config atl06 " in done.stdout or len(arguments) == 2
    assert "\\b" not in done.stdout


def test_the_version_is_told() -> None:
    done = maggjob("--version")
    assert (done.returncode, done.stderr) == (COMPLETE, "")
    assert done.stdout.startswith("maggjob")
    assert __version__ in done.stdout


# ---- what cannot be used


def test_no_configuration_is_named(catalog: Path) -> None:
    refused("--config", "nowhere.yaml", said="no configuration 'nowhere.yaml'")


def test_no_catalog_shows_the_two_commands() -> None:
    before = tree()
    done = maggjob("--config", "atl06.yaml")
    assert done.returncode == BAD_INPUT
    assert "maggjob catalog --from-files" in done.stderr
    assert "maggjob run --config" in done.stderr
    assert tree() == before


def test_a_cell_that_is_not_there_is_refused(catalog: Path) -> None:
    refused("--config", "atl06.yaml", "--morton-cell", "-6134114", said="cell -6134114 is not among the catalog's 5")
    refused("--config", "atl06.yaml", "--morton-cell", "-613411", said="its order is 5")
    refused("--config", "atl06.yaml", "--morton-cell", "north", said="'north'")


def test_a_store_that_cannot_be_written_is_refused(catalog: Path) -> None:
    Path("file").write_text("no folder")
    refused("--config", "atl06.yaml", "--store", "file/map.zarr", "--backend", "serial", said="file/map.zarr")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plain: plain["aggregation"]["variables"]["h_min"].update(function="minimal"), "'minimal'"),
        (
            lambda plain: plain["aggregation"]["variables"]["h_sigma"].update(
                expression="__import__('os').system('touch owned')"
            ),
            "aggregation.variables.h_sigma",
        ),
        (lambda plain: plain["output"]["grid"].update(latitude="geodetic-spherical"), "output.grid"),
        (lambda plain: plain["output"]["grid"].update(parent_order=5), "output.grid"),
        (lambda plain: plain.update(stores="map.zarr"), "stores"),
    ],
    ids=["unknown statistic", "code", "another convention", "another order", "unknown key"],
)
def test_a_configuration_that_does_not_fit_is_refused(
    catalog: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    refused("--config", edited(change), "--backend", "serial", said=said)
    assert not Path("owned").exists()


def test_files_that_are_no_granules_are_refused(here: Path) -> None:
    refused("catalog", "--from-files", "nowhere", said="no granules at nowhere")
    name = "ATL06_20190222031203_08500210_001_01.h5"
    (here / "granules" / name).write_text("<html>log in</html>")
    done = maggjob("catalog", "--from-files", "granules")
    assert done.returncode == BAD_INPUT
    assert f"{here}/granules/{name}: " in done.stderr
    assert not Path("catalog.json").exists()
    done = maggjob("catalog", "--from-files", "granules", "--skip-unreadable", "--out", "some.json")
    assert done.returncode == 0
    assert f"1 granules cannot be read and were left out, such as {here}/granules/{name}" in done.stderr


def test_a_catalog_that_is_damaged_is_refused(catalog: Path) -> None:
    content = catalog.read_text()
    catalog.write_text(content[: len(content) // 2])
    refused("--config", "atl06.yaml", said="catalog.json: not JSON")
    catalog.write_text(content.replace('"size":[', '"size":[1', 1))
    refused("--config", "atl06.yaml", said="catalog.json: changed since it was made")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage: "),
        (["run"], "Missing option '--config'"),
        (["--config"], "'--config' requires an argument"),
        (["--config", "atl06.yaml", "--nonsense"], "No such option"),
        (["nonsense"], "No such command 'nonsense'"),
        (["--config", "atl06.yaml", "--max-cells", "few"], "'few' is not a valid integer"),
        (["catalog", "--cycle", "few"], "'few' is not a valid integer"),
        (["plan"], "Missing option '--config'"),
        (["plan", "--config", "atl06.yaml", "--workers", "0"], "0 is not in the range"),
    ],
)
def test_bad_usage_is_told(catalog: Path, arguments: list[str], said: str) -> None:
    before = tree()
    done = maggjob(*arguments) if arguments else python_m()
    assert (done.returncode, done.stdout) == (BAD_INPUT, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert tree() == before


@pytest.mark.dear("starts a process")
def test_debug_shows_the_traceback(catalog: Path) -> None:
    done = python_m("--debug", "--config", "nowhere.yaml")
    assert done.returncode == BAD_INPUT
    assert "Traceback" in done.stderr
    assert "ConfigError" in done.stderr


# ---- what goes wrong on the way


def test_a_granule_cut_after_cataloguing_is_in_the_ledger(catalog: Path, here: Path) -> None:
    bad = sorted((here / "granules").iterdir())[2]
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    done = maggjob("--config", "atl06.yaml", "--backend", "serial")
    assert done.returncode == INCOMPLETE
    plain = summary()
    assert plain["cells"] == {"planned": 5, "complete": 2, "empty": 0, "partial": 1, "failed": 2}
    assert plain["granules"] == {"used": 2, "no_overlap": 0, "failed": 1}
    assert {reason: error["count"] for reason, error in plain["errors"].items()} == {"truncated": 3}
    assert plain["complete"] is False
    failed = [g for result in plain["results"] for g in result["granules"] if g["state"] == "failed"]
    assert {(g["id"], g["reason"]) for g in failed} == {(bad.stem, "truncated")}
    assert bad.stem in done.stdout
    assert "truncated" in done.stdout
    assert count() == plain["total_obs"] > 0

    allowed = maggjob("--config", "atl06.yaml", "--backend", "serial", "--overwrite", "--allow-partial")
    assert allowed.returncode == COMPLETE
    assert summary()["granules"] == plain["granules"]


def test_a_deadline_leaves_failed_cells(catalog: Path) -> None:
    done = maggjob("--config", "atl06.yaml", "--backend", "serial", "--deadline", "0")
    assert done.returncode == INCOMPLETE
    plain = summary()
    assert plain["cells"]["failed"] == 5
    assert plain["granules"]["failed"] == 3
    assert plain["errors"]["deadline"]["count"] == 5
    assert plain["total_obs"] == 0
    assert not plain["published"]
    assert not Path("atl06.zarr").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "simulate afile",
        "simulate granules --region 99",
        "simulate granules --rgt 99999",
        "simulate granules --cycle -500",
        "simulate granules --seed -1",
        "simulate granules --pass-bias -0.01",
        "simulate granules --dem-error nan",
        "simulate granules --rgt 858 --region 11 --every 1000 --records nowhere/records.json",
        "report damaged.zarr",
        "report nothing.zarr",
        "clean damaged.zarr",
        "clean nothing.zarr",
        "demo afile",
        "run --config afolder",
    ],
)
def test_an_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    (tmp_path / "afile").write_text("")
    (tmp_path / "afolder").mkdir()
    (tmp_path / "damaged.zarr.run").mkdir()
    (tmp_path / "damaged.zarr.run" / "summary.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    done = maggjob(*arguments.split())
    assert done.returncode == BAD_INPUT
    assert "Traceback" not in done.stderr
    assert "error in maggjob itself" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
