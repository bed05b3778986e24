"""A region in one scene of full size: CPU time beside rasterio's merge and mask, bytes read beside the tiles needed.

python -m benchmarks.scenes
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.features import geometry_mask
from rasterio.merge import merge

from maggjob.jobs.scenes import map_scenes
from maggjob.model.scenes import Scene, SceneAsset, SceneRecipe, SceneTarget, SceneTask, Template

SIDE, BLOCK, STEP = 10_980, 1024, 10.0
LEFT, TOP = 600_000.0, 6_800_040.0
WINDOW = (3000, 2000, 4200, 3600)
"""First row and column, rows and columns of the region in the scene."""
ROUNDS = 3


def write_scene(path: Path) -> None:
    """Write a scene that compresses like a real one: by about a third."""
    values = np.random.default_rng(0).normal(2000, 300, (SIDE, SIDE)).astype("u2")
    profile = {"driver": "COG", "count": 1, "height": SIDE, "width": SIDE, "dtype": "uint16", "crs": "EPSG:32622"}
    profile |= {"transform": Affine(STEP, 0, LEFT, 0, -STEP, TOP), "nodata": 0}
    with rasterio.open(path, "w", **profile, compress="deflate", predictor=2, blocksize=BLOCK) as file:
        file.write(values, 1)


def tiles_needed(path: Path) -> int:
    """Return the bytes of the tiles that hold the window."""
    row, column, rows, columns = WINDOW
    with rasterio.open(path) as file:
        return sum(
            file.block_size(1, y, x)
            for y in range(row // BLOCK, -(-(row + rows) // BLOCK))
            for x in range(column // BLOCK, -(-(column + columns) // BLOCK))
        )


def main() -> None:
    """Measure in turns, and print medians of ratios."""
    row, column, rows, columns = WINDOW
    whole = Template("EPSG:32622", LEFT, TOP, STEP, SIDE, SIDE).window(row, column, rows, columns)
    right, bottom = whole.left + columns * STEP, whole.top - rows * STEP
    ring = [(whole.left, whole.top), (right, whole.top - 9e3), (right - 5e3, bottom), (whole.left, bottom)]
    shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scene.tif")
        write_scene(path)
        outline = {"type": "Polygon", "coordinates": [[[-49.0, 61.0], [-48.0, 61.0], [-48.0, 62.0], [-49.0, 61.0]]]}
        scene = Scene("scene", "2023-07-01T00:00:00Z", 0.0, {"B08": SceneAsset(str(path), 0.0001)})
        target = SceneTarget("region", "2023-07-01", whole, 0, 0, whole, shape, outline, (0,))
        recipe = SceneRecipe(("B08",), False, "nearest", 0.0001, 0.0, "digest")
        task = SceneTask("task", (scene,), (target,), recipe, f"{folder}/out", f"{folder}/parts")
        ratios, ours, report = [], [], None
        for _ in range(ROUNDS):
            began = time.process_time()
            report = map_scenes(task)
            ours.append(time.process_time() - began)
            assert report.targets[0].state == "complete", report
            began = time.process_time()
            merged, transform = merge([path], bounds=(whole.left, bottom, right, whole.top))
            merged[0][geometry_mask([shape], merged[0].shape, transform)] = 0
            profile = {"driver": "COG", "count": 1, "height": rows, "width": columns, "dtype": "uint16", "nodata": 0}
            profile |= {"crs": "EPSG:32622", "transform": transform, "compress": "deflate", "predictor": 2}
            with rasterio.open(f"{folder}/theirs.tif", "w", **profile) as file:
                file.write(merged)
            ratios.append(ours[-1] / (time.process_time() - began))
        assert report is not None
        pixels, needed = rows * columns, tiles_needed(path)
        print(
            f"CPU time: {sorted(ours)[1]:.2f} s, {1e9 * sorted(ours)[1] / pixels:.0f} ns a pixel; "
            f"{sorted(ratios)[1]:.2f} times rasterio's merge, mask and write"
        )
        print(
            f"bytes read: {report.bytes_read / 1e6:.1f} MB, {report.bytes_read / needed:.3f} times the tiles needed, "
            f"in {report.requests} requests; the scene has {path.stat().st_size / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
