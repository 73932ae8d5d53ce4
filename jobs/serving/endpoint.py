"""An endpoint of the store process: what is asked, what is answered, who may ask.

The declarations in `routes` and `inference` are all that the server, its checks and its description
(`openapi`) know of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import UnionType
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.ipc as ipc

from headrace.feature_store.shards import Unreachable
from headrace.jobs.serving.access import Refused, Role
from headrace.operators.errors import HeadraceError, StoreError

__all__ = ["ARROW", "JSON", "Answer", "Asked", "Endpoint", "Room", "arrow", "json", "refusal"]

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
_MOST_BYTES = 1 << 20
_CHUNK_ROWS = 65_536
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_BAD_REQUEST, _AWAY = 400, 503


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: the parts of its path, its query, what it accepts, its body."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    accept: str
    body: bytes

    def json(self) -> Any:
        """Read the body; nesting deeper than 1,024 is refused, as is NaN."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            asked, found = "asked with this body", f"it is no JSON: {error}"
            raise StoreError(asked, found, "see /docs for what is taken") from error

    def fields(self, **wanted: type | UnionType) -> dict[str, Any]:
        """Read the body as an object with these fields; a field of a type `X | None` may lack."""
        body, asked, do = self.json(), "asked with this body", "see /docs for what is taken"
        if not isinstance(body, dict):
            raise StoreError(asked, "it is no JSON object", do)
        unknown = [name for name in body if name not in wanted]
        if unknown:
            asked = f"asked with {', '.join(map(repr, unknown[:5]))[:200]}"
            raise StoreError(asked, f"what is taken: {', '.join(wanted)}", do)
        for name, kind in wanted.items():
            if not isinstance(body.get(name), kind):
                found = f"{name} is not there" if name not in body else f"{name} is of another type"
                raise StoreError(asked, found, do)
        return body


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: whole, or chunk by chunk."""

    body: bytes | Iterator[bytes]
    media_type: str = JSON
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


Answering = Callable[[Asked], Answer]


class Room(StrEnum):
    """What may be kept from being answered by others of its kind alone."""

    METRICS = "metrics"
    QUESTIONS = "questions"
    READS = "reads"


@dataclass(frozen=True)
class Endpoint:
    """One method at one path.

    Parameters
    ----------
    method, path
        Where it is; a part in braces is in `Asked.path`.
    about
        What it gives, in a sentence.
    answer
        Answers; a HeadraceError says why not.
    roles
        Whose tokens may ask, or `ANYBODY`; there is no default, so that none is open by oversight.
    takes, gives
        JSON schemas of the body and of the answer; None is no body.
    media_types
        Of the body; more than one is a choice.
    most_bytes
        The largest body that is read.
    room
        With what it shares the few places for what takes long, each a thread; unless given it is
        answered at once, by the thread that all requests pass.

    """

    method: str
    path: str
    about: str
    answer: Answering
    roles: frozenset[Role] | None
    takes: Mapping[str, Any] | None = None
    gives: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    query: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON
    most_bytes: int = _MOST_BYTES
    room: Room | None = None


def json(value: object, status: int = 200) -> Answer:
    """Answer with JSON; what has no form in it is written as text."""
    return Answer(orjson.dumps(value, default=str, option=_OPTIONS), JSON, status)


def arrow(table: pa.Table) -> Answer:
    """Answer with an Arrow IPC stream, a part of the rows at a time."""
    return Answer(_stream(table), ARROW)


def _stream(table: pa.Table) -> Iterator[bytes]:
    sink = _Chunks()
    with ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(_CHUNK_ROWS):
            writer.write_batch(batch)
            yield sink.taken()
    yield sink.taken()


class _Chunks:
    """A file that is written into, and gives what was written since it last gave."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(self._parts[-1])

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        """Give it."""
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole


def refusal(error: HeadraceError) -> Answer:
    """Answer with what was asked, what was found, what to do."""
    parts = {"asked": error.asked, "found": error.found, "do": error.do}
    status = error.status if isinstance(error, Refused) else _BAD_REQUEST
    status = _AWAY if isinstance(error, Unreachable) else status
    return json({"error": str(error), **parts}, status)
