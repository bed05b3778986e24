"""The check of a result: everything that is damaged is found and named, and nothing else is."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.cli.commands import cli
from maggjob.errors import InputError
from maggjob.output.manifest import SEAL
from maggjob.output.table import ledger
from maggjob.pipeline.result import clean
from maggjob.simulator.scene import simulate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with granules and a result; it is not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    simulate(folder / "granules", area=(-105.0, -76.0, -100.0, -75.0), every=100, most=3)
    catalog = maggjob.make_catalog(folder / "granules")
    maggjob.run("atl06.yaml", catalog=catalog, store=str(folder / "map.zarr"), backend="serial", index=False)
    return folder


@pytest.fixture
def result(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the result."""
    for name in ("map.zarr", "map.zarr.run"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path / "map.zarr"


def bad(store: Path, **options: object) -> dict[str, int]:
    """Return the number of problems of each check that found some."""
    found = maggjob.verify_result(store, **options)
    assert found.good == (not any(check.bad for check in found.checks))
    return {check.name: check.bad for check in found.checks if check.bad}


@pytest.mark.dear("a whole run; each check of it is in make test")
def test_a_result_is_good(result: Path) -> None:
    assert bad(result, deep=True, recompute=2, granules=True) == {}
    names = [check.name for check in maggjob.verify_result(result, deep=True, recompute=2, granules=True).checks]
    assert names == ["run", "store", "parts", "ledger", "counts", "recomputed", "granules"]


def test_a_cleaned_result_is_good(result: Path) -> None:
    clean(str(result))
    assert bad(result, deep=True, recompute=1) == {}
    assert next(c for c in maggjob.verify_result(result).checks if c.name == "parts").checked == 0


def flip(path: Path, at: int = 100) -> None:
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], None], dict[str, int], dict[str, int]]] = {
    "a bit of a shard": (lambda s: flip(s / "12/h_mean/c/0"), {}, {"store": 1}),
    "a shard is gone": (lambda s: (s / "12/h_mean/c/0").unlink(), {"store": 1}, {"store": 1}),
    "a shard of the counts is gone": (
        lambda s: (s / "12/count/c/0").unlink(),
        {"store": 1, "counts": -1},
        {"store": 1, "counts": -1},
    ),
    "metadata": (lambda s: flip(s / "12/h_mean/zarr.json", 5), {"store": 1}, {"store": 1}),
    "a file more": (lambda s: (s / "12/notes.md").write_text("mine") and None, {"store": 1}, {"store": 1}),
    "a part is gone": (lambda s: next(parts(s)).unlink(), {"parts": 1}, {"parts": 1}),
    "a bit of a part": (lambda s: flip(next(parts(s))), {}, {"parts": 1}),
}


def parts(store: Path) -> object:
    """Yield the parts of a run."""
    return (path for path in sorted(Path(f"{store}.run", "parts").rglob("*.npz")))


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_named(result: Path, name: str) -> None:
    damage, quick, deep = DAMAGE[name]
    damage(result)
    for options, expected in (({}, quick), ({"deep": True}, deep)):
        found = bad(result, **options)
        assert found.keys() == expected.keys()
        assert all(found[check] == count or count < 0 for check, count in expected.items())


def rewrite(result: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a result, with a digest that is right, as somebody might who wants to."""
    path = Path(f"{result}.run", "manifest.json")
    plain = json.loads(path.read_text())
    del plain["digest"]
    edit(plain)
    body = json.dumps(plain).encode()
    path.write_bytes(body[:-1] + SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}')


def test_a_count_that_differs_from_the_ledger_is_named(result: Path) -> None:

    def edit(plain: dict[str, Any]) -> None:
        next(cell for cell in plain["cells"].values() if cell["kept"])["kept"] -= 1

    rewrite(result, edit)
    assert bad(result) == {"ledger": 1, "counts": 1}


@pytest.mark.parametrize("name", ["manifest.json", "ledger.parquet", "plan.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"PAR1", b"[1, 2", None])
def test_a_record_that_is_damaged_is_an_error(result: Path, name: str, content: bytes | None) -> None:
    path = Path(f"{result}.run", name)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=name):
        maggjob.verify_result(result)


def test_a_changed_granule_is_named(made: Path, result: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "granules", tmp_path / "granules")

    def edit(plain: dict[str, Any]) -> None:
        for granule in plain["granules"].values():
            granule["url"] = granule["url"].replace(str(made), str(tmp_path))

    rewrite(result, edit)
    # The copies have other inodes: all three are other versions.
    assert bad(result, granules=True) == {"granules": 3}
    next((tmp_path / "granules").iterdir()).unlink()
    assert bad(result, granules=True) == {"granules": 3}


def test_a_value_that_does_not_follow_from_the_granules_is_named(result: Path) -> None:
    """The run's own records agree with each other, but not with the granules."""
    parts = []

    def edit(plain: dict[str, Any]) -> None:
        parts.extend(plain["parts"].values())
        for part in parts:
            part["digest"] = "0" * 64

    rewrite(result, edit)
    assert bad(result, recompute=99) == {"recomputed": len(parts)}


def test_the_command_has_an_exit_code(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["verify", str(result), "--deep"], standalone_mode=False)
    assert "result" in capsys.readouterr().out
    flip(result / "12/h_mean/c/0")
    with pytest.raises(SystemExit) as caught:
        cli.main(["verify", str(result), "--deep", "--json"], standalone_mode=False)
    assert caught.value.code == 2
    assert json.loads(capsys.readouterr().out)["good"] is False


def test_the_ledger_is_a_table_of_granules_and_cells(made: Path) -> None:
    import csv

    store = str(made / "map.zarr")
    table = ledger(store)
    summary = json.loads(Path(f"{store}.run", "summary.json").read_text())
    assert len(table) == sum(len(cell["granules"]) for cell in summary["results"])
    for state in ("kept", "quality", "fill"):
        assert table[f"segments_{state}"].sum() == summary["segments"][state]
    for _, row in table.iterrows():
        (cell,) = (c for c in summary["results"] if c["cell"] == row.cell)
        (granule,) = (g for g in cell["granules"] if g["id"] == row.granule)
        assert (row.state, row.rows, row.in_cell) == (granule["state"], granule["rows"], granule["in_cell"])
    with Path(f"{store}.run", "ledger.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["granule"] for row in rows] == table.granule.tolist()
    assert [int(row["segments_kept"]) for row in rows] == table.segments_kept.tolist()


def test_a_result_without_all_of_its_shards_is_not_opened(result: Path) -> None:
    from maggjob.errors import StoreError

    maggjob.open_result(result)
    (result / "12/h_mean/c/0").unlink()
    with pytest.raises(StoreError, match="h_mean/c/0"):
        maggjob.open_result(result)


@pytest.mark.parametrize("deadline", [-5.0, float("nan")])
def test_a_deadline_is_a_number_of_seconds(made: Path, tmp_path: Path, deadline: float) -> None:
    catalog = maggjob.make_catalog(made / "granules")
    with pytest.raises(InputError, match="deadline"):
        maggjob.run("atl06.yaml", catalog=catalog, store="x.zarr", backend="serial", deadline=deadline)
    assert not Path("x.zarr.run").exists()
