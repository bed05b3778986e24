"""Outlines of granules, stored as arrays of many rings that compress well."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

UNIT = 1e-5  # degrees
"""Resolution of packed outlines, about a metre: CMR gives five decimals."""


@dataclass(frozen=True)
class Footprints:
    """Outlines of granules, whose points are joined by great circles."""

    longitude: np.ndarray
    """Longitudes of closed rings, one ring after the other, shape (points,), degrees."""
    latitude: np.ndarray
    """Latitudes of the same points, shape (points,), degrees."""
    owner: np.ndarray
    """Position of the granule that each ring belongs to, shape (rings,), ascending."""
    start: np.ndarray
    """Position of the first point of each ring, followed by the number of points, shape (rings + 1,)."""

    @classmethod
    def of(cls, rings: Sequence[Sequence[np.ndarray]]) -> "Footprints":
        """Make footprints from the rings of each granule, shape (points, 2) each: longitude, latitude in degrees."""
        every = [ring for some in rings for ring in some]
        points = np.concatenate(every) if every else np.empty((0, 2))
        owner = np.repeat(np.arange(len(rings)), [len(some) for some in rings])
        start = np.concatenate([[0], np.cumsum([len(ring) for ring in every])]).astype(np.int64)
        return cls(np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1]), owner, start)

    def rings(self) -> list[np.ndarray]:
        """Return the rings, shape (points, 2) each: longitude, latitude in degrees."""
        points = np.column_stack([self.longitude, self.latitude])
        return np.split(points, self.start[1:-1]) if len(self.owner) else []

    def take(self, granules: Sequence[int]) -> "Footprints":
        """Return the footprints of some granules, by their positions, which are numbered anew."""
        rings = self.rings()
        return Footprints.of([[rings[i] for i in np.flatnonzero(self.owner == granule)] for granule in granules])

    def pack(self) -> dict[str, Any]:
        """Return a JSON-compatible form: compressed differences in `UNIT`, to which coordinates are rounded."""
        points = np.round(np.column_stack([self.longitude, self.latitude]) / UNIT).astype("<i4")
        steps = np.diff(points, axis=0, prepend=np.zeros((1, 2), "<i4"))
        return {
            "unit": UNIT,
            "owner": self.owner.tolist(),
            "points": np.diff(self.start).tolist(),
            "steps": base64.b64encode(zlib.compress(np.ascontiguousarray(steps.T).tobytes(), 9)).decode(),
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> "Footprints":
        """Restore footprints from the result of `pack`.

        Raises
        ------
        ValueError
            If the content is not a result of `pack`.
        """
        number = np.asarray(packed["points"], np.int64)
        owner = np.asarray(packed["owner"], np.int64)
        content = zlib.decompress(base64.b64decode(packed["steps"], validate=True))
        steps = np.frombuffer(content, "<i4").reshape(2, -1)
        if len(owner) != len(number) or number.sum() != steps.shape[1] or (np.diff(owner) < 0).any():
            raise ValueError(f"footprints of {len(owner)} rings, {len(number)} lengths and {steps.shape[1]} points")
        longitude, latitude = np.cumsum(steps, axis=1) * packed["unit"]
        return cls(longitude, latitude, owner, np.concatenate([[0], np.cumsum(number)]))
