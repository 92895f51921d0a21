"""How processes that were started together find each other, also after a restart.

torchrun keeps one store through all restarts, and PyTorch (2.13) looks up addresses in it under names that
are the same each time, so a quick process may read the addresses of dead ones. Therefore each start first
agrees on a prefix of its own. The launcher's count of restarts can't serve: it may differ between machines.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import DistStoreError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

PAUSE = 0.02  # seconds between two polls
REACHED = timedelta(minutes=5)  # the launcher's store is reached within, or not at all


def store_of_this_start(rank: int, count: int, timeout: timedelta) -> Store | None:
    """A store that nothing has used before this start; None if the launcher keeps none, and rank 0 opens one.

    Raises:
        DistStoreError: the others can't be reached in time.
    """
    store = store_of_launcher(timeout)
    if store is None:
        return None
    token = invite(store, count, timeout) if rank == 0 else accept(store, rank)
    return PrefixStore(f"start/{token}", store)


def store_of_launcher(timeout: timedelta = REACHED) -> Store | None:
    """The store that torchrun keeps through all its restarts, where it does.

    Raises:
        DistStoreError: it can't be reached in time.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, timeout=timeout)


def remembered(name: str, make: Callable[[], str]) -> str:
    """What the first process made at the first start of a job; that again when it was started again."""
    store = store_of_launcher()
    if store is None:
        return make()
    if not store.check([name]):
        store.set(name, make())
    return store.get(name).decode()


def invite(store: Store, count: int, timeout: timedelta) -> str:
    """Choose a token for this start and give it to all others; leftover requests are answered too, unread."""
    token, end = uuid.uuid4().hex, time.monotonic() + timeout.total_seconds()
    missing = set(range(1, count))
    while missing:
        for rank in sorted(missing):
            if store.check([f"asks/{rank}"]):
                store.set(f"answer/{store.get(f'asks/{rank}').decode()}", token)
            if store.check([f"came/{token}/{rank}"]):
                missing.discard(rank)
        if time.monotonic() > end:
            raise DistStoreError(f"ranks {sorted(missing)} did not arrive in time")
        time.sleep(PAUSE)
    return token


def accept(store: Store, rank: int) -> str:
    """Ask for the token under a fresh name, and wait for the answer."""
    name = uuid.uuid4().hex
    store.set(f"asks/{rank}", name)
    token = str(store.get(f"answer/{name}").decode())
    store.set(f"came/{token}/{rank}", "")
    return token
