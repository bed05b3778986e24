"""What a run may replace: results of maggjob, and nothing of the user's."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

import maggjob
from maggjob.errors import CatalogError, ExistsError, InputError
from maggjob.pipeline.result import clean
from maggjob.simulator.scene import simulate
from maggjob.storage.folder import Folder
from tests.servers import s3_server

SCENE = {"area": (-105.0, -76.0, -100.0, -75.0), "every": 100, "most": 2}


@pytest.fixture(scope="module")
def granules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two simulated granules."""
    folder = tmp_path_factory.mktemp("granules")
    simulate(folder, **SCENE)
    return folder


def do(granules: Path, store: str, **options: object) -> None:
    """Run the job on one cell."""
    catalog = maggjob.make_catalog(granules)
    maggjob.run("atl06.yaml", catalog=catalog, store=store, backend="serial", index=False, max_cells=1, **options)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def notes_beside_a_zarr(folder: Path) -> None:
    (folder / "notes.md").write_text("mine")


def a_zarr_of_another_program(folder: Path) -> None:
    (folder / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))


def a_damaged_zarr(folder: Path) -> None:
    (folder / "zarr.json").write_text("{")


@pytest.mark.dear(
    "a run per kind of folder",
    keep=(
        "False-False-notes_beside_a_zarr",
        "True-True-notes_beside_a_zarr",
        "True-False-notes_beside_a_zarr",
        "False-True-notes_beside_a_zarr",
    ),
)
@pytest.mark.parametrize("content", [notes_beside_a_zarr, a_zarr_of_another_program, a_damaged_zarr])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", [False, True])
def test_a_folder_that_is_no_result_is_kept(
    granules: Path, tmp_path: Path, content: Callable[[Path], None], overwrite: bool, link: bool
) -> None:
    """Whatever Zarr lies deeper inside."""
    results = tmp_path / "results"
    do(granules, str(results / "a.zarr"))
    content(results)
    if link:
        (tmp_path / "link").symlink_to(results)
    before = tree(tmp_path)
    with pytest.raises(ExistsError, match="not a result of maggjob"):
        do(granules, str(tmp_path / "link" if link else results), overwrite=overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.md", "12/notes.md", "12/h_mean/notes.md", "other.zarr/zarr.json"])
def test_a_result_with_files_of_the_user_is_not_replaced(granules: Path, tmp_path: Path, name: str) -> None:
    store = tmp_path / "map.zarr"
    do(granules, str(store))
    (store / name).parent.mkdir(parents=True, exist_ok=True)
    (store / name).write_text("mine")
    before = tree(store)
    with pytest.raises(ExistsError, match="did not write"):
        do(granules, str(store), overwrite=True)
    assert tree(store) == before
    (store / name).unlink()
    do(granules, str(store), overwrite=True)


def test_the_folder_of_the_run_is_not_taken_from_the_user(granules: Path, tmp_path: Path) -> None:
    own = tmp_path / "map.zarr.run"
    own.mkdir()
    (own / "diary.txt").write_text("mine")
    with pytest.raises(ExistsError, match="not the folder of a run"):
        do(granules, str(tmp_path / "map.zarr"), overwrite=True)
    assert tree(tmp_path) == {"map.zarr.run/diary.txt": b"mine"}


def test_cleaning_deletes_what_the_run_wrote(granules: Path, tmp_path: Path) -> None:
    do(granules, str(tmp_path / "map.zarr"))
    (tmp_path / "map.zarr.run" / "diary.txt").write_text("mine")
    clean(str(tmp_path / "map.zarr"))
    left = tree(tmp_path / "map.zarr.run")
    assert left["diary.txt"] == b"mine"
    assert not any(name.endswith(".npz") for name in left)


@pytest.mark.dear("a server of S3 for what the folders show")
def test_a_prefix_that_is_no_result_is_kept(granules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server("mine") as endpoint:
        for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
            monkeypatch.setenv(f"AWS_{name}", value)
        bucket = Folder("s3://mine")
        bucket.put("results/notes.md", b"mine")
        bucket.put("results/map2.zarr/zarr.json", b"{}")
        do(granules, "s3://mine/results/map")
        before = {key: bucket.get(key) for key in bucket.keys()}  # noqa: SIM118
        for store in ("s3://mine/results", "s3://mine/results/map2.zarr"):
            for overwrite in (False, True):
                with pytest.raises(ExistsError):
                    do(granules, store, overwrite=overwrite)
        assert {key: bucket.get(key) for key in bucket.keys()} == before  # noqa: SIM118
        # A prefix that begins with the same letters is another store.
        do(granules, "s3://mine/results/map", overwrite=True)
        assert bucket.get("results/map2.zarr/zarr.json") == b"{}"
        with pytest.raises(InputError, match="whole bucket"):
            do(granules, "s3://mine")


@pytest.mark.dear("three runs into a bucket; one by hand is in make test")
def test_a_store_in_a_bucket_that_was_half_written_is_replaced(granules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own note says so; files without such a note are not ours."""
    with s3_server("mine") as endpoint:
        for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
            monkeypatch.setenv(f"AWS_{name}", value)
        do(granules, "s3://mine/whole.zarr")
        do(granules, "s3://mine/half.zarr")
        half = Folder("s3://mine/half.zarr")
        half.delete([key for key in half.keys() if key in ("zarr.json", "12/zarr.json")])  # noqa: SIM118
        Folder("s3://mine/half.zarr.run").delete(["summary.json"])
        Folder("s3://mine/half.zarr.run").put("writing.json", b"")
        do(granules, "s3://mine/half.zarr")
        whole = Folder("s3://mine/whole.zarr")
        assert {key: half.get(key) for key in half.keys()} == {key: whole.get(key) for key in whole.keys()}  # noqa: SIM118
        half.delete([key for key in half.keys() if key.endswith("zarr.json")])  # noqa: SIM118
        Folder("s3://mine/half.zarr.run").delete(["summary.json"])
        with pytest.raises(ExistsError, match="not a result"):
            do(granules, "s3://mine/half.zarr", overwrite=True)


def test_a_catalog_replaces_only_a_catalog(granules: Path, tmp_path: Path) -> None:
    catalog = maggjob.make_catalog(granules)
    mine = tmp_path / "notes.md"
    mine.write_text("mine")
    with pytest.raises(ExistsError, match="not a catalog"):
        catalog.write(mine)
    assert mine.read_text() == "mine"
    catalog.write(tmp_path / "catalog.json")
    catalog.write(tmp_path / "catalog.json")
    with pytest.raises(CatalogError, match="folder"):
        catalog.write(tmp_path)


@pytest.mark.dear("1 CPU-seconds; its neighbours cover the same lines")
def test_a_real_granule_is_not_replaced_by_a_simulated_one(tmp_path: Path) -> None:
    first, *_ = simulate(tmp_path, **SCENE)
    simulate(tmp_path, **SCENE)
    with h5py.File(first, "r+") as file:
        file.attrs["source"] = "Spacecraft"
    before = first.read_bytes()
    with pytest.raises(ExistsError, match=first.name):
        simulate(tmp_path, **SCENE)
    assert first.read_bytes() == before


def test_a_link_may_lead_to_another_file_system(granules: Path, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    with tempfile.TemporaryDirectory(dir=elsewhere) as far:
        (tmp_path / "map.zarr").symlink_to(Path(far, "map.zarr"))
        do(granules, str(tmp_path / "map.zarr"))
        first = tree(Path(far))
        do(granules, str(tmp_path / "map.zarr"), overwrite=True)
        assert tree(Path(far)) == first
        assert (tmp_path / "map.zarr").is_symlink()
