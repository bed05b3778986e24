"""Fits of all child cells at once against numpy.linalg.lstsq and a plain sandwich estimator, one child at a time."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from maggjob.errors import StatisticError
from maggjob.statistics import compute as slabs
from maggjob.statistics.compute import compute
from maggjob.statistics.fit_model import (
    DETERMINED,
    FEW_CYCLES,
    FEW_PASSES,
    PASS_DIGITS,
    QUANTITIES,
    SECONDS_A_YEAR,
    SINGULAR,
    FitModel,
)
from maggjob.statistics.functions import Statistic
from maggjob.statistics.groups import DerivedColumn

YEARS = {"t": DerivedColumn(frozenset({"time"}), lambda groups: groups.column("time") / SECONDS_A_YEAR)}
PLANE = FitModel("trend", ("x", "y", "x * y", "t"), min_passes=6, min_cycles=3)


@dataclass(frozen=True)
class Scene:
    """Segments of several children, passes and cycles, with a bias of each pass."""

    child: np.ndarray
    columns: dict[str, np.ndarray]
    children: int

    def of(self, child: int) -> dict[str, np.ndarray]:
        own = self.child == child
        return {name: values[own] for name, values in self.columns.items()}

    def shuffled(self, seed: int) -> "Scene":
        order = np.random.default_rng(seed).permutation(len(self.child))
        return Scene(self.child[order], {n: v[order] for n, v in self.columns.items()}, self.children)


def scene(seed: int, children: int = 5, cycles: int = 5, tracks: int = 3, each: int = 12) -> Scene:
    rng = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    for child in range(children):
        for cycle in range(cycles):
            for track in rng.choice(40, tracks, replace=False):
                for beam in (1, 2):
                    bias, start = rng.normal(0, 0.05), rng.uniform(0, 80 * 86400)
                    place, angle = rng.uniform(-600, 600), rng.uniform(-1, 1)
                    for step in range(int(rng.integers(2, each))):
                        along = rng.uniform(-700, 700)
                        x, y = along, place + angle * along
                        time = cycle * 91 * 86400 + start + step * 0.003
                        h = 1000 + 0.01 * x - 0.02 * y + 1e-5 * x * y - 0.7 * time / SECONDS_A_YEAR
                        number = cycle * PASS_DIGITS + int(track) * 10 + beam
                        rows.append((child, x, y, time, h + bias + rng.normal(0, 0.1), number, rng.uniform(0.5, 2)))
    child, x, y, time, h, number, w = (np.array(column) for column in zip(*rows, strict=True))
    columns = {"x": x, "y": y, "time": time, "h": h, "pass": number.astype(np.int32), "w": w}
    return Scene(child.astype(np.int64), columns, children).shuffled(seed)


def statistics(model: FitModel, weights: str | None = None, source: str = "h") -> list[Statistic]:
    """Every quantity of a fit, and every coefficient and error of its terms."""
    found = []
    for of in QUANTITIES:
        several = of in ("coefficient", "error", "formal_error")
        for term in ("1", *model.terms) if several else ("",):
            name = f"{of} {term}".strip()
            found.append(Statistic(name, "fit", source, weights, dtype="float64", fit=model, of=of, term=term))
    return found


def fitted(model: FitModel, of: Scene, weights: str | None = None) -> dict[str, np.ndarray]:
    present, values = compute(statistics(model, weights), of.columns, of.child, of.children, derived=YEARS)
    assert present.tolist() == sorted(set(of.child.tolist()))
    return values


def design(model: FitModel, own: dict[str, np.ndarray]) -> np.ndarray:
    names = own | {"t": own["time"] / SECONDS_A_YEAR, "np": np}
    terms = [eval(term, {"__builtins__": {}}, names) for term in model.terms]
    return np.column_stack([np.ones(len(own["h"])), *terms])


def oracle(model: FitModel, own: dict[str, np.ndarray], weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Least squares by lstsq, and the sandwich estimator as textbooks write it."""
    a, h = design(model, own), own["h"]
    w = np.ones(len(h)) if weights is None else weights
    root = np.sqrt(w)
    found, *_ = np.linalg.lstsq(a * root[:, None], h * root, rcond=None)
    residuals = h - a @ found
    bread = np.linalg.inv((a * w[:, None]).T @ a)
    meat = np.zeros_like(bread)
    passes = np.unique(own["pass"])
    for one in passes:
        some = own["pass"] == one
        score = a[some].T @ (w[some] * residuals[some])
        meat += np.outer(score, score)
    p = a.shape[1]
    covariance = bread @ meat @ bread * len(passes) / (len(passes) - p)
    freedom = len(h) - p
    return {
        "coefficients": found,
        "errors": np.sqrt(np.abs(np.diag(covariance))),
        "formal": np.sqrt(np.abs(np.diag(bread)) * (w @ residuals**2) / freedom),
        "rms": np.sqrt(w @ residuals**2 / w.sum()),
        "scale": np.sqrt(w @ residuals**2 / freedom),
        "residuals": residuals * root,
    }


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("seed", range(3))
def test_coefficients_and_errors_are_those_of_lstsq_and_a_plain_sandwich(seed: int, weights: str | None) -> None:
    rows = scene(seed)
    values = fitted(PLANE, rows, weights)
    for child in range(rows.children):
        own = rows.of(child)
        expected = oracle(PLANE, own, None if weights is None else own["w"])
        for number, term in enumerate(("1", *PLANE.terms)):
            for of, key in (("coefficient", "coefficients"), ("error", "errors"), ("formal_error", "formal")):
                assert values[f"{of} {term}"][child] == pytest.approx(expected[key][number], rel=1e-6)
        assert values["rms"][child] == pytest.approx(float(expected["rms"]), rel=1e-9)


def test_numbers_are_those_of_sets() -> None:
    rows = scene(4)
    values = fitted(PLANE, rows)
    for child in range(rows.children):
        own = rows.of(child)
        passes = set(own["pass"].tolist())
        assert values["passes"][child] == len(passes)
        assert values["tracks"][child] == len({one % PASS_DIGITS // 10 for one in passes})
        assert values["cycles"][child] == len({one // PASS_DIGITS for one in passes})
        assert values["segments"][child] == len(own["h"])
        assert values["clipped"][child] == 0
        assert values["span"][child] == np.ptp(own["time"]) / SECONDS_A_YEAR


def test_no_bit_depends_on_the_order_of_the_rows_or_on_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scene(5, children=9)
    # Equal times in one pass are ordered by what else they have.
    twice = {name: np.concatenate([values, values[:40]]) for name, values in rows.columns.items()}
    twice["h"][-40:] += 1.0
    rows = Scene(np.concatenate([rows.child, rows.child[:40]]), twice, rows.children)
    model = replace(PLANE, clip=3.0)
    first = fitted(model, rows)
    for seed in range(3):
        monkeypatch.setattr(slabs, "SLAB_ROWS", 100 + 200 * seed)
        again = fitted(model, rows.shuffled(seed))
        assert all(again[name].tobytes() == values.tobytes() for name, values in first.items())


def test_clipping_is_that_of_a_loop() -> None:
    rows = scene(6)
    wild = np.random.default_rng(1).random(len(rows.child)) < 0.04
    rows.columns["h"][wild] += 5.0
    model = replace(PLANE, clip=2.5)
    values = fitted(model, rows)
    for child in range(rows.children):
        own = rows.of(child)
        whole = len(own["h"])
        for _ in range(5):
            expected = oracle(model, own)
            kept = np.abs(expected["residuals"]) <= 2.5 * expected["scale"]
            if kept.all():
                break
            own = {name: column[kept] for name, column in own.items()}
        expected = oracle(model, own)
        assert values["clipped"][child] == whole - len(own["h"]) > 0
        assert values["coefficient t"][child] == pytest.approx(expected["coefficients"][-1], rel=1e-6)
        assert values["error t"][child] == pytest.approx(expected["errors"][-1], rel=1e-6)
        assert values["passes"][child] == len(set(own["pass"].tolist()))


def test_a_fit_without_terms_is_a_mean_with_its_error() -> None:
    rows, model = scene(7), FitModel("mean")
    values = fitted(model, rows)
    for child in range(rows.children):
        own = rows.of(child)
        assert values["coefficient 1"][child] == pytest.approx(own["h"].mean(), rel=1e-12)
        assert values["error 1"][child] == pytest.approx(oracle(model, own)["errors"][0], rel=1e-9)


def test_children_that_are_not_determined_are_nan_and_counted() -> None:
    rows = scene(8, children=4)
    child, columns = rows.child, dict(rows.columns)
    columns["pass"] = np.where(child == 1, columns["pass"] % 40 + 1, columns["pass"])  # few passes
    columns["pass"] = np.where(child == 2, columns["pass"] % PASS_DIGITS + 3 * PASS_DIGITS, columns["pass"])
    columns["y"] = np.where(child == 3, 2 * columns["x"] + 7, columns["y"])
    model = FitModel("trend", ("x", "y", "t"), min_passes=5, min_cycles=2)
    found: dict[str, dict[str, int]] = {}
    few = child != 1
    few |= np.isin(columns["pass"], np.unique(columns["pass"][child == 1])[:3])
    child, columns = child[few], {name: values[few] for name, values in columns.items()}
    _, values = compute(statistics(model), columns, child, 4, derived=YEARS, fit_counts=found)
    assert values["state"].tolist() == [DETERMINED, FEW_PASSES, FEW_CYCLES, SINGULAR]
    assert found == {"trend": {"determined": 1, "few_passes": 1, "few_cycles": 1, "singular": 1}}
    for name, column in values.items():
        if name.split()[0] in ("coefficient", "error", "formal_error", "rms"):
            assert np.isnan(column).tolist() == [False, True, True, True], name
        else:
            assert np.isfinite(column).all()


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([-500.0, 0.0, 0.0, 1e-9, 300.0, 1e3]),
            st.sampled_from([-500.0, 0.0, 250.0]),
            st.sampled_from([0.0, 91.0, 91.0, 182.0]),
            st.floats(-50, 50),
            st.integers(0, 4),
        ),
        min_size=1,
        max_size=60,
    ),
    clip=st.sampled_from([0.0, 3.0]),
)
def test_degenerate_geometry_is_refused_or_right(rows: list[tuple[Any, ...]], clip: float) -> None:
    child, x, y, days, h, beam = (np.array(column) for column in zip(*rows, strict=True))
    number = (days // 91).astype(np.int32) * PASS_DIGITS + beam * 10 + 1
    columns = {"x": x, "y": y, "time": days * 86400.0, "h": h, "pass": number.astype(np.int32)}
    model = FitModel("trend", ("x", "y", "t"), clip, min_passes=0, min_cycles=2)
    some = Scene(child.astype(np.int64), columns, 4)
    values = fitted(model, some)
    for place, one in enumerate(sorted(set(child.tolist()))):
        own = some.of(one)
        a = design(model, own)
        a = (a - a.mean(0) * [0, 1, 1, 1]) / np.maximum(np.abs(a).max(0), 1e-300)
        told = values["coefficient t"][place]
        if np.linalg.matrix_rank(a, tol=1e-6) < 4:
            assert np.isnan(told)
        elif clip == 0 and np.isfinite(told):
            assert told == pytest.approx(oracle(model, own)["coefficients"][-1], rel=1e-4, abs=1e-4)
        assert np.isfinite(told) == (values["state"][place] == DETERMINED)


def test_many_segments_of_one_pass_do_not_make_the_error_smaller() -> None:
    few, many = scene(9, each=4), scene(9, each=60)
    model = FitModel("trend", ("t",), min_passes=5, min_cycles=3)
    for rows in (few, many):
        rows.columns["h"][:] = -0.7 * rows.columns["time"] / SECONDS_A_YEAR
        numbers, of = np.unique(rows.columns["pass"] + 10**7 * rows.child, return_inverse=True)
        rows.columns["h"] += np.random.default_rng(2).normal(0, 0.07, len(numbers))[of]
        rows.columns["h"] += np.random.default_rng(3).normal(0, 0.05, len(rows.child))
    small, large = fitted(model, few), fitted(model, many)
    assert np.median(large["error t"]) > 0.6 * np.median(small["error t"])
    assert np.median(large["formal_error t"]) < 0.4 * np.median(small["formal_error t"])


def test_an_unknown_term_is_named() -> None:
    rows = scene(1)
    with pytest.raises(StatisticError, match="'z'"):
        compute(
            [Statistic("a", "fit", "h", fit=PLANE, of="coefficient", term="z")], rows.columns, rows.child, 5, (), YEARS
        )
