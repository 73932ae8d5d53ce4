"""Predictions that are in their topic already: taken from there, never made a second time.

The store's file may be behind what was published: it was lost, damaged and repaired, or is being
rebuilt. What was served then was made by the version of that time; so number, version and
probability come from the topic, features are recomputed from the log, and those that the message
carries must be the same.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa

from headrace.jobs import transport
from headrace.jobs.transport import Reader
from headrace.operators.errors import CorruptError

__all__ = ["Published"]

_POLL_MS = 1_000
_POLL_MESSAGES = 20_000
_NO_SHADOW = {"p": None, "version": None}
_DO = "look at who writes to the topic; start over in a fresh state folder if it is another log's"


class Published:
    """The predictions of a topic from number `first` to number `last`, in order.

    Parameters
    ----------
    bootstrap
        The broker.
    topic
        The predictions topic.
    first, last
        Numbers of predictions.
    inputs
        What each message carries of its decision's columns and features.
    predicted
        The type of a prediction.

    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        first: int,
        last: int,
        inputs: Sequence[str],
        predicted: pa.DataType,
    ) -> None:
        self._topic, self._inputs, self._predicted = topic, list(inputs), predicted
        self._rows, self._last = _read(bootstrap, topic, first, last), last

    def take(self, rows: pa.Table) -> pa.Table:
        """Append what was predicted, and by which version, to the next decisions, as published.

        Raises
        ------
        CorruptError
            Where the topic has not the decision, or has it with other inputs.

        """
        told = list(islice(self._rows, rows.num_rows))
        here = rows.select(["seq", "id", "at", *self._inputs]).to_pylist()
        for one, row in zip(told, here, strict=True):
            head = {name: row.pop(name) for name in ("seq", "id", "at")}
            if one["x"] != row or any(one[name] != value for name, value in head.items()):
                asked = f"asked for prediction {head['seq']} as it was published"
                found = f"the topic has {_short(one)}, the log gives {_short({**head, 'x': row})}"
                raise CorruptError(self._topic, asked, found, _DO)
        if told and told[-1]["seq"] == self._last:
            self.close()
        beside = [one.get("shadow", _NO_SHADOW) for one in told]
        for p, version, said in (("p", "version", told), ("p_shadow", "shadow", beside)):
            rows = rows.append_column(p, pa.array([each["p"] for each in said], self._predicted))
            numbers = pa.array([each["version"] for each in said], pa.int64())
            rows = rows.append_column(version, numbers)
        return rows

    def close(self) -> None:
        """Read no further. Left to the interpreter's end, its reader would wait for ever."""
        self._rows.close()


def _read(bootstrap: str, topic: str, first: int, last: int) -> Generator[dict[str, Any]]:
    place = (topic, 0)
    start = transport.begins(bootstrap, [topic]).get(place, 0)
    end = transport.ends(bootstrap, [topic]).get(place, 0)
    expected = first
    with Reader(bootstrap, {place: start}) as reader:
        while expected <= last and reader.positions()[place] < end:
            for message in reader.poll(_POLL_MS, _POLL_MESSAGES).get(place, ()):
                told = orjson.loads(message.value or b"{}")
                if "id" in told and told["seq"] == expected:  # others: progress, and what is here
                    yield told
                    expected += 1
    if expected <= last:
        asked = f"asked for the published predictions from {first} to {last}"
        raise CorruptError(topic, asked, f"it has no prediction {expected}", _DO)


def _short(told: dict[str, Any]) -> str:
    return orjson.dumps(told, default=str).decode()[:300]
