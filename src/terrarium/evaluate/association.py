"""What codes reveal about true actions, from tables of counts (codes x actions)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]  # also of codes and actions themselves


def count_pairs(codes_N: Counts, actions_N: Counts, codes: int, actions: int) -> Counts:
    """How often each code occurred with each action (codes, actions)."""
    table_KA: Counts = np.zeros((codes, actions), dtype=np.int64)
    np.add.at(table_KA, (codes_N, actions_N), 1)
    return table_KA


def best_map(train_table_KA: Counts) -> Counts:
    """For each code the action (K,) it occurred with most often; codes that never occurred get the commonest.

    To be fitted on training footage: fitted on the footage that it is scored on, it would flatter.
    """
    commonest = train_table_KA.sum(0).argmax()
    seen_K = train_table_KA.sum(1) > 0
    map_K: Counts = np.where(seen_K, train_table_KA.argmax(1), commonest)
    return map_K


def map_accuracy(table_KA: Counts, map_K: Counts) -> float:
    """The share of cases in which the map names the true action."""
    return float(table_KA[np.arange(len(map_K)), map_K].sum() / table_KA.sum())


def majority_accuracy(table_KA: Counts, train_table_KA: Counts) -> float:
    """The share of cases whose action is the commonest one of the training footage."""
    return float(table_KA[:, train_table_KA.sum(0).argmax()].sum() / table_KA.sum())


def mutual_information(table_KA: Counts) -> float:
    """Mutual information of code and action in nats, at least 0.

    The plug-in estimate with the Miller-Madow correction (Miller 1955): each plug-in entropy is too low by
    about (cells in use - 1) / 2N, so plain plug-in information is too high by chance alone.
    """
    joint = table_KA.ravel()
    plug_in = _entropy(table_KA.sum(1)) + _entropy(table_KA.sum(0)) - _entropy(joint)
    used = [int((counts > 0).sum()) for counts in (table_KA.sum(1), table_KA.sum(0), joint)]
    correction = (used[0] + used[1] - used[2] - 1) / (2 * table_KA.sum())
    return max(0.0, float(plug_in + correction))


def code_labels(table_KA: Counts, map_K: Counts, action_names: Sequence[str]) -> list[str]:
    """A label for each code such as "3 ~ MOVE_LEFT 71 %": its mapped action, and how often that is right.

    A code that does not occur in the table is only a number.
    """
    labels = []
    for code, (counts_A, action) in enumerate(zip(table_KA, map_K.tolist(), strict=True)):
        uses = int(counts_A.sum())
        meaning = f" ~ {action_names[action]} {round(100 * counts_A[action] / uses)} %" if uses else ""
        labels.append(f"{code}{meaning}")
    return labels


def _entropy(counts: Counts) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
