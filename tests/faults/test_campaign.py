"""The short form of the soak: some rounds of all faults, after which nothing is lost, wrong, broken or held."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.dear("a minute of runs with faults drawn at random")
def test_a_minute_of_faults_leaves_nothing_behind() -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--minutes", "1", "--seed", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "lost 0, wrong 0, broken stores 0, hangs 0" in done.stdout
    assert "grown" not in done.stdout
