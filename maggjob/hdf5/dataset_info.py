"""The header of a dataset, whichever library has read it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maggjob.errors import LayoutError, UnsupportedError
from maggjob.hdf5.messages import AttributeValue, Undecoded

ATTRIBUTES = ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "units", "long_name")
"""Attributes that are decoded, out of about ten per dataset."""


@dataclass(frozen=True)
class DatasetInfo:
    """Header of a one-dimensional dataset of numbers."""

    path: str
    """Path without a leading slash."""
    rows: int
    """Number of elements."""
    dtype: np.dtype
    """Type of the values, little-endian."""
    attributes: dict[str, AttributeValue]
    """Attributes listed in `ATTRIBUTES`."""

    @cached_property
    def fill(self) -> float | int | None:
        """The ``_FillValue`` attribute, else ``missing_value``, as a scalar; None without one."""
        found = [v for name in ("_FillValue", "missing_value") if (v := self.number(name)) is not None]
        # A NaN equals nothing, not even itself.
        if len({str(value) for value in found}) > 1:
            raise UnsupportedError(f"_FillValue {found[0]} and another missing_value, {found[1]}")
        return found[0] if found else None

    def check(self) -> None:
        """Check that the values mean what they are: there is no scale, and what marks missing values is known.

        Raises
        ------
        UnsupportedError
            If an attribute that decides about the values cannot be decoded, or says that they are packed.
        """
        for name, neutral in (("scale_factor", 1), ("add_offset", 0)):
            value = self.number(name)
            if value is not None and value != neutral:
                raise UnsupportedError(
                    f"{name} {value}: packed values are not unpacked; take a dataset in physical units"
                )
        unsigned = self.attributes.get("_Unsigned")
        if unsigned is not None and str(unsigned).lower() != ("true" if self.dtype.kind == "u" else "false"):
            raise UnsupportedError(f"_Unsigned {unsigned} of a dataset of {self.dtype}: its values mean others")
        # Raises if it cannot be decoded.
        _ = self.fill

    def number(self, name: str) -> float | int | None:
        """Return a numeric attribute; None without one.

        Parameters
        ----------
        name : str
            One of `ATTRIBUTES`.

        Raises
        ------
        UnsupportedError
            If the attribute cannot be decoded, or is not a number.
        """
        value = self.attributes.get(name)
        if value is None:
            return None
        if isinstance(value, Undecoded):
            raise LayoutError(f"its attribute {name} cannot be decoded: {value.why}")
        if isinstance(value, str) or value.size == 0 or len(set(value.ravel().tolist())) > 1:
            raise UnsupportedError(f"its attribute {name} is {value!r}, not a number")
        scalar: float | int = value.ravel()[0].item()
        return scalar

    @property
    def described(self) -> dict[str, str]:
        """The attributes ``units`` and ``long_name``, which are copied to the result."""
        return {key: value for key in ("units", "long_name") if isinstance(value := self.attributes.get(key), str)}
