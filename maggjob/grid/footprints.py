"""Outlines of granules as arrays: many rings in one, small when written."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

UNIT = 1e-5  # degrees, a metre: CMR gives five decimals


@dataclass(frozen=True)
class Footprints:
    """Outlines of granules, joined by great circles."""

    longitude: np.ndarray
    """Shape (points,), degrees: one ring after the other, each closed."""
    latitude: np.ndarray
    """Shape (points,), degrees."""
    owner: np.ndarray
    """Shape (rings,): position of the granule that a ring belongs to, ascending."""
    start: np.ndarray
    """Shape (rings + 1,): first point of each ring, and the number of points."""

    @classmethod
    def of(cls, rings: Sequence[Sequence[np.ndarray]]) -> "Footprints":
        """From the rings of each granule, each of shape (points, 2): longitude, latitude."""
        every = [ring for some in rings for ring in some]
        points = np.concatenate(every) if every else np.empty((0, 2))
        owner = np.repeat(np.arange(len(rings)), [len(some) for some in rings])
        start = np.concatenate([[0], np.cumsum([len(ring) for ring in every])]).astype(np.int64)
        return cls(np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1]), owner, start)

    def rings(self) -> list[np.ndarray]:
        """Each ring, shape (points, 2): longitude, latitude."""
        points = np.column_stack([self.longitude, self.latitude])
        return np.split(points, self.start[1:-1]) if len(self.owner) else []

    def pack(self) -> dict[str, Any]:
        """As it is written: differences in `UNIT`, compressed; points a metre apart become one."""
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
        """What `pack` gave.

        Raises
        ------
        ValueError
            It is not that.
        """
        number = np.asarray(packed["points"], np.int64)
        owner = np.asarray(packed["owner"], np.int64)
        content = zlib.decompress(base64.b64decode(packed["steps"], validate=True))
        steps = np.frombuffer(content, "<i4").reshape(2, -1)
        if len(owner) != len(number) or number.sum() != steps.shape[1] or (np.diff(owner) < 0).any():
            raise ValueError(f"footprints of {len(owner)} rings, {len(number)} lengths and {steps.shape[1]} points")
        longitude, latitude = np.cumsum(steps, axis=1) * packed["unit"]
        return cls(longitude, latitude, owner, np.concatenate([[0], np.cumsum(number)]))
