"""The part of the configuration about a fit: its model, and the variables that it gives."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from maggjob.config.source import Strict
from maggjob.statistics.expression import ROW, parse, row_arguments
from maggjob.statistics.fit_model import COUNTS, NO_FIT, OF_A_TERM, FitModel

TIMES = frozenset({"t", "year", "time"})
"""Columns that vary with time within a child cell."""
WHOLE_TYPES = ("int16", "int32", "int64", "uint16", "uint32", "uint64")


Quantity = Literal[
    "coefficient",
    "error",
    "formal_error",
    "rms",
    "passes",
    "tracks",
    "cycles",
    "segments",
    "clipped",
    "state",
    "span",
]


class FitOutput(Strict):
    """One variable that a fit gives."""

    of: Quantity
    """What it holds: the ``coefficient`` of a term; its standard ``error``, clustered by pass; its ``formal_error``, as
    if segments were independent; the ``rms`` of the residuals; the numbers of ``passes``, ``tracks``, ``cycles`` and
    ``segments`` used; the number of segments ``clipped``; the ``state`` (0 determined, 1 too few passes, 2 too few
    cycles, 3 singular, -1 no fit); the ``span`` of time in years."""
    term: str | None = None
    """Term of a coefficient or an error; ``1`` for the intercept."""
    dtype: Literal["float32", "float64", "int16", "int32", "int64", "uint16", "uint32", "uint64"] | None = None
    """Dtype of the variable; by default int32 for numbers and the state, else float32."""
    attrs: dict[str, Any] = Field(default_factory=dict)
    """Attributes of the variable, which override those of the source."""

    @field_validator("term", mode="before")
    @classmethod
    def _normal(cls, term: Any) -> Any:
        text = str(term) if isinstance(term, int) and not isinstance(term, bool) else term
        return parse(text).plain if isinstance(text, str) else text

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.of in OF_A_TERM) != (self.term is not None):
            known = ", ".join(OF_A_TERM)
            raise ValueError(f"'term' is given with {known}, and only with them; of is {self.of!r}")
        if self.of == "state" and self.type.startswith("uint"):
            raise ValueError(f"dtype {self.dtype} has no {NO_FIT}, which stands for cells without a fit; use int16")
        if self.dtype in WHOLE_TYPES and self.of not in COUNTS:
            raise ValueError(f"dtype {self.dtype} is for {', '.join(COUNTS)}; use float32 or float64")
        return self

    @property
    def type(self) -> str:
        """Dtype of the variable."""
        return self.dtype or ("int32" if self.of in COUNTS else "float32")


def fit_model(params: Mapping[str, Any]) -> FitModel:
    """Return the model of a fit.

    Parameters
    ----------
    params : mapping
        ``terms``, ``weights``, ``clip``, ``min_passes`` and ``min_cycles``.

    Raises
    ------
    ValueError
        If a term is no expression over columns or is there twice, or a number is out of range.
    """
    given = params["terms"]
    if not isinstance(given, tuple) or not all(isinstance(term, str) for term in given):
        raise ValueError(f"terms is {given!r}; must be a list of expressions, such as [x, y, t]")
    terms = tuple(_term(term) for term in given)
    for term in terms:
        if terms.count(term) > 1:
            raise ValueError(f"terms lists {term!r} twice; list each term once")
    timed = any(parse(term).columns & TIMES for term in terms)
    clip = params.get("clip", 0.0)
    if isinstance(clip, str | bool | tuple) or not (clip == 0 or 1 <= clip < math.inf):
        raise ValueError(f"clip is {clip!r}; must be a number of standard deviations of at least 1, or 0 for none")
    passes, cycles = (params.get(key, default) for key, default in (("min_passes", 0), ("min_cycles", 1 + timed)))
    for name, number in (("min_passes", passes), ("min_cycles", cycles)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"{name} is {number!r}; must be an integer of at least 0")
    if timed and cycles < 2:
        raise ValueError(f"min_cycles is {cycles}; a change in time needs at least 2 cycles")
    return FitModel(str(params.get("name", "")), terms, float(clip), int(passes), int(cycles))


def _term(text: str) -> str:
    found = parse(text)
    if found.kind != ROW or row_arguments(found):
        raise ValueError(f"term {text!r} does not give one value per segment; use columns and arithmetic")
    return found.plain


def check_outputs(model: FitModel, outputs: Mapping[str, FitOutput]) -> None:
    """Check that the variables of a fit are about its terms.

    Parameters
    ----------
    model : FitModel
    outputs : mapping
        Variables by name.

    Raises
    ------
    ValueError
        If there is none, or one is about a term that the fit lacks.
    """
    if not outputs:
        raise ValueError("fit needs outputs: {dh_dt: {of: coefficient, term: t}, ...}")
    known = ("1", *model.terms)
    for name, output in outputs.items():
        if output.term is not None and output.term not in known:
            hint = "; add a term of time, such as t" if parse(output.term).columns & TIMES else ""
            raise ValueError(f"outputs.{name}: term {output.term!r} is not among {', '.join(known)}{hint}")
