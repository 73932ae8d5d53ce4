"""The other ranks of a learner: processes that compute parts of its batches, by torch.distributed.

::

    learner, rank 0 ──tensors over gloo, on the loopback interface──► rank 1 … N − 1
            └── a pipe to each one's standard input: it closes when the learner is gone, however it
                went, and then the rank ends

A rank that ends or does not answer in time is an error here, which names it; all of them are ended.
They ask for nothing and keep nothing that matters: a learner that is started again starts others.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Hashable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, cast

import orjson
import torch
from torch import Tensor, distributed

from headrace.online_learning.deep.settings import Deep
from headrace.operators.errors import EnvironmentProblem

__all__ = ["LEARN", "LOGITS", "NET", "SCORE", "WEIGHTS", "Ranks", "group", "ranks_of"]

NET, WEIGHTS, LOGITS, LEARN, SCORE = range(5)
"""What a rank is asked; each begins with such a number and a count of rows (or of bytes)."""

_START_SECONDS = 120.0  # to load torch, on a machine that is busy
_DEATH_SECONDS = 2.0  # a connection that broke is seen a moment before the end that broke it
_STARTED = weakref.WeakValueDictionary[tuple[int, int, float], "Ranks"]()


def ranks_of(count: int, *, threads: int, timeout_seconds: float) -> Ranks:
    """Give this process' ranks, which its models share and which end with the last of these."""
    key = count, threads, timeout_seconds
    found = _STARTED.get(key)
    if found is None or found.broken:
        _STARTED[key] = found = Ranks(count, threads=threads, timeout_seconds=timeout_seconds)
    return found


def group(store: Path, rank: int, count: int, timeout_seconds: float) -> Any:
    """Join the group of a learner's ranks, on the loopback interface alone.

    Parameters
    ----------
    store
        The file by which they find each other; in a folder of this user's alone.
    """
    if not distributed.is_gloo_available():
        asked = f"asked for {count} ranks"
        raise EnvironmentProblem(asked, "this torch has no gloo", "install torch's usual wheel")
    names = [name for _, name in socket.if_nameindex()]
    os.environ["GLOO_SOCKET_IFNAME"] = next(name for name in names if name.startswith("lo"))
    found = distributed.FileStore(str(store), count)  # type: ignore[attr-defined]  # public, untold
    return distributed.ProcessGroupGloo(found, rank, count, timedelta(seconds=timeout_seconds))


class Ranks:
    """Processes of one learner's process, which is the first of them; started at once.

    Parameters
    ----------
    count
        How many, with this process: 2 or more.
    threads
        Of each.
    timeout_seconds
        How long a rank may take to answer.

    Raises
    ------
    EnvironmentProblem
        Here and in all calls: when a rank has ended or does not answer; says which.
    """

    def __init__(self, count: int, *, threads: int, timeout_seconds: float) -> None:
        self.count = count
        self.broken = False
        self._timeout_seconds = timeout_seconds
        self._folder = Path(tempfile.mkdtemp(prefix="headrace-ranks-"))
        self._group: Any = None
        self._net: Deep | None = None
        self._holds: Hashable = None
        self._sent: list[tuple[int, Any, Tensor]] = []  # a tensor lives until it was sent
        self._asked: list[tuple[int, Any]] = []
        argv = [sys.executable, "-m", "headrace.online_learning.deep.rank"]
        argv += [str(self._store), str(count), str(threads)]
        self._processes = [
            subprocess.Popen([*argv, str(rank)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for rank in range(1, count)
        ]
        self.close = weakref.finalize(self, _end, self._processes, self._folder)
        """End them; done, too, when nobody holds them any more, and at this process' exit."""

    @property
    def pids(self) -> list[int]:
        """Give the processes, rank 1 first."""
        return [process.pid for process in self._processes]

    @property
    def _store(self) -> Path:
        return self._folder / "store"

    def hold(self, net: Deep, weights: Tensor, name: Hashable) -> None:
        """Have every rank hold a net with these weights; `name` tells them from all others."""
        self._join()
        if self._net is not net:
            told = torch.frombuffer(bytearray(orjson.dumps(net.facts)), dtype=torch.uint8)
            for rank in range(1, self.count):
                self._ask(rank, NET, len(told), [told])
            self._net, self._holds = net, None
        if self._holds != name:
            for rank in range(1, self.count):
                self._ask(rank, WEIGHTS, len(weights), [weights])
            self._holds = name

    def ask(self, rank: int, what: int, *told: Tensor, answer: Sequence[Tensor]) -> None:
        """Ask a rank about rows; its answer is in the tensors after `take`."""
        self._ask(rank, what, len(told[0]), told)
        for tensor in answer:
            self._asked.append((rank, self._group.recv([tensor], rank, 0)))

    def take(self) -> None:
        """Wait for all that was asked, in the order of the ranks."""
        for rank, work, _ in self._sent:
            self._wait(rank, work)
        for rank, work in self._asked:
            self._wait(rank, work)
        self._sent, self._asked = [], []

    def _ask(self, rank: int, what: int, count: int, told: Sequence[Tensor]) -> None:
        if self.broken:
            asked = f"asked for the ranks of {self.count}"
            raise EnvironmentProblem(asked, "one was lost", "start the learner again")
        for tensor in (torch.tensor([what, count]), *(each.contiguous() for each in told)):
            if tensor.numel():
                try:
                    work = self._group.send([tensor], rank, 0)
                except RuntimeError as error:
                    raise self._lost(rank) from error
                self._sent.append((rank, work, tensor))

    def _wait(self, rank: int, work: Any) -> None:
        try:
            work.wait()
        except RuntimeError as error:
            raise self._lost(rank) from error

    def _join(self) -> None:
        """Wait until every rank has come up, then make the group."""
        if self._group is not None:
            return
        deadline = time.monotonic() + _START_SECONDS
        self._up(deadline)
        try:
            self._group = group(self._store, 0, self.count, self._timeout_seconds)
        except RuntimeError as error:
            raise self._lost(self._ended() or 1) from error
        self._up(deadline)  # they have found each other, too, and need the file no more
        shutil.rmtree(self._folder)

    def _up(self, deadline: float) -> None:
        """Wait until every rank says that it has come so far."""
        for rank, process in enumerate(self._processes, 1):
            said = cast("IO[bytes]", process.stdout)
            with selectors.DefaultSelector() as selector:
                selector.register(said, selectors.EVENT_READ)
                some = selector.select(deadline - time.monotonic())
            if not (some and os.read(said.fileno(), 1)):
                raise self._lost(rank, _START_SECONDS)

    def _ended(self) -> int | None:
        """Give the first rank that has ended."""
        ends = (rank for rank, each in enumerate(self._processes, 1) if each.poll() is not None)
        return next(ends, None)

    def _lost(self, rank: int, seconds: float | None = None) -> EnvironmentProblem:
        """Say what became of a rank; end all of them."""
        process = self._processes[rank - 1]
        seconds = self._timeout_seconds if seconds is None else seconds
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_DEATH_SECONDS)
        found = f"it did not answer within {seconds:g} s"
        if process.returncode is not None:
            found = f"it ended with exit status {process.returncode}"
        if (process.returncode or 0) < 0:
            found = f"it was ended by {signal.Signals(-process.returncode).name}"
        self.broken = True
        self._asked, self._sent = [], []
        for each in self._processes:
            each.kill()
        self.close()
        asked = f"asked rank {rank} of {self.count} (process {process.pid}) for its part"
        do = "start the learner again: it goes on from its snapshot; fewer `ranks` need less memory"
        return EnvironmentProblem(asked, found, do)


def _end(processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    for process in processes:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    for process in processes:
        try:
            process.wait(_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    shutil.rmtree(folder, ignore_errors=True)
