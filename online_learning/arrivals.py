"""What comes to a learner: messages of both topics, checked, and kept until their time is complete.

predictions ──► waiting ─┐ complete: at < min(predictions' through, examples' end)
examples    ──► waiting ─┴─► taken up to a time, each in order of event time
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.learning import Learning
from headrace.online_learning.messages import Parser
from headrace.online_learning.settings import LearningError
from headrace.online_learning.stepping import columns
from headrace.online_learning.waiting import NEVER, Columns, Waiting

__all__ = ["Arrivals", "no_inputs"]


def no_inputs(settings: Learning, encoder: Encoder) -> Columns:
    """Give the columns of encoded inputs, without a row."""
    blank = pa.table({n: pa.array([], t.arrow) for n, t in settings.encoding.inputs.items()})
    return columns(encoder.inputs(blank, deep=settings.deep), np.empty(0, np.int64))


class Arrivals:
    """Predictions and examples that are read and not yet learned.

    Parameters
    ----------
    settings
        Those of the learner.
    encoder
        Of its encoding.
    next_seq
        The prediction that comes next; those before it are skipped.
    through_ms
        All before this event time is learned.
    pane_end
        The end of the last pane of examples that is done; those before it are skipped.
    knows_ms
        Labels before this time were learned from elsewhere, before there was a log.
    """

    def __init__(
        self,
        settings: Learning,
        encoder: Encoder,
        *,
        next_seq: int,
        through_ms: int,
        pane_end: int,
        knows_ms: int = NEVER,
    ) -> None:
        self._every_ms = settings.every_ms
        self._kind = settings.model
        self._parser = Parser(
            *(settings.encoding.inputs, encoder, settings.model, settings.score_by),
            deep=settings.deep,
        )
        whole, real = np.empty(0, np.int64), np.empty(0, np.float64)
        none, served = no_inputs(settings, encoder), settings.model.room(0)
        said = {"served": served, **{name: np.empty(0, object) for name in settings.score_by}}
        self._predictions = Waiting({"at": whole, "place": whole, **none, **said})
        self._examples = Waiting(
            {
                **{"at": whole, "seq": whole, "decided": whole, "label": real, "served": served},
                **none,
            }
        )
        self._next_seq = next_seq
        self._through = through_ms
        self._knows = knows_ms
        self._last_at = NEVER
        self._complete = NEVER  # no prediction before it is still to come
        self._end = pane_end
        self._panes: deque[tuple[int, int]] = deque()  # end and offset of panes not yet done

    @property
    def complete_ms(self) -> int:
        """Give the event time before which nothing is still to come."""
        return min(self._complete, self._end)

    @property
    def first_ms(self) -> int | None:
        """Give the earliest event time of what waits."""
        waiting = (self._predictions.first, self._examples.first)
        return min((at for at in waiting if at is not None), default=None)

    @property
    def waiting(self) -> dict[str, int]:
        """Count what waits, by topic."""
        return {"predictions": len(self._predictions), "examples": len(self._examples)}

    def take(self, until: int) -> tuple[Columns, Columns]:
        """Remove and give the predictions and the examples before a time, which is then through."""
        self._through = until
        return self._predictions.take(until), self._examples.take(until)

    def panes(self, until: int) -> Iterator[tuple[int, int]]:
        """Remove and give the panes that are done then: the end of each, and its offset."""
        while self._panes and self._panes[0][0] <= until:
            yield self._panes.popleft()

    def predictions(self, batch: Sequence[bytes], next_offset: int) -> None:
        """Take messages of the predictions topic; see `Learner.predictions`."""
        if not batch:
            return
        asked = f"asked to learn from predictions up to offset {next_offset}"
        read = self._parser.predictions(batch)
        said = read.at >= 0
        # The seq that must come next, and the time promised to be complete, before each message.
        upto = np.where(said, read.seq + 1, self._next_seq)
        following = np.maximum.accumulate(np.concatenate([[self._next_seq], upto]))
        through = np.concatenate([[self._complete], np.where(said, NEVER, read.through)])
        promised = np.maximum.accumulate(through)
        expected, promise = following[:-1], promised[:-1]
        gap = read.seq >= expected + said  # progress names a seq that was there already
        if gap.any():
            found = f"prediction {expected[gap.argmax()]} is missing"
            raise LearningError(asked, found, "restore the topic, or learn anew from its start")
        if (read.through[~said] < promise[~said]).any():
            raise LearningError(asked, "a progress message goes back in time", "mend the store")
        fresh = said & (read.seq == expected)
        at = read.at[fresh]
        earliest = np.maximum(promise[fresh], self._through)
        if (np.diff(at, prepend=self._last_at) < 0).any() or (at < earliest).any():
            found = "a prediction is earlier than one before it, or than what was complete"
            raise LearningError(asked, found, "mend the store")
        if (at < self._knows).any():
            found = f"the learner began with labels up to {self._knows - 1}"
            do = f"begin it with those before {at[0]}: else it would know what came later"
            raise LearningError(asked, found, do)
        place = next_offset - len(batch) + np.flatnonzero(fresh)
        inputs = columns(read.inputs, np.flatnonzero(fresh[said]))
        told = {"served": read.served, **read.by}
        told = {name: column[fresh[said]] for name, column in told.items()}
        self._predictions.append({"at": at, "place": place.astype(np.int64), **inputs, **told})
        self._next_seq, self._complete = int(following[-1]), int(promised[-1])
        self._last_at = int(at[-1]) if len(at) else self._last_at

    def examples(self, batch: Sequence[bytes], next_offset: int) -> None:
        """Take messages of the examples topic; see `Learner.examples`."""
        if not batch:
            return
        read = self._parser.examples(batch)
        ends = np.maximum.accumulate(np.concatenate([[self._end], read.end]))
        fresh = read.end > ends[:-1]
        end = read.end[read.pane]
        outside = (read.at >= end) | (read.at < end - self._every_ms)
        if (outside | (fresh[read.pane] & (read.at < ends[:-1][read.pane]))).any():
            asked = f"asked to learn from examples up to offset {next_offset}"
            found = "an example is not of its pane's time"
            raise LearningError(asked, found, "give the learner the step of the panes")
        # A pane that was partly done before a restart comes again whole.
        kept = fresh[read.pane] & (read.at >= self._through)
        task = self._kind.tasks_of(read.label)
        order = np.lexsort((task, read.offset, read.partition, read.at))
        order = order[kept[order]]
        names = ("at", "seq", "decided", "label", "served")
        told = {name: getattr(read, name)[order] for name in names}
        self._examples.append({**told, **columns(read.inputs, order)})
        places = next_offset - len(batch) + np.flatnonzero(fresh)
        self._panes.extend(zip(read.end[fresh].tolist(), places.tolist(), strict=True))
        self._end = int(ends[-1])
