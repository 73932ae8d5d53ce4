"""What `FeatureStore` asks: a store process that runs, or a store's file that is opened here.

::

    FeatureStore ─┬─ Running ─ HTTP ──► the store process of a pipeline
                  └─ Opened ──────────► the DuckDB file, its indexes in this process
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from headrace.feature_store.store import Store
from headrace.feature_store.training import Asking, Read
from headrace.jobs import assembly
from headrace.jobs.serving.client import Client
from headrace.jobs.serving.rows import MOST_ROWS
from headrace.operators.errors import StoreError
from headrace.operators.source import AT
from headrace.operators.types import Type
from headrace.operators.view import bound
from headrace.pipelines.load import load

__all__ = ["OnlineFeatures", "Opened", "Running", "Stored"]

Entity = Mapping[str, Any]
_SENT_ROWS = 50_000


@dataclass(frozen=True)
class OnlineFeatures:
    """Features as of a time, and how far each view was complete when they were read.

    Parameters
    ----------
    rows
        A row for each entity, in the order they were given.
    complete_to
        Of each view the time, ms UTC, to which it was complete.
    stale_ms
        Of each view how far that is before b, the end of what its features count: where it is 0 the
        values are final, else events of between may be missing in them.

    """

    rows: pa.Table
    complete_to: Mapping[str, int]
    stale_ms: Mapping[str, int]

    def to_arrow(self) -> pa.Table:
        """Give them as an Arrow table."""
        return self.rows

    def to_dict(self) -> dict[str, list[Any]]:
        """Give each feature's values."""
        values: dict[str, list[Any]] = self.rows.to_pydict()
        return values

    def to_df(self) -> Any:
        """Give them as a pandas frame, in which int64 and bool keep nulls."""
        import pandas as pd

        kinds = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        return self.rows.to_pandas(types_mapper=kinds.get)


class Stored(Protocol):
    """Where features are asked for."""

    @property
    def features(self) -> Mapping[str, Sequence[str]]:
        """Give the features' names, by view; those computed of others under ""."""

    def online(self, names: Sequence[str], entities: Sequence[Entity], at: int) -> OnlineFeatures:
        """Read features of entities as of a time."""

    def historical(
        self, names: Sequence[str], at: str | None, *, statuses: bool
    ) -> tuple[Asking, Read, int]:
        """Say what is asked of decisions, what reads it, and of how many rows at once."""

    def sql(self, query: str) -> pa.Table:
        """Ask one SELECT."""

    def close(self) -> None:
        """Let go of it."""


class Running:
    """The store process of a running pipeline.

    Parameters
    ----------
    state
        The pipeline's state folder, in which the process says where it listens.

    """

    def __init__(self, state: Path) -> None:
        self._client = Client(state / "store" / "address.json")
        self._schema: pa.Schema | None = None

    @property
    def features(self) -> Mapping[str, Sequence[str]]:
        """Ask for the features' names, once."""
        found: dict[str, list[str]] = {}
        for name in self._known().names:
            found.setdefault(self._asked_by(name)["view"], []).append(name)
        return found

    def _known(self) -> pa.Schema:
        if self._schema is None:
            self._schema = self._client.feature_schema()
        return self._schema

    def _asked_by(self, name: str) -> dict[str, Any]:
        asked_by: dict[str, Any] = json.loads(self._known().field(name).metadata[b"asked_by"])
        return asked_by

    def online(self, names: Sequence[str], entities: Sequence[Entity], at: int) -> OnlineFeatures:
        """Ask the process, in parts; columns that an entity lacks are null, others passed over."""
        needed = {key for name in names for key in self._keys(name)}
        rows = [{**{k: v for k, v in e.items() if k in needed}, AT: at} for e in entities]
        parts = [rows[i : i + MOST_ROWS] for i in range(0, len(rows), MOST_ROWS)] or [rows]
        answers = [self._client.features(part) for part in parts]
        answer = answers[0]  # the least complete
        found = [row for each in answers for row in each["features"]]
        schema = pa.schema([self._known().field(name).remove_metadata() for name in names])
        asked_by = [self._asked_by(name) for name in names]
        if any(not each["view"] for each in asked_by):  # computed, of any views
            asked_by = [self._asked_by(name) for name in self._known().names]
        steps = {each["view"]: each["every_ms"] for each in asked_by if each["view"]}
        complete = {view: answer["complete_to"][view] for view in steps}
        stale = {view: max(0, bound(at, steps[view]) - complete[view]) for view in steps}
        return OnlineFeatures(pa.Table.from_pylist(found, schema), complete, stale)

    def historical(
        self, names: Sequence[str], at: str | None, *, statuses: bool
    ) -> tuple[Asking, Read, int]:
        """Let the process read; it takes the keys of all views, and those not needed are null."""
        if statuses:
            asked = "asked a running store for the statuses of a training set"
            do = "open its file when it has stopped: FeatureStore.open"
            raise StoreError(asked, "it sends features alone", do)
        known = self._known()
        every = {k: Type(t).arrow for n in known.names for k, t in self._keys(n).items()}
        needed = {key: every[key] for name in names for key in self._keys(name)}
        fields = [known.field(name).remove_metadata() for name in names]

        def read(asked: pa.Table) -> pa.Table:
            for key, kind in every.items():
                if key not in needed:
                    asked = asked.append_column(key, pa.nulls(asked.num_rows, kind))
            return self._client.training(asked)

        return Asking(at, needed, pa.schema(fields)), read, _SENT_ROWS

    def _keys(self, name: str) -> dict[str, str]:
        keys: dict[str, str] = self._asked_by(name)["keys"]
        return keys

    def sql(self, query: str) -> pa.Table:
        """Ask the process."""
        return self._client.sql(query)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class Opened:
    """A store's DuckDB file, which no other process may have open; its tiles are in memory.

    Parameters
    ----------
    path
        The file, or the state folder that it is in.
    pipeline
        The pipeline's YAML file.

    Raises
    ------
    StoreError
        Where there is no such file, a process has it, or it holds another pipeline's tables.

    """

    def __init__(self, path: Path, pipeline: Path) -> None:
        file = path / "store" / "store.duckdb" if path.is_dir() else path
        if not file.exists():
            asked = f"asked to open the store of '{path}'"
            raise StoreError(asked, f"there is no file {file}", "give its state folder")
        declared = load(pipeline)
        if declared.store_shards > 1:
            asked, found = f"asked to open the store of '{path}'", "its tiles are in other files"
            raise StoreError(asked, found, "ask while it runs: FeatureStore(STATE)")
        self._store = Store(file, assembly.declared(declared))

    @property
    def features(self) -> Mapping[str, Sequence[str]]:
        """Give the features' names."""
        declared = self._store.declared
        found = {name: [f.name for f in view.features] for name, view in declared.views.items()}
        return {**found, "": list(declared.computed)}

    def online(self, names: Sequence[str], entities: Sequence[Entity], at: int) -> OnlineFeatures:
        """Read the indexes; columns that an entity lacks are null."""
        if self._computed(names):
            asking, read, _ = self.historical(names, None, statuses=False)
            schema = pa.schema([(AT, pa.int64()), *asking.keys.items()])
            rows = pa.Table.from_pylist([{**entity, AT: at} for entity in entities], schema)
            views = self._store.declared.views.values()
            complete = {view.name: self._store.complete(view.name) for view in views}
            stale = {v.name: max(0, bound(at, v.every_ms) - complete[v.name]) for v in views}
            return OnlineFeatures(read(rows), complete, stale)
        reader = self._store.reader(names)
        nothing = dict.fromkeys(reader.keys)
        answer = reader.read([{**nothing, **entity} for entity in entities], at)
        schema = self._store.declared.feature_schema
        kinds = {name: schema.field(name).type for name in names}
        found = pa.table({n: pa.array(answer.values[n], kind) for n, kind in kinds.items()})
        return OnlineFeatures(found, answer.complete, answer.stale_ms)

    def _computed(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self._store.declared.computed]

    def historical(
        self, names: Sequence[str], at: str | None, *, statuses: bool
    ) -> tuple[Asking, Read, int]:
        """Read the indexes; of a feature that is computed of others there is no status."""
        computed, declared = self._computed(names), self._store.declared
        if not computed:
            return *self._store.reader(names).asking(at=at, statuses=statuses), _SENT_ROWS
        if statuses:
            found = f"{computed[0]!r} is computed of others"
            asked = "asked for the statuses of features"
            raise StoreError(asked, found, "ask for the features that it is computed of")
        keys = {name: kind.arrow for name, kind in declared.asked.items()}
        fields = [declared.feature_schema.field(name).remove_metadata() for name in names]

        def read(asked: pa.Table) -> pa.Table:
            return self._store.with_features(asked).select(names)

        return Asking(at, keys, pa.schema(fields)), read, _SENT_ROWS

    def sql(self, query: str) -> pa.Table:
        """Ask the file."""
        return self._store.catalogue.select(query)

    def close(self) -> None:
        """Close the file."""
        self._store.catalogue.close()
