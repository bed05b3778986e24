"""What goes into the image: wheels for aarch64 that exist, small enough, and all that a worker imports."""

import pickle
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.aws.build import DEFAULT_BASE, HERE, BuildOptions, push_image
from maggjob.aws.image import NOT_IN_IMAGE, PYTHONS, Image
from maggjob.aws.login import Login
from maggjob.aws.wheels import fetch_wheels, installed_files, read_lock
from maggjob.errors import BackendError
from maggjob.jobs.shards import ShardReport, ShardTask
from tests.aws.registry import image_registry
from tests.aws.small_image import BASE, base_config, layer, library_files
from tests.aws.wheels import LOCKS, RUNTIME, locked
from tests.aws.world import ROOT
from tests.granule_files import write_granule
from tests.test_architecture import imports

LIMIT_BYTES = 140e6
WORKER = [lock for lock in LOCKS if "readers" not in lock]

# Refuses every module that the image has not, then does what a worker does: a cell, or the shards of a result.
ONLY_LOCKED = """
import sys
from importlib.metadata import MetadataPathFinder
missing = set(sys.argv[1].split(","))
class Image:
    finders = list(sys.meta_path)
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in found if spec is not None), None)
    def find_distributions(self, context):
        return MetadataPathFinder.find_distributions(context)
sys.meta_path[:] = [Image()]
import awslambdaric.bootstrap, maggjob.aws.handler
import pickle
import maggjob.jobs.cells, maggjob.jobs.shards
with open(sys.argv[2], "rb") as file:
    task = pickle.load(file)
if isinstance(task, list):
    with open(sys.argv[2], "wb") as file:
        pickle.dump([maggjob.jobs.shards.write_shard(shard) for shard in task], file)
else:
    report = maggjob.jobs.cells.map_cell(task)
    print(report.state, report.observations, report.message)
"""


def test_there_are_locks_for_the_pythons_of_the_readme() -> None:
    minors = [path.stem.removeprefix("test-") for path in sorted((ROOT / "requirements").glob("test-*.txt"))]
    assert minors == ["3.11", "3.12", "3.13", "3.14"]
    assert [f"worker{readers}-{minor}" for readers in ("", "-readers") for minor in minors] == LOCKS
    assert list(PYTHONS) == minors


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_is_locked_by_hash_and_names_no_index(lock: str) -> None:
    text = (RUNTIME / f"{lock}.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(locked(lock)) >= 20
    assert all(re.match(r"[a-z0-9-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert "://" not in text
    assert "--index" not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_the_image_has_the_versions_of_the_client(lock: str) -> None:
    client = (ROOT / "requirements" / f"test-{lock.rsplit('-', 1)[1]}.txt").read_text()
    ours = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", client, re.MULTILINE))
    differ = {name: (v, ours[name]) for name, v in locked(lock).items() if ours.get(name, v) != v}
    assert differ == {}


def by_what_is_locked(task: Any, folder: Path) -> str:
    """Work on a task in a process that has only what the image has; what it prints."""
    (folder / "task").write_bytes(pickle.dumps(task))
    have = {re.sub(r"[-_.]+", "-", name).lower() for name in locked(f"worker-{HERE}")} | {"maggjob"}
    missing = {
        module
        for module, owners in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & have
    } - {"tests"}
    assert {"pandas", "xarray", "earthaccess", "pydantic", "paramiko"} <= missing
    done = subprocess.run(
        [sys.executable, "-c", ONLY_LOCKED, ",".join(sorted(missing)), str(folder / "task")],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


@pytest.mark.dear("imports all of a worker; the imports are checked by test_architecture, too")
def test_a_worker_imports_nothing_that_the_image_has_not(tmp_path: Path) -> None:
    path = write_granule(tmp_path / "ATL06_20190222031203_08500211_006_01.h5")
    plan = maggjob.plan("atl06.yaml", catalog=maggjob.make_catalog(path), store=str(tmp_path / "map.zarr"))
    tasks = maggjob.tasks("atl06.yaml", catalog=plan.catalog, store=plan.store_path)
    state, observations, message = by_what_is_locked(tasks[0], tmp_path).split(maxsplit=2)
    assert (state, message.strip()) == ("complete", "None")
    assert int(observations) > 0

    def shards(some: Sequence[ShardTask]) -> Sequence[ShardReport]:
        by_what_is_locked(list(some), tmp_path)
        reports: Sequence[ShardReport] = pickle.loads((tmp_path / "task").read_bytes())
        return reports

    result = maggjob.assemble_run(plan, tasks, [maggjob.map_cell(task) for task in tasks], write=shards)
    assert result.tally.observations >= int(observations)
    assert result.complete


def test_the_dockerfile_names_files_and_a_handler_that_are_there() -> None:
    import maggjob.aws.handler

    text = (RUNTIME / "Dockerfile").read_text()
    (module, function) = re.findall(r'CMD \["(\S+)\.(\w+)"\]', text)[0]
    assert module == "maggjob.aws.handler"
    assert callable(getattr(maggjob.aws.handler, function))
    arguments = dict(re.findall(r"^ARG (\w+)=(.+)$", text, re.MULTILINE))
    assert f"{arguments['REQUIREMENTS']}-{arguments['PYTHON']}" in LOCKS
    assert arguments["BASE"] == DEFAULT_BASE.format(python=arguments["PYTHON"])


def test_the_image_leaves_out_what_nothing_in_it_imports() -> None:
    left_out = {name for name in NOT_IN_IMAGE if (ROOT / "maggjob" / name / "__init__.py").is_file()}
    assert left_out == {"cli", "show", "simulator"}
    for module, names in imports().items():
        if module.split(".")[0] not in (*left_out, "__main__"):
            assert not left_out & {name.split(".")[0] for name in names}, module
    ignored = (RUNTIME / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"maggjob/{name}" for name in left_out} <= set(ignored)


@pytest.mark.network
@pytest.mark.parametrize("lock", LOCKS)
def test_wheels_for_aarch64_exist_and_are_small(lock: str, tmp_path: Path) -> None:
    """Those of other Pythons than this one are not compiled: byte code adds a fifth."""
    try:
        found, _ = fetch_wheels(read_lock(RUNTIME / f"{lock}.txt"), lock.rsplit("-", 1)[1], tmp_path / "wheels")
    except BackendError as problem:
        if "check the network" in str(problem) and "ConnectionError" in str(problem):
            pytest.skip("no package index can be reached")
        raise
    assert {path.name.split("-")[0].replace("_", "-").lower() for path in found} == set(locked(lock))
    assert all(re.search(r"(aarch64|-any)\.whl$", path.name) for path in found)
    if lock in WORKER:
        with installed_files(found) as files:
            assert sum(len(read()) for read in files.values()) < LIMIT_BYTES / 1.25


@pytest.mark.network
def test_what_lies_on_the_base_is_small(tmp_path: Path) -> None:
    """All that is unpacked on top of the base: packages, maggjob, and byte code, also of the standard library."""
    said: list[str] = []
    with image_registry() as registry:
        packed = [layer(library_files())]
        registry.add_image(BASE, f"{HERE}-slim", base_config(packed), packed)
        options = BuildOptions(HERE, base=f"{registry.host}/{BASE}:{HERE}-slim", cache=tmp_path)
        image = Image("123456789012", "us-west-2", "maggjob", "maggjob:1")
        pushed = push_image(image, Login(registry.url), options, said.append)
    assert sum(one.unpacked for one in pushed.layers) < LIMIT_BYTES, "\n".join(said)
