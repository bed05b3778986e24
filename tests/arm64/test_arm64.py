"""A worker's code on aarch64, under qemu, and on x86-64: the same bytes, and where not, how far apart and why."""

import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lithops.invokers
import numpy as np
import pytest
import yaml

import maggjob
from maggjob.model.tasks import CellTask, IndexTask
from tests.arm64 import comparison, worker
from tests.arm64.userland import MINOR, ROOT, Userland, instructions, make
from tests.aws.sandbox import Image
from tests.aws.whole_run import run_on_both
from tests.aws.world import World, world
from tests.conftest import SHARED
from tests.granule_files import NAME, write_granule

pytestmark = pytest.mark.arm64

AREA = (-105.0, -76.0, -100.0, -75.0)
ELF = {"aarch64": 183, "x86_64": 62}  # e_machine of its files
NO_AVX512 = "x86_64 without AVX-512"
EXACT = ("abs", "degrees", "radians", "sqrt", "square")  # IEEE 754 leaves no choice
LIBRARY = ("arctan", "cos", "exp", "log", "log10", "sin", "tan")
BOUND = 2  # ulps that they may be apart: each is within one of the true value


@dataclass(frozen=True)
class Results:
    """Results of the same work in several places."""

    folders: dict[str, Path]
    """What each wrote."""
    remarks: dict[str, dict[str, Any]]
    """What each says of itself."""
    lines: dict[str, list[comparison.Line]]
    """How each of the others compares with aarch64."""
    reports: dict[str, Any] = field(repr=False)
    """What each reported of each job."""

    def lines_of(self, ending: str) -> list[comparison.Line]:
        """Compare one kind of results of all places with the first."""
        return [line for lines in self.lines.values() for line in lines if line.what.endswith(ending)]


def configuration(name: str, dtype: str | None = None, latitude: str | None = None) -> dict[str, Any]:
    """One of ours, with all that is not whole in another type, or with other cells."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "configs" / name).read_text())
    for variable in content["aggregation"]["variables"].values():
        if dtype is not None and variable["dtype"].startswith("float"):
            variable["dtype"] = dtype
    if latitude is not None:
        content["output"]["grid"]["latitude"] = latitude
    return content


def job(
    config: dict[str, Any], granules: list[Path], *, indexed: bool = True
) -> tuple[list[CellTask], IndexTask | None]:
    """All cells of some granules."""
    tasks = maggjob.tasks(config, catalog=maggjob.make_catalog(granules, config))
    every = tuple({granule.id: granule for task in tasks for granule in task.granules}.values())
    return tasks, IndexTask("all", tasks[0].recipe, every, "") if indexed else None


def environment_of(userland: Userland, home: Path) -> dict[str, str]:
    """Variables of the image; what it leaves in /tmp is left in a folder of the test."""
    return {**userland.environment, "HOME": str(home), "TMPDIR": str(home)}


def make_work(folder: Path) -> dict[str, Any]:
    """Write the work that every place is given (see `tests.arm64.worker`)."""
    simulated = maggjob.simulate(folder, area=AREA, every=5, most=6)
    simulated.append(write_granule(folder / NAME, chunk=64))  # real ones here are of one chunk a dataset
    real = sorted(SHARED.glob("atl06/*.h5"))
    native = simulated[:-1] + [path for path in real if path.name.startswith("ATL06")]  # these have the granule's DEM
    everything = simulated + real
    jobs = {
        "atl06": job(configuration("atl06.yaml"), everything),
        "atl06 in float64": job(configuration("atl06.yaml", "float64"), everything),
        "atl06 geodetic-spherical": job(configuration("atl06.yaml", latitude="geodetic-spherical"), everything),
        "atl06 without indexes": job(configuration("atl06.yaml"), everything, indexed=False),
        "atl06_dem": job(configuration("atl06_dem.yaml"), native),
        "atl06_dem in float64": job(configuration("atl06_dem.yaml", "float64"), native),
    }
    rng = np.random.default_rng(0)
    n = 100_000
    on_edges = np.meshgrid(np.linspace(-90, 90, 361), np.linspace(-180, 180, 721))  # of many base cells
    points = {
        "random points": (np.degrees(np.arcsin(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)),
        "points round the pole": (-90 + 10.0 ** rng.uniform(-9, 1, n), rng.uniform(-180, 180, n)),
        "points on edges": (on_edges[0].ravel(), on_edges[1].ravel()),
    }
    x = rng.uniform(-400, 400, n)
    values = dict.fromkeys((*EXACT, *LIBRARY), x) | {name: np.abs(x) for name in ("log", "log10", "sqrt")}
    return {"jobs": jobs, "points": points, "values": values | {"exp": x / 20}}


@pytest.fixture(scope="module")
def userlands() -> dict[str, Userland]:
    return {machine: make(machine) for machine in ELF}


@pytest.fixture(scope="module")
def results(
    userlands: dict[str, Userland], tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Results:
    """The work done in each place; at the end of the tests a table says what came of it."""
    folder = tmp_path_factory.mktemp("arm64")
    work = make_work(folder / "granules")
    (folder / "given").write_bytes(pickle.dumps(work))
    places: dict[str, tuple[Userland, dict[str, str]]] = {
        "aarch64": (userlands["aarch64"], {}),
        "x86_64": (userlands["x86_64"], {}),
        NO_AVX512: (userlands["x86_64"], {"NPY_DISABLE_CPU_FEATURES": "X86_V4"}),  # numpy's name for it
    }
    folders = {place: folder / place for place in places}
    for place, (userland, variables) in places.items():
        done = subprocess.run(
            [userland.python, worker.__file__, folder / "given", folders[place]],
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
            env={"PATH": os.environ["PATH"], **environment_of(userland, folder), **variables},
        )
        assert done.returncode == 0, f"{place}: {done.stdout}{done.stderr}"[-3000:]
    remarks = {place: json.loads((folders[place] / "remarks.json").read_text()) for place in places}
    reports = {place: json.loads((folders[place] / "reports.json").read_text()) for place in places}
    lines = {
        place: list(comparison.lines(folders["aarch64"], folders[place], list(work["jobs"])))
        for place in places
        if place != "aarch64"
    }
    real = len(list(SHARED.glob("atl06/*.h5")))
    text = [*comparison.tables(lines), f"real granules: {real or 'none are here'}", *comparison.remarks(remarks)]
    pytestconfig.stash[comparison.SUMMARY] = "\n".join(text)
    return Results(folders, remarks, lines, reports)


def test_every_place_runs_code_of_its_own_machine_and_of_its_userland(
    results: Results, userlands: dict[str, Userland]
) -> None:
    for remark in results.remarks.values():
        userland, mapped = userlands[remark["machine"]], [Path(path) for path in remark["mapped"]]
        packages = {path.relative_to(userland.task).parts[0] for path in mapped if path.is_relative_to(userland.task)}
        assert {"numpy", "obstore", "mortie", "deflate"} <= packages
        assert [path for path in mapped if not path.is_relative_to(userland.root)] == []
        assert {struct.unpack_from("<H", path.read_bytes(), 18)[0] for path in mapped} == {ELF[remark["machine"]]}
    assert [remark["machine"] for remark in results.remarks.values()] == ["aarch64", "x86_64", "x86_64"]


def test_there_was_work_to_do(results: Results) -> None:
    for name, reports in results.reports["aarch64"].items():
        cells = [report for report in reports if "cell" in report]
        assert {report["state"] for report in cells} <= {"complete", "empty"}, name
        assert sum(report["observations"] for report in cells) > 10_000, name
        assert all(bool(report["indexes"].get("used")) != ("without" in name) for report in cells), name
        assert len(list((results.folders["aarch64"] / name / "parts").rglob("*.npz"))) == len(cells) >= 5


def test_index_files_are_the_same_bytes(results: Results) -> None:
    lines = results.lines_of(": indexes")
    assert len(lines) == 10
    assert [line for line in lines if line.unequal or not line.files] == []


def test_parts_are_the_same_bytes(results: Results) -> None:
    lines = results.lines_of(": parts")
    assert len(lines) == 12
    assert [line for line in lines if line.unequal or not line.values] == []


def test_reports_say_the_same(results: Results) -> None:
    assert results.reports["aarch64"] == results.reports["x86_64"] == results.reports[NO_AVX512]


def test_points_lie_in_the_same_cells_even_on_their_edges(results: Results) -> None:
    lines = results.lines_of(" authalic cells") + results.lines_of(" geodetic-spherical cells")
    assert len(lines) == 12
    assert [line for line in lines if line.unequal or not line.values] == []


@pytest.mark.parametrize("name", [*EXACT, *LIBRARY])
def test_functions_of_expressions_give_the_same_but_where_numpy_has_its_own_for_avx512(
    results: Results, name: str
) -> None:
    ((with_avx512,), (without,)) = ([x for x in lines if x.what == f"np.{name}"] for lines in results.lines.values())
    assert without.values == 100_000
    assert without.differing == 0
    assert with_avx512.ulps <= (0 if name in EXACT else BOUND)


# ---- the entry point


@pytest.fixture
def lambda_of_arm64(
    userlands: dict[str, Userland], tmp_path: Path, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Lambda whose sandboxes run what the Dockerfile's last lines say, on aarch64."""
    userland = userlands["aarch64"]
    (entrypoint,), (command,) = map(json.loads, instructions("ENTRYPOINT")), map(json.loads, instructions("CMD"))
    image = Image(command[0], (str(userland.python), *entrypoint[1:]), environment_of(userland, tmp_path))
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != MINOR:
        # Lithops refuses another Python than the client's, as functions may travel as byte code; ours travel as names
        monkeypatch.setattr(lithops.invokers, "_verify_runtime_meta", lambda meta, name: None)
    with world(tmp_path / "cache", image, concurrency=2) as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        yield made


def test_a_whole_run_through_the_images_entry_point_is_the_same_bytes_as_here(
    lambda_of_arm64: World, tmp_path: Path
) -> None:
    found = run_on_both(lambda_of_arm64, tmp_path / "granules", AREA)
    assert found.complete
    assert found.observations > 1000
    assert sum(key.startswith(".run/parts/") for key in found.on_lambda) == found.cells > 1
    assert found.on_lambda == found.serial
    service = lambda_of_arm64.service
    assert {run.status for run in service.runs if run.calls} == {"ok"}
    assert {Path(f"/proc/{number}/exe").resolve().name for number in service.processes} == {"qemu-aarch64"}
