"""The part of the configuration about one variable of the output."""

import math
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, field_serializer, field_validator, model_validator

from maggjob.config.fit import FitOutput, check_outputs, fit_model
from maggjob.config.source import Identifier, Number, Real, Strict, Whole
from maggjob.statistics.expression import GROUP, ROW, parse, row_arguments
from maggjob.statistics.fit_model import NO_FIT
from maggjob.statistics.functions import FUNCTIONS, Statistic

DECODED = {"_FillValue", "missing_value", "scale_factor", "add_offset", "dtype", "coordinates", "_Unsigned"}


def _is_attribute(given: Any) -> Any:
    every = given if isinstance(given, list | tuple) else [given]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in every):
        raise ValueError("an attribute is text, a number, or a list of them")
    return given


Attribute = Annotated[str | Number | tuple[str | Number, ...], BeforeValidator(_is_attribute)]
"""Value of an attribute."""
WHOLE = ("min", "max", "sum")
"""Functions of integers whose results are integers."""
WHOLE_NUMBERS = ("int16", "int32", "int64", "uint16", "uint32", "uint64")


def holds(dtype: str, value: float) -> bool:
    """Return whether a value is within the range of a dtype; floating-point values may lose digits.

    Parameters
    ----------
    dtype : str
    value : float
    """
    if dtype in WHOLE_NUMBERS:
        limits = np.iinfo(dtype)
        return math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max
    return not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max)


def descriptive(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a variable, after checking that they only describe it.

    Parameters
    ----------
    attrs : dict

    Raises
    ------
    ValueError
        If readers would decode the values with one of them.
    """
    for name in sorted(attrs.keys() & DECODED):
        raise ValueError(f"{name}: readers would decode the values with it; leave it out")
    return attrs


class Variable(Strict):
    """One statistic: a ``function`` of a ``source``, or an ``expression``."""

    LATER = frozenset({"min_count", "orders", "outputs"})

    function: str | None = None
    """Name of a statistic, with or without ``np.``."""
    expression: str | None = None
    """Arithmetic that reduces the segments of a child cell to one value."""
    source: str | None = None
    """Column, or arithmetic over columns, to which the function is applied."""
    params: dict[str, bool | Number | str | tuple[Real | Whole, ...] | tuple[str, ...]] = Field(default_factory=dict)
    """``weights`` of average and weighted_median; ``q`` (one or several) and ``method`` of quantile; ``ddof`` of var
    and std; ``bin_width`` of mode; ``bias`` of skewness; ``terms``, ``weights``, ``clip``, ``min_passes`` and
    ``min_cycles`` of fit."""
    dtype: Literal["float32", "float64", "int16", "int32", "int64", "uint16", "uint32", "uint64"] = "float32"
    """Dtype of the variable; integers are for counts, and for min, max and sum of columns of integers."""
    fill_value: Number | None = None
    """Value of child cells without segments; by default NaN, or 0 for integers."""
    min_count: Whole = Field(1, ge=1)
    """Number of segments below which a child cell has the fill value."""
    outputs: dict[Identifier, FitOutput] = Field(default_factory=dict)
    """Variables that a fit gives, by name; the entry itself gives no variable of its own name."""
    orders: tuple[Whole, ...] | None = Field(None, min_length=1)
    """Orders at which the statistic is computed; by default all of the grid."""
    attrs: dict[str, Attribute] = Field(default_factory=dict)
    """Attributes of the variable, which override those of the source."""

    @field_validator("params", mode="before")
    @classmethod
    def _terms_are_listed(cls, params: Any) -> Any:
        terms = params.get("terms", ()) if isinstance(params, dict) else ()
        if not isinstance(terms, list | tuple) or not all(isinstance(term, str) for term in terms):
            raise ValueError(f"terms is {terms!r}; must be a list of expressions, such as [x, y, t]")
        return params

    @field_validator("attrs")
    @classmethod
    def _attrs_describe(cls, attrs: dict[str, Any]) -> dict[str, Any]:
        return descriptive(attrs)

    @field_validator("fill_value", mode="before")
    @classmethod
    def _nan(cls, value: object) -> object:
        spelled = {"nan": math.nan, "infinity": math.inf, "-infinity": -math.inf}
        return spelled.get(value.lower(), value) if isinstance(value, str) else value

    @field_serializer("fill_value")
    def _spell_nan(self, value: float | None) -> Any:
        if value is None or math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.function is None) == (self.expression is None):
            raise ValueError("give either 'function' or 'expression'")
        if self.expression is not None:
            if self.params or self.source:
                raise ValueError("an 'expression' takes neither 'source' nor 'params'")
            if parse(self.expression).kind != GROUP:
                raise ValueError(
                    f"{self.expression!r} does not give one value per cell; wrap it in np.sum, np.mean, ..."
                )
        else:
            self._check_function()
        whole = self.dtype in WHOLE_NUMBERS
        if self.function_name == "fit":
            check_outputs(fit_model(self.params), self.outputs)
            if self.dtype != "float32" or self.fill_value is not None or self.attrs:
                raise ValueError("dtype, fill_value and attrs of a fit belong to its outputs")
            return self
        if self.outputs:
            raise ValueError(f"'outputs' are those of a fit, not of {self.function or 'an expression'}")
        if whole and not (self.function_name in WHOLE or (self.function_name and FUNCTIONS[self.function_name].counts)):
            raise ValueError(f"dtype {self.dtype} is for counts, {', '.join(WHOLE)}; use float32 or float64")
        if self.fill_value is not None and not holds(self.dtype, self.fill_value):
            raise ValueError(f"fill_value {self.fill_value} does not fit in {self.dtype}")
        return self

    @property
    def function_name(self) -> str | None:
        """Key of `FUNCTIONS`."""
        return None if self.function is None else self.function.removeprefix("numpy.").removeprefix("np.")

    def _check_function(self) -> None:
        function = FUNCTIONS.get(str(self.function_name))
        if function is None:
            raise ValueError(
                f"unknown statistic {self.function!r}; known statistics are {', '.join(sorted(FUNCTIONS))}"
            )
        unknown = set(self.params) - function.params
        if unknown:
            known = ", ".join(sorted(function.params)) or "none"
            raise ValueError(f"{self.function} has no parameter {min(unknown)!r}; known: {known}")
        if self.source is None and self.function_name not in ("len", "count"):
            raise ValueError(f"{self.function} needs a 'source'")
        for text in (self.source, self.params.get("weights")):
            if text is not None and (parse(str(text)).kind != ROW or row_arguments(parse(str(text)))):
                raise ValueError(f"{text!r} does not give one value per segment; use columns and arithmetic")
        for key in sorted(function.required - self.params.keys()):
            raise ValueError(f"{self.function} needs params: {{{key}: ...}}")
        if function.outputs:
            return
        q, ddof, method = (self.params.get(key, default) for key, default in (("q", 0.5), ("ddof", 0), ("method", "")))
        bin_width, bias = self.params.get("bin_width", 1.0), self.params.get("bias", True)
        every = q if isinstance(q, tuple) else (q,)
        if not every or any(isinstance(one, str | bool | tuple) or not 0 <= one <= 1 for one in every):
            raise ValueError(f"q is {q!r}; must be a number from 0 to 1, or a list of them")
        if len(set(every)) < len(every):
            raise ValueError(f"q is {q!r}; list each number once")
        if isinstance(ddof, bool) or not isinstance(ddof, int) or ddof < 0:
            raise ValueError(f"ddof is {ddof!r}; must be an integer of at least 0")
        if method not in ("", "linear"):
            raise ValueError(f"method is {method!r}; only 'linear' is supported")
        if isinstance(bin_width, str | bool | tuple) or not 0 < bin_width < math.inf:
            raise ValueError(f"bin_width is {bin_width!r}; must be a number above 0")
        if not isinstance(bias, bool):
            raise ValueError(f"bias is {bias!r}; must be true or false")  # noqa: TRY004

    def each(self, name: str) -> dict[str, "Variable"]:
        """Return the variable by its name.

        Of several quantiles, return each by the name and its percentage, as in h_q2_5; of a fit, each of its outputs.
        """
        if self.function_name == "fit":
            return {own: self.model_copy(update=self._of_output(name, own)) for own in self.outputs}
        q = self.params.get("q")
        if not isinstance(q, tuple):
            return {name: self}
        return {
            f"{name}{100 * one:g}".replace(".", "_"): self.model_copy(update={"params": self.params | {"q": one}})
            for one in q
        }

    def _of_output(self, name: str, own: str) -> dict[str, Any]:
        """Return what makes a variable of one output of a fit."""
        output = self.outputs[own]
        params = self.params | {"name": name}
        fill = NO_FIT if output.of == "state" else None
        changed = {"outputs": {own: output}, "dtype": output.type, "attrs": output.attrs, "params": params}
        return changed | {"fill_value": fill}

    def resolve(self, name: str, omit: Collection[str] = ()) -> Statistic:
        """Return the statistic as workers need it.

        Parameters
        ----------
        name : str
            Name of the variable.
        omit : collection of str
            Columns whose missing values are left out: a count of such a column counts the others.
        """
        whole, params = self.dtype in WHOLE_NUMBERS, self.params
        counts_all = self.function_name == "len" or (
            self.function_name == "count" and (not self.source or parse(self.source).columns.isdisjoint(omit))
        )
        weights: Any = params.get("weights")
        given: dict[str, Any] = {key: params[key] for key in ("q", "ddof", "bin_width", "bias") if key in params}
        return Statistic(
            name,
            function=self.function_name,
            source=None if counts_all else self.source,
            weights=None if weights is None else str(weights),
            expression=self.expression,
            dtype=self.dtype,
            fill_value=float(self.fill_value) if self.fill_value is not None else 0.0 if whole else math.nan,
            min_count=self.min_count,
            **given,
            **self._fit(name),
        )

    def _fit(self, name: str) -> dict[str, Any]:
        """Return the fields of a statistic that are those of a fit."""
        if self.function_name != "fit":
            return {}
        output = self.outputs[name]
        return {"fit": fit_model(self.params), "of": output.of, "term": output.term or ""}
