"""Codes against true actions: maps fitted elsewhere, and information that chance does not inflate."""

from __future__ import annotations

import numpy as np
import pytest

from terrarium.evaluate.association import (
    best_map,
    code_labels,
    count_pairs,
    majority_accuracy,
    map_accuracy,
    mutual_information,
)


def test_pairs_are_counted() -> None:
    table = count_pairs(np.array([0, 2, 2, 2]), np.array([1, 0, 1, 1]), 3, 2)
    assert table.tolist() == [[0, 1], [0, 0], [1, 2]]


def test_the_map_is_the_training_footages_not_the_scored_ones() -> None:
    train = np.array([[9, 1], [1, 9]])
    held_out = np.array([[1, 9], [9, 1]])  # there the codes mean the opposite
    assert map_accuracy(held_out, best_map(train)) == pytest.approx(0.1)
    assert map_accuracy(train, best_map(train)) == pytest.approx(0.9)


def test_a_code_unseen_in_training_gets_the_commonest_action() -> None:
    train = np.array([[5, 0, 0], [0, 3, 7], [0, 0, 0]])
    assert best_map(train).tolist() == [0, 2, 2]


def test_the_majority_is_the_training_footages() -> None:
    train, held_out = np.array([[6, 4], [0, 0]]), np.array([[1, 4], [2, 3]])
    assert majority_accuracy(held_out, train) == pytest.approx(0.3)


def test_codes_equal_to_actions_tell_their_whole_entropy() -> None:
    shares = np.array([0.5, 0.25, 0.25])
    entropy = -(shares * np.log(shares)).sum()
    table = np.diag((shares * 40_000).astype(np.int64))
    assert mutual_information(table) == pytest.approx(entropy, abs=1e-3)


def test_a_single_code_tells_nothing() -> None:
    assert mutual_information(np.array([[30, 20, 50], [0, 0, 0]])) == 0


def test_independent_codes_tell_about_nothing_even_in_small_samples() -> None:
    """The plain plug-in estimate would be (8 - 1) (4 - 1) / 2N = 0.053 here, by chance alone."""
    generator = np.random.default_rng(0)
    found = [
        mutual_information(count_pairs(generator.integers(0, 8, 200), generator.integers(0, 4, 200), 8, 4))
        for _ in range(200)
    ]
    assert np.mean(found) < 0.015
    assert min(found) >= 0


def test_labels_say_the_action_and_how_often_it_is_right() -> None:
    table = np.array([[1, 3], [0, 0], [29, 71]])
    assert code_labels(table, np.array([0, 1, 1]), ("NOOP", "LEFT")) == [
        "0 ~ NOOP 25 %",
        "1",
        "2 ~ LEFT 71 %",
    ]
