"""Poison among good messages, in one real views job: none of it passes, none of it does harm.

::

    good, poison, poison, good … ─► the views job ─► tiles, decisions: those of the good alone
                       │                    └──────► dead letters: each with its place and reason
                       └─► DuckDB, in process ─────► the same
"""

from __future__ import annotations

import random
from pathlib import Path

from headrace.jobs.machine.broker import running
from headrace.operators.engines import in_process
from tests import logs
from tests.fuzz_flink import Job
from tests.poison import poison
from tests.random_logs import EACH, SOURCE, Log, messages

__all__ = ["poisoned", "run"]

_A_GOOD = 25
"""So many messages of poison are there for a good one."""
_SPAN_MS = 20_000


def poisoned(count: int, seed: int) -> tuple[Log, Log]:
    """Make a log with so many messages of poison, and the same without them."""
    dice = random.Random(seed)  # noqa: S311 - cases, no secrets
    said: list[tuple[int, bytes | None]] = []
    good: list[tuple[int, bytes | None]] = []
    for number in range(count):
        at = number * _SPAN_MS // count
        if number % _A_GOOD == 0:
            cells = {name: dice.choice(of) for name, of in logs.CELLS.items()}
            good.append((dice.randrange(EACH), logs.payload(str(at), cells)))
            said.append(good[-1])
        said.append((dice.randrange(EACH), poison(logs.SOURCE, dice, at)))
    return Log(tuple(said), ()), Log(tuple(good), ())


def _what_counts(found: in_process.Events) -> list[object]:
    """Give all that values are made of: the events and what was late, but for their offsets."""
    events = [(event.partition, event.values) for event in found.events]
    return [events, [(row.partition, row.payload) for row in found.late]]


def run(count: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    """Send `count` messages of poison; give how many, and what differs."""
    log, good = poisoned(count, seed)
    found, alone = (in_process.events(SOURCE, messages(each, 0)) for each in (log, good))
    wrong = []
    if len(found.dead) != count + len(alone.dead):
        wrong.append(
            f"{len(found.dead)} dead letters, {len(alone.dead)} of the good messages alone"
        )
    if _what_counts(found) != _what_counts(alone):
        wrong.append("the events are not those of the good messages alone")
    with running(folder / "broker") as broker:
        wrong += Job(broker.address, folder).different([log]).get(0, [])
    return count, wrong
