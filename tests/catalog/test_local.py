"""Folders of mixed files: what is a granule is found once, and everything else is told."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import maggjob
from maggjob.catalog.catalog import Catalog, granule_id, split_newest
from maggjob.catalog.file import load_catalog
from maggjob.catalog.folders import find_files
from maggjob.errors import CatalogError, ConfigError, InputError
from maggjob.show.text import summary
from tests.catalog.conftest import ONE


def rows(catalog: Catalog) -> int:
    """Return the number of observations of a map of a catalog."""
    result = maggjob.run(
        "atl06.yaml", catalog=catalog, store="map.zarr", backend="serial", overwrite=True, restart=True
    )
    return result.tally.observations


@pytest.mark.parametrize(
    "name",
    [
        f"processed_{ONE}.h5",
        f"{ONE}_subsetted.h5",
        f"{ONE} (1).h5",
        f"copy of {ONE}.H5",
        f"deeper/{ONE}.hdf5",
        f"deeper/{ONE}.h5",
    ],
)
def test_a_granule_that_is_there_twice_is_refused_by_name(granule: Path, folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(granule, folder / name)
    with pytest.raises(CatalogError, match="listed twice") as caught:
        maggjob.make_catalog(folder)
    assert str(folder / name) in str(caught.value)
    assert str(folder / f"{ONE}.h5") in str(caught.value)


@pytest.mark.parametrize("newer", [f"{ONE[:-2]}02", ONE.replace("_006_01", "_007_01")])
def test_the_newest_revision_counts_and_is_told(granule: Path, folder: Path, newer: str) -> None:
    alone = rows(maggjob.make_catalog(folder))
    shutil.copy(granule, folder / f"{newer}.h5")
    catalog = maggjob.make_catalog(folder)
    assert [entry.id for entry in catalog.granules] == [newer]
    assert "1 older revisions" in catalog.notes()[0]
    assert rows(catalog) == alone > 0


def test_a_catalog_made_by_hand_obeys_the_same_rule(granule: Path, folder: Path) -> None:
    shutil.copy(granule, folder / f"{ONE[:-2]}02.h5")
    two = [maggjob.make_catalog(path) for path in sorted(folder.iterdir())]
    entries = tuple(catalog.granules[0] for catalog in two)
    cells = dict.fromkeys(two[0].cells, (0, 1))
    by_hand = Catalog(entries, cells, two[0].order, two[0].latitude)
    loaded = load_catalog(by_hand.to_dict(), maggjob.load_config("atl06.yaml").recipe())
    assert [entry.id for entry in loaded.granules] == [f"{ONE[:-2]}02"]
    assert set(loaded.cells.values()) == {(0,)}
    assert loaded.notes() == ["1 older revisions of granules were left out"]
    with pytest.raises(InputError, match="older revision"):
        maggjob.task("-6134114", granules=sorted(folder.iterdir()))


def test_versions_are_compared_before_revisions() -> None:
    names = [ONE.replace("_006_01", end) for end in ("_006_05", "_007_01", "_005_09")]
    assert split_newest(names, names) == ([1], [0, 2])
    assert split_newest(names[::-1], names[::-1]) == ([1], [0, 2])


def not_granules(folder: Path) -> dict[str, Callable[[], object]]:
    """Return what may lie in a folder beside granules."""
    return {
        "hidden files": lambda: (folder / f"._{ONE}.h5").write_bytes(b"\0\5\26\7"),
        "hidden folders": lambda: shutil.copytree(folder, folder / ".ipynb_checkpoints"),
        "files whose names are not those of granules": lambda: (folder / "GeoIndex.h5").write_bytes(b"x"),
        "folders with the name of a file": (folder / "old.h5").mkdir,
        "granules of ATL03": lambda: (folder / ONE.replace("ATL06", "ATL03")).with_suffix(".h5").write_bytes(b"x"),
    }


def test_what_is_no_granule_is_passed_over_and_told(folder: Path) -> None:
    for make in not_granules(folder).values():
        make()
    catalog = maggjob.make_catalog(folder)
    assert [entry.id for entry in catalog.granules] == [ONE]
    told = "\n".join(catalog.notes())
    for what in not_granules(folder):
        assert f"1 {what} were passed over" in told


def test_linked_folders_and_all_suffixes_are_found(granule: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("a/{}.h5", "a/{}.H5", "b/{}.hdf5", "c/{}.he5")):
        path = tmp_path / name.format(ONE.replace("20240101", f"2024010{number + 1}"))
        path.parent.mkdir(exist_ok=True)
        shutil.copy(granule, path)
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "b")
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "c" / "file.h5").symlink_to(granule)
    found = find_files([str(tmp_path / "a")]).paths
    assert sorted(path.name[12:14] for path in found) == ["01", "02", "03"]
    assert len(find_files([str(tmp_path / "c")]).paths) == 1
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "index.h5").touch()
    with pytest.raises(CatalogError, match="names are not those of granules"):
        find_files([str(tmp_path / "d")])


def test_a_name_with_brackets_is_a_file(granule: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{ONE}[1].h5"
    shutil.copy(granule, path)
    assert find_files([str(path)]).paths == (path,)


def test_all_bad_files_are_told_at_once_and_the_others_used(folder: Path) -> None:
    names = [ONE.replace("20240101", f"2024020{number}") for number in range(1, 5)]
    good = (folder / f"{ONE}.h5").read_bytes()
    for name, content in zip(names, (b"", b"<html>log in</html>", good[:-1], good[:100]), strict=True):
        (folder / f"{name}.h5").write_bytes(content)
    with pytest.raises(CatalogError, match="4 of 5 granules cannot be read") as caught:
        maggjob.make_catalog(folder)
    for name in names:
        assert str(folder / f"{name}.h5") in str(caught.value)
    assert f"{names[0]}.h5: is empty" in str(caught.value)
    catalog = maggjob.make_catalog(folder, skip_unreadable=True)
    assert [entry.id for entry in catalog.granules] == [ONE]
    assert "4 granules cannot be read and were left out" in "\n".join(catalog.notes())
    result = maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    assert result.to_dict()["unreadable"] == 4


def edit(path: Path, change: Callable[[h5py.Dataset], object], name: str = "h_li") -> None:
    """Change a dataset of every beam."""
    with h5py.File(path, "r+") as file:
        for group in [group for group in file if group.startswith("gt")]:
            change(file[f"{group}/land_ice_segments/{name}"])


def committed(dataset: h5py.Dataset) -> None:
    """Store the fill value in a type of its own."""
    file = dataset.file
    if "types" not in file:
        file["types/float"] = np.dtype("f4")
    fill = dataset.attrs["_FillValue"]
    del dataset.attrs["_FillValue"]
    dataset.attrs.create("_FillValue", fill, dtype=file["types/float"])


def big_endian(dataset: h5py.Dataset) -> None:
    """Store the fill value in the other byte order."""
    fill = np.ravel(dataset.attrs["_FillValue"])
    del dataset.attrs["_FillValue"]
    dataset.attrs.create("_FillValue", fill, dtype=">f4")


@pytest.mark.parametrize("change", [big_endian, committed])
def test_a_fill_value_of_any_type_is_none_of_the_heights(
    folder: Path, change: Callable[[h5py.Dataset], object]
) -> None:
    catalog = maggjob.make_catalog(folder)
    before = rows(catalog)
    edit(folder / f"{ONE}.h5", change)
    assert rows(maggjob.make_catalog(folder)) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda dataset: dataset.attrs.__setitem__("_FillValue", "none"), "_FillValue"),
        (lambda dataset: dataset.attrs.__setitem__("_FillValue", np.array([1, 2], "f4")), "_FillValue"),
        (lambda dataset: dataset.attrs.__setitem__("missing_value", np.float32(-1)), "missing_value"),
        (lambda dataset: dataset.attrs.__setitem__("scale_factor", np.float64(0.1)), "scale_factor"),
        (lambda dataset: dataset.attrs.__setitem__("add_offset", np.float64(5)), "add_offset"),
        (lambda dataset: dataset.attrs.__setitem__("_Unsigned", "true"), "_Unsigned"),
    ],
)
@pytest.mark.parametrize("index", [False, True])
def test_values_that_would_be_read_wrongly_are_refused_by_name(
    folder: Path, change: Callable[[h5py.Dataset], object], said: str, index: bool
) -> None:
    edit(folder / f"{ONE}.h5", change)
    catalog = maggjob.make_catalog(folder)
    result = maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial", index=index, indexes="i")
    assert result.tally.observations == 0
    assert result.tally.granules["failed"] == 1
    (example, *_) = result.tally.errors["unsupported"]["examples"]
    assert said in example["message"]
    assert ONE in example["message"]


def test_a_scale_of_one_changes_nothing(folder: Path) -> None:
    before = rows(maggjob.make_catalog(folder))
    edit(folder / f"{ONE}.h5", lambda dataset: dataset.attrs.__setitem__("scale_factor", np.float64(1)))
    edit(folder / f"{ONE}.h5", lambda dataset: dataset.attrs.__setitem__("add_offset", np.float32(0)))
    assert rows(maggjob.make_catalog(folder)) == before


def test_a_beam_without_coordinates_is_absent_and_told(folder: Path) -> None:
    path = folder / f"{ONE}.h5"
    with h5py.File(path, "r+") as file:
        beam = next(group for group in file if group.startswith("gt"))
        for name in ("latitude", "longitude"):
            del file[f"{beam}/land_ice_segments/{name}"]
    result = maggjob.run("atl06.yaml", catalog=maggjob.make_catalog(folder), store="map.zarr", backend="serial")
    assert result.complete
    assert f"beam {beam}" in result.absent
    assert f"no granule has beam {beam}" in summary(result.to_dict())
    assert {report.granules[0].beams[beam] for report in result.reports} == {"absent"}


def test_a_group_that_no_granule_has_fails(folder: Path) -> None:
    plain = maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_unset=True)
    for wrong in ("gt3R", "gt7r", "GT1L", "gt4"):
        plain["data_source"]["groups"] = ["gt1l", wrong]
        with pytest.raises(ConfigError, match=f"{wrong}' is not a beam"):
            maggjob.load_config(plain)
    plain["data_source"]["groups"] = ["gt1l", "gt1r", "gt2l", "gt2r", "gt3l", "beam_of_another_product"]
    catalog = maggjob.make_catalog(folder)
    for index in (False, True):
        with pytest.raises(ConfigError, match="no granule has beam_of_another_product"):
            maggjob.run(plain, catalog=catalog, store=f"{index}.zarr", backend="serial", index=index, indexes="i")
        assert not os.path.exists(f"{index}.zarr")  # noqa: PTH110


def test_an_id_is_a_name_without_the_suffix() -> None:
    assert {granule_id(f"/a/{ONE}{suffix}") for suffix in (".h5", ".H5", ".hdf5", ".he5", "")} == {ONE}
