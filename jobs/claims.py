"""One writer of a kind to a stream: who begins takes over, who had it before is refused.

::

    claims topic   store: by, who ◄── a beat every few seconds, while it lives
        │ its folder is ours: the kernel's lock says that it has ended ──────────┐
        │ it beats                   ──► EnvironmentProblem: stop one of them    │
        │ no beat for a whole lease ─────────────────────────────────────────────┤
        ▼                                                                        ▼
    the same producer id, the next epoch ──► a mark in each partition: from there on the broker
                                             refuses every older epoch ──► Superseded

A process that was stopped and goes on, or comes back from behind a broken network, cannot know
that another has its place. So the broker keeps the order: of one producer id it takes no batch
with an epoch below the one that it has seen in that partition. Two that begin at the same instant
take the same epoch; the topic then has the claim of one of them, and the other ends.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import orjson

from headrace.jobs import transport
from headrace.jobs.transport import DeliveryError, Place, Reader, Superseded, Writer
from headrace.online_learning.lock import Holder
from headrace.operators.errors import EnvironmentProblem, StoreError

__all__ = ["LEASE_SECONDS", "Claim", "Claimed"]

LEASE_SECONDS = 15.0
"""How long another folder's process must have been silent before its place is taken."""
BEAT_SECONDS = 2.0
MARK = b"claim"
"""The key of a message without a value, with which a writer begins in a partition."""
_POLL_MS = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the claims topic says of a kind of writer: which producer, and who that is.

    `by` names what the writer keeps, wherever its folder is moved to.
    """

    producer: int
    epoch: int
    by: str
    folder: str
    holder: Holder

    def __str__(self) -> str:
        """Name the process, for people."""
        return f"{self.holder}, with the folder '{self.folder}'"

    @property
    def value(self) -> bytes:
        """Give it as it stands in the topic."""
        return orjson.dumps(asdict(self))

    @classmethod
    def of(cls, value: bytes) -> Self:
        """Read what `value` wrote."""
        facts = orjson.loads(value)
        return cls(**{**facts, "holder": Holder(**facts["holder"])})


class Claim(Writer):
    """A writer to some partitions that one process of a kind writes to at a time.

    Parameters
    ----------
    bootstrap
        The broker.
    topic
        The claims topic.
    kind
        What writes: ``store``, ``learner``.
    folder
        What the process holds by a lock of its own.
    places
        The partitions.
    by
        Names what is in the folder, wherever that is moved to; its host and its path unless given.
    resumed
        Whether what is in the folder goes on from what it wrote last.

    Raises
    ------
    EnvironmentProblem
        When a process of another folder writes there and is alive.
    StoreError
        When what is `resumed` is not what wrote last.
    Superseded
        From any call, when another process has taken over.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        kind: str,
        *,
        folder: Path,
        places: Sequence[Place],
        by: str | None = None,
        resumed: bool = False,
    ) -> None:
        self._claims, self._kind = topic, kind
        here, holder = str(folder.absolute()), Holder.here()
        by = by or f"{holder.host}:{here}"
        before = claimed(bootstrap, topic).get(kind)
        if before is not None and before.by != by:
            if (before.holder.host, before.folder) != (holder.host, here):
                _wait_out(bootstrap, topic, kind, before)
            if resumed:
                asked = f"asked to go on with the {kind} in '{here}'"
                found = f"{before} has written to the stream since"
                raise StoreError(asked, found, f"make it anew: headrace {kind} rebuild")
        super().__init__(bootstrap)
        with contextlib.ExitStack() as failing:
            failing.callback(self._abandon)
            following = None if before is None else (before.producer, before.epoch + 1)
            self._claim = Claimed(*self.take(following), by, here, holder)
            self._beaten = -math.inf
            self.beat()
            if claimed(bootstrap, topic)[kind] != self._claim:
                raise self._superseded()
            for name, partition in places:
                self.send(name, None, key=MARK, partition=partition, timestamp_ms=0)
            self.flush()
            failing.pop_all()

    def beat(self) -> None:
        """Say that this process is alive, if it is time; find out whether it is superseded."""
        now = time.monotonic()
        if now - self._beaten < BEAT_SECONDS:
            return
        self.send(self._claims, self._claim.value, key=self._kind.encode(), partition=0)
        self.flush()
        self._beaten = now

    def _failure(self) -> DeliveryError:
        failure = super()._failure()
        return self._superseded(failure) if isinstance(failure, Superseded) else failure

    def _superseded(self, failure: DeliveryError | None = None) -> Superseded:
        now = claimed(self._bootstrap, self._claims).get(self._kind)
        topic = failure.topic if failure else self._claims
        count = failure.count if failure else 1
        return Superseded(topic, count, str(now or "another process"))


def claimed(bootstrap: str, topic: str) -> dict[str, Claimed]:
    """Read who writes, by kind."""
    place = (topic, 0)
    found: dict[str, Claimed] = {}
    with Reader(bootstrap, transport.begins(bootstrap, [topic])) as reader:
        end = reader.ends()[place]
        while reader.positions()[place] < end:
            for message in reader.poll(_POLL_MS).get(place, ()):
                found[(message.key or b"").decode()] = Claimed.of(message.value or b"")
    return found


def _wait_out(bootstrap: str, topic: str, kind: str, before: Claimed) -> None:
    """Listen for a lease; an EnvironmentProblem as soon as the one that has the place is heard."""
    until = time.monotonic() + LEASE_SECONDS
    with Reader(bootstrap, transport.ends(bootstrap, [topic])) as reader:
        while time.monotonic() < until:
            for message in reader.poll(_POLL_MS).get((topic, 0), ()):
                if (message.key or b"").decode() == kind:
                    heard = Claimed.of(message.value or b"")
                    asked = f"asked to write to the stream of {topic!r} as its {kind}"
                    do = "stop one of them, or give this one's pipeline another name"
                    raise EnvironmentProblem(asked, f"{heard} writes there", do)
    _log.warning("%s is not heard for %g s: its place is taken", before, LEASE_SECONDS)
