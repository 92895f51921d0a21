"""Scenes as games show them: each a clip [T, S, S, 3] uint8."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Frames: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.floating]
Rng: TypeAlias = np.random.Generator

SIZE, FRAMES, CLIPS = 64, 4, 4


def to_bytes(values: Floats) -> Frames:
    return values.round().clip(0, 255).astype(np.uint8)


def tile_world(rng: Rng, frames: int, size: int) -> Frames:
    """A map of textured tiles seen from above; it scrolls below a player."""
    tile = size // int(rng.choice([4, 8]))
    kinds = [_texture(rng, tile) for _ in range(6)]
    layout = rng.choice(6, (24, 24), p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
    ground = np.concatenate([np.concatenate([kinds[kind] for kind in row], 1) for row in layout])
    speed, start = rng.integers(-3, 4, 2), rng.integers(24 * tile // 3, 24 * tile // 2, 2)
    speed[0] = speed[0] or 2
    clip = []
    for t in range(frames):
        top, left = (start + t * speed) % (24 * tile - size)
        frame = ground[top : top + size, left : left + size].copy()
        _sprite(frame, size // 2, size // 2 + t, size // 10, (220, 60, 40))
        clip.append(frame)
    return to_bytes(np.stack(clip))


def _texture(rng: Rng, tile: int) -> Floats:
    colour = rng.uniform(30, 200, 3)
    grain = rng.normal(0, rng.uniform(8, 30), (tile, tile, 1))
    y, x = np.mgrid[:tile, :tile]
    shape = ((x - tile / 2) ** 2 + (y - tile / 2) ** 2 < (tile / 3) ** 2)[..., None] * rng.uniform(-60, 60)
    return np.asarray(colour + grain + shape, np.float64)


def _sprite(frame: Floats, y: int, x: int, radius: int, colour: tuple[int, int, int]) -> None:
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]]
    frame[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = colour
    frame[(rows - y + radius // 3) ** 2 + (columns - x) ** 2 < (radius / 3) ** 2] = (250, 230, 200)


def corridor(rng: Rng, frames: int, size: int) -> Frames:
    """Walls of brick, floor and ceiling in perspective, from somebody who walks and turns."""
    y, x = (np.mgrid[:size, :size] - size / 2 + 0.5) / (size / 2)
    centre, turn, pace = rng.uniform(-0.3, 0.3), rng.uniform(-0.08, 0.08), rng.uniform(0.1, 0.5)
    wall, floor, roof = rng.uniform(60, 200, 3), rng.uniform(40, 140, 3), rng.uniform(20, 90, 3)
    clip = []
    for t in range(frames):
        side = np.abs(x - centre - t * turn)
        depth = 1 / np.maximum(np.maximum(side, np.abs(y)), 0.08)
        along = depth * 2 + t * pace
        brick = (np.floor(along * 2) + np.floor((y * depth + 1) * 3)) % 2
        grit = np.sin(along * 17) * np.sin(y * depth * 23)
        is_wall = side > np.abs(y)
        base = np.where(is_wall[..., None], wall, np.where((y > 0)[..., None], floor, roof))
        slabs = (np.floor(along * 2) + np.floor(x * depth * 3)) % 2
        shade = np.where(is_wall, 0.75 + 0.25 * brick, 0.85 + 0.15 * slabs) + 0.08 * grit
        frame = base * (shade * (1 - 0.07 * depth).clip(0.15, 1))[..., None]
        _sprite(frame, int(size * 0.9), size // 2, size // 9, (120, 90, 60))
        clip.append(frame)
    return to_bytes(np.stack(clip))


def cave(rng: Rng, frames: int, size: int) -> Frames:
    """A tile world that a torch lights a little."""
    y, x = np.mgrid[:size, :size]
    glow = np.exp(-((y - size / 2) ** 2 + (x - size / 2) ** 2) / (size / rng.uniform(2, 4)) ** 2)
    return to_bytes(tile_world(rng, frames, size) * (0.04 + 0.2 * glow[..., None]))


def title(rng: Rng, frames: int, size: int) -> Frames:
    """Letters on one colour; nothing moves."""
    frame = np.full((size, size, 3), rng.uniform(0, 40), np.float64)
    for top in (size // 6, size // 2, 2 * size // 3):
        letters = np.kron(rng.random((5, size // 3)) < 0.5, np.ones((size // 32, 2)))
        tall, wide = letters.shape
        left = (size - wide) // 2
        frame[top : top + tall, left : left + wide][letters > 0] = rng.uniform(120, 255, 3)
    return to_bytes(np.stack([frame] * frames))


def black(rng: Rng, frames: int, size: int) -> Frames:
    """Nearly nothing: black, and a faint score."""
    frame = np.zeros((size, size, 3))
    frame[2:5, 3 : 3 + size // 6] = rng.uniform(5, 12)
    return to_bytes(np.stack([frame] * frames))


def fade(rng: Rng, frames: int, size: int) -> Frames:
    """A scene that turns black."""
    light = np.linspace(1, 0.02, frames) ** rng.uniform(0.7, 2)
    return to_bytes(tile_world(rng, 1, size) * light[:, None, None, None])


def paused(rng: Rng, frames: int, size: int) -> Frames:
    """A game that stands still under a menu of bars."""
    frame = tile_world(rng, 1, size)[0].astype(np.float64)
    for bar in range(4):
        top = size // 4 + bar * size // 8
        frame[top : top + size // 16, size // 4 : 3 * size // 4] = (230, 230, 220)
    return to_bytes(np.stack([frame] * frames))


def platformer(rng: Rng, frames: int, size: int) -> Frames:
    """A plain sky, a few bricks and a ground; it scrolls to the side."""
    sky, brick = rng.uniform(90, 230, 3), rng.uniform(60, 160, 3)
    tile = size // 8
    level = np.full((size, 4 * size, 3), sky)
    stone = np.full((tile, tile, 3), brick)
    stone[:1], stone[:, :1], stone[tile // 2] = brick * 0.5, brick * 0.5, brick * 0.7
    for column in range(32):
        for row in {7, int(rng.integers(2, 12))} & set(range(8)):
            level[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile] = stone
    speed = int(rng.integers(1, 4))
    clip = [level[:, t * speed : t * speed + size].copy() for t in range(frames)]
    for t, frame in enumerate(clip):
        _sprite(frame, int(size * 0.75) - 2 * t, size // 3, size // 12, (200, 40, 40))
    return to_bytes(np.stack(clip))


def pong(rng: Rng, frames: int, size: int) -> Frames:
    """Two bats and a ball on black."""
    ball, speed = rng.uniform(0.3, 0.6, 2) * size, rng.uniform(-0.05, 0.05, 2) * size
    clip = np.zeros((frames, size, size, 3))
    for t in range(frames):
        y, x = (ball + t * speed).astype(int)
        clip[t, y : y + size // 16, x : x + size // 16] = 235
        clip[t, y - size // 8 : y + size // 8, size // 16 : size // 10] = (90, 180, 90)
        clip[t, size // 3 : size // 2, size - size // 10 : size - size // 16] = (210, 120, 70)
        clip[t, ::8, size // 2] = 120
    return to_bytes(clip)


def storm(rng: Rng, frames: int, size: int) -> Frames:
    """A scene behind rain: the truth is half noise itself."""
    rain = rng.normal(0, 35, (frames, size, size, 1))
    return to_bytes(0.7 * corridor(rng, frames, size) + 30 + rain)


def chequered(rng: Rng, frames: int, size: int) -> Frames:
    """A hall whose floor repeats one tile, with things standing in it."""
    tile = _texture(rng, size // 8)
    floor = np.tile(tile, (12, 12, 1))
    clip = []
    for t in range(frames):
        frame = floor[2 * t : 2 * t + size, t : t + size].copy()
        frame[: size // 4] = np.linspace(120, 40, size // 4)[:, None, None]
        for place in range(3):
            _sprite(frame, size // 2 + place * 5, size // 5 * (place + 1) + t, size // 9, (200, 180, 60))
        clip.append(frame)
    return to_bytes(np.stack(clip))


SCENES: dict[str, Callable[[Rng, int, int], Frames]] = {
    scene.__name__: scene
    for scene in (
        tile_world, corridor, cave, title, black, fade, paused, platformer, pong, storm, chequered,
    )
}  # fmt: skip
STILL = {"title", "black", "fade", "paused", "pong"}
"""Scenes in which too little moves for a frozen model to be told."""


def clips(scene: str, seed: int, count: int = CLIPS, frames: int = FRAMES, size: int = SIZE) -> Frames:
    """So many clips of one kind of scene, [B, T, S, S, 3]."""
    rng = np.random.default_rng([seed, sorted(SCENES).index(scene)])
    return np.stack([SCENES[scene](rng, frames, size) for _ in range(count)])
