"""Processes that are killed: each life is a fork of this process, so it begins in milliseconds."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.operators.errors import HeadraceError

__all__ = ["Ended", "forked", "kill", "lived", "within"]


def kill() -> None:
    """End here, as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


def within(dice: random.Random, milliseconds: float) -> None:
    """End at some moment of the next `milliseconds`."""
    threading.Timer(dice.random() * milliseconds / 1000, kill).start()


@dataclass(frozen=True)
class Ended:
    """How a forked process ended: what it said, and whether it was killed."""

    said: str
    killed: bool
    refused: bool
    broken: bool


def forked(work: Callable[[], str]) -> Ended:
    """Run `work` in a process of its own; a refusal of headrace's is said, all else is broken."""
    reads, writes = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writes, work().encode())
            status = 0
        except HeadraceError as error:
            os.write(writes, f"{type(error).__name__}: {error}".encode())
            status = 2
        finally:
            if status == 1:
                os.write(writes, traceback.format_exc().encode()[-4000:])
            os._exit(status)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    killed = code == -signal.SIGKILL
    return Ended(said, killed, refused=code == 2, broken=code not in (0, 2) and not killed)


def lived(
    count: int, points: Sequence[str], dice: random.Random, life: Callable[[str, int], Ended]
) -> tuple[Counter[str], list[str]]:
    """Live until `count` lives were killed; count the kills of each point, say what is wrong.

    A life takes its point and a seed of its own. Four of them for each kill are enough, or the log
    is at its end.
    """
    kills, wrong = Counter[str](), list[str]()
    for number in range(4 * count):
        if kills.total() == count:
            break
        point = points[number % len(points)]
        ended = life(point, dice.getrandbits(32))
        kills[point] += ended.killed
        if ended.broken or ended.refused:
            wrong.append(f"life {number}, {point}: {ended.said}")
    return kills, wrong
