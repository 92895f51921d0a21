"""Pictures of truth beside model, written into a stage folder as a trainer would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from patients.scenes import Floats, Frames, Rng
from terrarium.run.folder import StageFolder
from terrarium.train.pictures import Picture, save_picture


def our_grid(path: Path, step: int, truth: Frames, model: Frames, what: str = "prediction") -> None:
    """As our training writes it: rows of truth and model, and a sidecar."""
    stage = StageFolder(path, path.name, "abcdefgh")
    save_picture(Picture(what, truth, model, [str(t) for t in range(truth.shape[1])]), stage, step)


def figure(path: Path, step: int, truth: Frames, model: Frames, what: str = "dynamics_prediction") -> None:
    """As TinyWorlds draws it: two grids with black gaps in one matplotlib figure, titles, white margins.

    Each half is stretched to its own range. Where the model has fewer frames than the truth, its grid still
    has a column for each frame of the truth, so its clips wrap.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = truth.shape[1]
    drawing = Figure(figsize=(16, 8))
    FigureCanvasAgg(drawing)
    for place, (name, frames) in enumerate((("Original", truth), ("Reconstructed", model)), 1):
        axes = drawing.add_subplot(1, 2, place)
        axes.imshow(_sheet(frames, columns))
        axes.axis("off")
        axes.set_title(f"{name} Sequences ({len(truth)} sequences × {columns} frames)")
    drawing.tight_layout()
    folder = path / "visualizations"
    folder.mkdir(parents=True, exist_ok=True)
    drawing.savefig(folder / f"{what}_step_{step}.png", dpi=150, bbox_inches="tight")


def halves(path: Path, step: int, truth: Frames, model: Frames, what: str = "prediction") -> None:
    """The same two grids side by side, without margins or titles."""
    sheet = np.concatenate([_sheet(truth, truth.shape[1]), _sheet(model, truth.shape[1])], 1)
    folder = path / "visualizations"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * sheet).astype(np.uint8)).save(folder / f"{what}_step_{step}.png")


def _sheet(frames: Frames, columns: int, padding: int = 2) -> Floats:
    """Cells in rows of so many on black, stretched together to 0..1 (torchvision's make_grid)."""
    cells = frames.reshape(-1, *frames.shape[2:]).astype(np.float64)
    cells = (cells - cells.min()) / max(cells.max() - cells.min(), 1e-5)
    tall, wide = cells.shape[1] + padding, cells.shape[2] + padding
    rows = -(-len(cells) // columns)
    sheet = np.zeros((rows * tall + padding, columns * wide + padding, 3))
    for place, cell in enumerate(cells):
        top, left = place // columns * tall + padding, place % columns * wide + padding
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


LAYOUTS = {"grid": our_grid, "figure": figure, "halves": halves}


def masked(truth: Frames, rng: Rng, patch: int = 4) -> Frames:
    """The truth as TinyWorlds shows it beside its dynamics: half of the patches or more are grey."""
    b, t, size = truth.shape[:3]
    side = size // patch
    hidden = rng.random((b, t, side, side)) < rng.uniform(0.5, 1.0)
    shown_at = rng.integers(0, t, (b, 1, side, side))
    np.put_along_axis(hidden, shown_at, False, 1)
    return np.where(hidden.repeat(patch, 2).repeat(patch, 3)[..., None], np.uint8(128), truth)
