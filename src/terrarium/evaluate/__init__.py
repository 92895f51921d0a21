"""Scores of a trained run on held-out footage. Every figure comes with the floor that it must beat."""

from __future__ import annotations

from terrarium.evaluate.scores import evaluate, open_footage, read_scores

__all__ = ["evaluate", "open_footage", "read_scores"]
