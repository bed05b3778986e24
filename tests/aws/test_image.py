"""What goes into the image: wheels for aarch64 that exist, small enough, and all that a worker imports."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.aws import wheels
from tests.aws.wheels import LOCKS, RUNTIME, locked
from tests.aws.world import ROOT

BASE_BYTES = 150e6  # python:3.12-slim for arm64 as published, unpacked: about 140 MB
LIMIT_BYTES = 300e6
WORKER = [lock for lock in LOCKS if "readers" not in lock]

# Refuses every module that the image has not, then does what a worker does.
ONLY_LOCKED = """
import sys
missing = set(sys.argv[1].split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)
sys.meta_path.insert(0, Absent())
import awslambdaric.bootstrap, maggjob.lambda_handler
import pickle
with open(sys.argv[2], "rb") as file:
    report = maggjob.job.map_cell(pickle.load(file))
print(report.state, report.observations, report.message)
"""


def test_there_are_locks_for_the_pythons_of_the_readme() -> None:
    assert LOCKS == ["worker-3.12", "worker-3.13", "worker-readers-3.12", "worker-readers-3.13"]


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


def test_a_worker_imports_nothing_that_the_image_has_not(tmp_path: Path) -> None:
    import pickle

    import maggjob
    from tests.granules import write_granule

    path = write_granule(tmp_path / "ATL06_20190222031203_08500211_006_01.h5")
    catalog = maggjob.make_catalog(path)
    (tmp_path / "task").write_bytes(pickle.dumps(maggjob.tasks("atl06.yaml", catalog=catalog)[0]))
    have = {re.sub(r"[-_.]+", "-", name).lower() for name in locked("worker-3.12")} | {"maggjob"}
    missing = {
        module
        for module, owners in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & have
    } - {"tests"}
    assert {"pandas", "xarray", "earthaccess", "zarr", "pydantic", "paramiko"} <= missing
    done = subprocess.run(
        [sys.executable, "-c", ONLY_LOCKED, ",".join(sorted(missing)), str(tmp_path / "task")],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert done.stdout.split()[0:1] == ["complete"], done.stdout + done.stderr[-2000:]
    assert int(done.stdout.split()[1]) > 0


def test_the_dockerfile_names_files_and_a_handler_that_are_there() -> None:
    import maggjob.lambda_handler

    text = (RUNTIME / "Dockerfile").read_text()
    (module, function) = re.findall(r'CMD \["(\S+)\.(\w+)"\]', text)[0]
    assert module == "maggjob.lambda_handler"
    assert callable(getattr(maggjob.lambda_handler, function))
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
    assert f"{arguments['REQUIREMENTS']}-{arguments['PYTHON']}" in LOCKS
    assert arguments["BASE"] == f"python:{arguments['PYTHON']}-slim"


@pytest.mark.network
@pytest.mark.parametrize("lock", LOCKS)
def test_wheels_for_aarch64_exist_and_are_small(lock: str, tmp_path: Path) -> None:
    try:
        wheels.download(lock, tmp_path)
    except subprocess.CalledProcessError as problem:
        if re.search(r"ConnectionError|NewConnectionError|Temporary failure|Network is unreachable", problem.stderr):
            pytest.skip("no package index can be reached")
        raise AssertionError(problem.stderr[-2000:]) from None
    found = {path.name.split("-")[0].replace("_", "-").lower() for path in tmp_path.glob("*.whl")}
    assert found == set(locked(lock))
    assert all(re.search(r"(aarch64|-any)\.whl$", path.name) for path in tmp_path.glob("*.whl"))
    if lock in WORKER:
        assert wheels.installed_bytes(tmp_path) + BASE_BYTES < LIMIT_BYTES
