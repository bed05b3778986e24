"""Whole runs in a test: made, and held against each other."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

import maggjob
from maggjob import Config
from maggjob.catalog.catalog import Catalog
from maggjob.config.load import builtin_configs
from maggjob.pipeline.result import RunResult


def config(latitude: str = "authalic") -> Config:
    """The built-in one, of either convention."""
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    plain["output"]["grid"]["latitude"] = latitude
    return maggjob.load_config(plain)


def do(catalog: Catalog, store: str, **options: Any) -> RunResult:
    """A run in this process, with indexes kept beside it."""
    given_ = {"backend": "serial", "indexes": "indexes"} | options
    result = maggjob.run(config(catalog.latitude), catalog=catalog, store=store, **given_)
    assert isinstance(result, RunResult)
    return result


def files(folder: str | Path = ".") -> dict[str, bytes]:
    """Content of all files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def ledger(result: RunResult) -> dict[str, Any]:
    """The tally, and each cell's, but for what people are told and in which order."""
    plain = asdict(result.tally)
    plain["errors"] = {reason: error["count"] for reason, error in result.tally.errors.items()}
    cells = {}
    for report in result.reports:
        granules = {g.id: (g.state, g.reason, g.rows, g.invalid_coordinate, g.in_cell, g.kept) for g in report.granules}
        cells[report.cell] = (report.state, report.reason, dict(report.segments), granules, report.time)
    return {"tally": plain, "cells": cells}
