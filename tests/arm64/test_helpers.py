"""What `make test-arm64` relies on and needs no emulator: how results are compared, how the Dockerfile is read."""

import json
from pathlib import Path

import numpy as np
import pytest

from maggjob.jobs.parts import Level, pack
from tests.arm64.comparison import Line, distances, lines
from tests.arm64.userland import instructions


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neighbours_are_one_apart_even_across_zero(dtype: str) -> None:
    one = np.array([1.0, -1.0, 0.0, np.inf, np.nan, np.nan, 2.0], dtype)
    other = np.nextafter(one, np.array([2, -2, -1, 0, 0, 0, 2], dtype))
    other[5] = 1.0
    assert distances(one, other).tolist() == [1, 1, 1, 1, 0, np.inf, 0]


def test_arrays_of_other_types_or_lengths_are_nowhere_near() -> None:
    three = np.ones(3, np.float32)
    assert distances(three, np.ones(2, np.float32)).tolist() == [np.inf] * 3
    assert distances(three, three.astype(np.float64)).tolist() == [np.inf] * 3
    assert distances(np.array([5]), np.array([7])).tolist() == [2]


def test_a_last_bit_and_a_missing_file_are_found(tmp_path: Path) -> None:
    mean = np.array([1.5, -2.5], np.float32)
    for side, values in (("one", mean), ("other", np.nextafter(mean, np.float32(9)))):
        for kind in ("indexes", "parts"):
            (tmp_path / side / "job" / kind).mkdir(parents=True)
        (tmp_path / side / "numbers").mkdir()
        (tmp_path / side / "job/indexes/a.idx").write_bytes(b"the same")
        (tmp_path / side / "job/parts/a.npz").write_bytes(
            pack({"format": 1}, [Level(12, np.arange(2), {"mean": values})])
        )
    (tmp_path / "other/job/indexes/b.idx").write_bytes(b"of one side only")
    found = list(lines(tmp_path / "one", tmp_path / "other", ["job"]))
    assert found == [Line("job: indexes", 2, 1), Line("job: parts", 1, 1, 4, 2, 1.0)]


def test_the_dockerfile_says_what_is_run() -> None:
    install, compile_and_import = instructions("RUN")
    assert "pip install" in install
    assert "--target /var/task" in install
    assert "compileall" in compile_and_import
    assert len(instructions("ENV")) == 1
    assert [json.loads(line) for line in instructions("ENTRYPOINT")] == [["python", "-m", "awslambdaric"]]
    assert [json.loads(line) for line in instructions("CMD")] == [["maggjob.aws.handler.handler"]]
