"""Each start gets names of its own, whatever earlier ones left in the store."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from torch.distributed import DistStoreError, HashStore  # type: ignore[attr-defined]

from terrarium.train.rendezvous import accept, invite, store_of_this_start

SECONDS = timedelta(seconds=20)


def start(store: HashStore, count: int) -> set[str]:
    """What all processes of a start call it; the first one comes last."""
    tokens: list[str] = []
    others = [
        threading.Thread(target=lambda rank=rank: tokens.append(accept(store, rank)))
        for rank in range(1, count)
    ]
    for each in others:
        each.start()
    tokens.append(invite(store, count, SECONDS))
    for each in others:
        each.join()
    return set(tokens)


def test_all_processes_of_a_start_agree_and_no_two_starts_do() -> None:
    store = HashStore()
    names = [start(store, 3) for _ in range(3)]
    assert all(len(each) == 1 for each in names)
    assert len(set.union(*names)) == 3


def test_what_the_dead_asked_is_answered_in_vain() -> None:
    store = HashStore()
    store.set("asks/1", "a process that was killed before it was answered")
    assert len(start(store, 2)) == 1


def test_who_does_not_come_is_named() -> None:
    with pytest.raises(DistStoreError, match=r"ranks \[1, 2\] did not arrive"):
        invite(HashStore(), 3, timedelta(seconds=0.1))


def test_without_a_store_of_the_launcher_pytorch_opens_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    assert store_of_this_start(0, 2, SECONDS) is None
