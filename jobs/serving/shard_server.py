"""What a shard of the store answers to its head, over Arrow Flight.

::

    do_exchange  {"view": version, "features": {name: identity}}
                 keys and times ─► features, their states; how far the view was complete before
    do_get       {"sql": "SELECT …"} ─► its rows
    do_action    look ─► how far it is
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.flight as flight

from headrace.feature_store.held import Held
from headrace.feature_store.shards import Wanted
from headrace.jobs.serving.access import READ, ROLES, Access
from headrace.jobs.serving.flight import (
    Answering,
    batches_of,
    command_of,
    question_of,
    whole_batch,
)
from headrace.jobs.serving.metrics import Counts
from headrace.jobs.serving.shard_client import COMPLETE, LOOK, STATE
from headrace.operators.errors import StoreError, UnknownName

__all__ = ["ShardServer"]

_MOST_AT_ONCE = 128
_CHUNK_ROWS = 65_536


class ShardServer(Answering):
    """Serves a shard to its head.

    Parameters
    ----------
    held
        The shard.
    access, metrics, host, port
        As of `Answering`; any port that is free unless given.

    """

    def __init__(
        self, held: Held, access: Access, metrics: Counts, *, host: str, port: int = 0
    ) -> None:
        self._held = held
        super().__init__(access, metrics, host=host, port=port, most_at_once=_MOST_AT_ONCE)

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Give the features of a batch of keys and times."""
        with self.answering(context, "flight do_exchange", frozenset(ROLES)):
            wanted = _wanted(command_of(descriptor.command))
            for batch in batches_of(reader):
                *keys, at = batch.columns
                (values, states), complete = self._read(wanted, keys, at)
                columns = {**values, **{STATE + name: states[name] for name in values}}
                table = pa.table(columns).replace_schema_metadata({COMPLETE: str(complete)})
                writer.begin(table.schema)
                writer.write_batch(whole_batch(table))
                return

    def _read(self, wanted: Wanted, keys: list[pa.Array], at: pa.Array) -> Any:
        told = self._held.begin(wanted, keys, at.to_numpy())()
        return told.found, told.complete

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Answer a question that a ticket holds."""
        with self.answering(context, "flight do_get", READ):
            table = self._held.sql(question_of(command_of(ticket.ticket)))
            return flight.GeneratorStream(table.schema, iter(table.to_batches(_CHUNK_ROWS)))

    def do_action(self, context: Any, action: Any) -> Iterator[bytes]:
        """Say how far it is."""
        with self.answering(context, "flight do_action", frozenset(ROLES)):
            if action.type != LOOK:
                raise UnknownName(kind="action", name=str(action.type)[:100], known=[LOOK])
            looked = self._held.look()
            lag = [[*place, messages] for place, messages in looked.lag.items()]
            return iter([orjson.dumps({"views": looked.views, "lag": lag})])


def _wanted(command: dict[str, Any]) -> Wanted:
    match command:
        case {"view": str(view), "features": dict(features)} if len(command) == len(("v", "f")):
            return Wanted(view, features)
    asked, do = f"asked with the command {str(command)[:100]}", "ask the store: this is its shard"
    raise StoreError(asked, "it is of another form", do)
