"""Cost of fan-out for the client, and duration of a cycle, with the real runner and a simulated service.

python -m benchmarks.fanout

CPU time and memory are those of the runner on this machine, without the simulation's own. The simulation replaces
Lithops, so Lithops' share is measured separately, with the real Lithops and the emulator of tests/aws. Wall times are
modelled.
"""

import math
import tempfile
import time
import tracemalloc
from pathlib import Path

from benchmarks.simulated_lambda import Model, simulated
from maggjob.backend.executor import run_tasks
from tests import calls
from tests.aws.faults import Lose
from tests.aws.world import world

# Cycle 22.
CELLS, GRANULES, MEAN, MOST = 1334, 4153, 57.6, 390
# The following are assumptions, not measured on Lambda: the slowdown of a Graviton core relative to the core of the
# prototypes; seconds per visit, from cells of 0.89 million observations and an assumed 50 granules (3.8 s and 0.56 s at
# 30 ms per request); the time to index, and to reduce six shards in six concurrent calls. The seconds of `Model` are
# assumed, too. Hot cells are not split into quarters here; with quarters, a run would be faster.
SLOWER = 1.5
PER_GRANULE = {"without an index": 0.076 * SLOWER, "with an index": 0.011 * SLOWER}
INDEX = 0.1 * SLOWER
REDUCE = 6.0
FAULTS = {"throttled": 0.02, "lost": 0.001, "died": 0.002}


def granules_of_cells() -> list[float]:
    """Return the granules per cell, largest first: an exponential law with the mean and maximum of cycle 22."""
    raw = [min(MOST, MEAN * math.log(CELLS / (i + 0.5))) for i in range(CELLS)]
    return [count * MEAN * CELLS / sum(raw) for count in raw]


def scale(count: int) -> tuple[float, float, float, float, float]:
    """Run ``count`` simulated calls.

    Returns
    -------
    tuple of float
        CPU seconds, peak memory in MB, modelled seconds until the last call is accepted and until the last outcome,
        and share of failed calls.
    """
    with simulated(Model(**FAULTS), lambda task: 5.0) as executor:
        begun = time.process_time()
        outcomes = run_tasks(calls.square, range(count), backend="aws_lambda", config={"lithops": {}}, deadline=1e6)
        cpu = time.process_time() - begun - executor.clock.spent
        wall = executor.clock.now
    failed = sum(outcome.reason is not None for outcome in outcomes) / count
    tracemalloc.start()
    with simulated(Model(**FAULTS), lambda task: 5.0) as again:
        run_tasks(calls.square, range(count), backend="aws_lambda", config={"lithops": {}}, deadline=1e6)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return cpu, peak, again.submitted, wall, failed


def stage(model: Model, seconds: list[float]) -> float:
    """Return the modelled wall time of one map in seconds.

    Parameters
    ----------
    model : Model
    seconds : list of float
        Work of each call.
    """
    with simulated(model, lambda task: task) as executor:
        outcomes = run_tasks(calls.square, seconds, backend="aws_lambda", config={"lithops": {}}, deadline=1e6)
    if any(outcome.reason for outcome in outcomes):
        raise SystemExit(f"a call failed: {next(o for o in outcomes if o.reason)}")
    return executor.clock.now


def submit_with_lithops(count: int) -> tuple[float, float]:
    """Return the wall and CPU seconds until the emulator, which runs in this process, has accepted ``count`` calls."""
    with tempfile.TemporaryDirectory() as cache, world(Path(cache)) as aws:
        run_tasks(calls.square, [1], backend="aws_lambda", config=aws.fresh_config(), deadline=60)
        aws.service.faults.every_invoke = Lose()
        accepted: list[float] = []
        accept = aws.service.accept
        aws.service.accept = lambda *a: (accepted.append(time.monotonic()), accept(*a))[1]
        begun, cpu = time.monotonic(), time.process_time()
        config = aws.fresh_config(invoke_pool_threads=128)
        run_tasks(calls.square, list(range(count)), backend="aws_lambda", config=config, deadline=12)
        if len(accepted) != count:
            raise SystemExit(f"only {len(accepted)} of {count} calls were accepted")
        return accepted[-1] - begun, time.process_time() - cpu


def main() -> None:
    """Print all figures."""
    print("runner alone, 1,700 workers, 5 s per call, 2 % throttled, 0.1 % lost, 0.2 % of sandboxes die")
    base = None
    for count in (1344, 10_000, 49_152):
        cpu, peak, submitted, wall, failed = scale(count)
        base = base or cpu / count
        print(
            f"{count:6,} calls: CPU {cpu:6.2f} s ({cpu / count * 1e3:.2f} ms per call, {cpu / count / base:.2f} of the "
            f"first), peak {peak:5.1f} MB; modelled: submitted in {submitted:6.1f} s, collected in {wall:6.1f} s, "
            f"failed {failed:.2%}"
        )
    seconds, cpu = submit_with_lithops(1344)
    print(f"real Lithops, emulator in this process: 1,344 calls sent in {seconds:.1f} s (limit 5 s), CPU {cpu:.1f} s")
    print(f"cycle 22, modelled: {CELLS:,} cells, {MEAN} granules per cell, at most {MOST}")
    for workers in (100, 500, 1700):
        model = Model(workers=workers)
        index = stage(model, [INDEX * GRANULES / min(workers * 2, GRANULES)] * min(workers * 2, GRANULES))
        for how, each in PER_GRANULE.items():
            cells = stage(model, [each * count for count in granules_of_cells()])
            total = cells + REDUCE + (index if how == "with an index" else 0)
            used = f", index {index:.1f}" if how == "with an index" else ""
            print(f"{workers:5,} workers, {how}: {total:6.1f} s (map {cells:.1f}, reduce {REDUCE} assumed{used})")
    for how, each in PER_GRANULE.items():
        spread = [stage(Model(), [each * f * c for c in granules_of_cells()]) + REDUCE for f in (0.67, 1.0, 1.33, 2.0)]
        words = ", ".join(f"{SLOWER * f:.1f}: {s:.0f} s" for f, s in zip((0.67, 1.0, 1.33, 2.0), spread, strict=True))
        print(f"1,700 workers, {how}, map and reduce, by slowdown of a core: {words}")
        faulty = stage(Model(**FAULTS), [each * count for count in granules_of_cells()]) + REDUCE
        print(f"1,700 workers, {how}, map and reduce, with the faults above: {faulty:.0f} s")


if __name__ == "__main__":
    main()
