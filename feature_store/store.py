"""The store: panes and decisions in, features of every decision out, rows and offsets together.

::

    panes of tiles ─────► index of each view ───┐ features at (keys, t)
                  └─────► views.<view>          ▼
    panes of decisions ─► waiting ─ complete to b? ─► scored ─► predictions ─► the log
                  └─────► decisions

A decision at t is taken when every view is complete to b = ⌊t / every⌋ · every. Decisions are
numbered in their total order (at, partition, offset); predictions follow that order, so what was
published is always a prefix of the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.feature_store.backfill import EVENTS, TILES, Backfill, found, tables
from headrace.feature_store.bad_cases import BadCases
from headrace.feature_store.catalogue import Catalogue, Place
from headrace.feature_store.distant import DistantReader
from headrace.feature_store.events import Events
from headrace.feature_store.index import Index
from headrace.feature_store.older import committed, older
from headrace.feature_store.online import OnlineReader, Reader
from headrace.feature_store.panes import FIRST, Panes, read_items, read_tiles
from headrace.feature_store.shards import WHOLE, Part, Shards, Told
from headrace.feature_store.versions import (
    admit,
    features_since,
    note,
    rows_version,
    table_of,
    widen,
    widened,
)
from headrace.feature_store.worth import Worth
from headrace.operators.computed import columns_of, with_computed
from headrace.operators.drift import PSI
from headrace.operators.engines.duckdb import as_of_sql, quote
from headrace.operators.errors import CorruptError
from headrace.operators.expression import Expression
from headrace.operators.hashing import whole_array
from headrace.operators.identity import (
    computed_identity,
    feature_identity,
    lasting_identity,
    origin_identity,
    version,
)
from headrace.operators.shards import shards_of
from headrace.operators.source import AT, Source
from headrace.operators.streams.stream import Origin, roots, starts_ms
from headrace.operators.types import Type
from headrace.operators.view import END, View

__all__ = ["Declared", "Store"]

Ints = npt.NDArray[np.int64]
_DECISIONS = "decisions"
_OF_A_TIME = (PSI, "window.", "drift.", "gate.")  # told once, of a time that is over
_LOAD_ROWS = 200_000
_LOAD_TILES = 250_000
"""Tiles that are indexed at once: a part that the processor's caches hold loads twice as fast."""


@dataclass(frozen=True)
class Declared:
    """What the store must know of a pipeline."""

    every_ms: int
    views: Mapping[str, View]
    source: Origin
    id: str
    keys: Mapping[str, Sequence[str]]
    computed: Mapping[str, Expression] = field(default_factory=dict)
    worth: Worth | None = None
    label: Type = Type.BOOL
    parts: Sequence[str] = ()
    """What a prediction has a number for each of; nothing where it is one number."""
    tasks: bool = False
    """Whether these are tasks, each with a label of its own."""
    kept: Mapping[str, Source] = field(default_factory=dict)
    """The sources whose events are kept."""

    @property
    def asked(self) -> dict[str, Type]:
        """Give the decision's columns that its features need, besides `at`: keys and others."""
        keys = (name for names in self.keys.values() for name in names)
        read = (name for tree in self.computed.values() for name in columns_of(tree))
        types = self.source.types
        return {name: types[name] for name in (*keys, *read) if name in types and name != AT}

    @property
    def decision(self) -> str:
        """Give the identity of the decisions: other rows, or other numbers, have another."""
        return f"{origin_identity(self.source)} {self.id} {self.every_ms}"

    @property
    def lasting(self) -> str:
        """Give the same, but for the columns that a decision may lack."""
        return f"{lasting_identity(self.source)} {self.id} {self.every_ms}"

    @property
    def features(self) -> dict[str, str]:
        """Give the identity of every feature as it is served, by its name."""
        of_views = {
            feature.name: feature_identity(view, feature, self.keys[view.name])
            for view in self.views.values()
            for feature in view.features
        }
        trees = self.computed.items()
        return of_views | {name: computed_identity(tree, of_views) for name, tree in trees}

    @property
    def decision_schema(self) -> pa.Schema:
        """Give a decision's columns: its number, its id, its place, every column of its source."""
        names = [("seq", pa.int64()), ("id", pa.string()), ("partition", pa.int32())]
        names.append(("offset", pa.int64()))
        return pa.schema([*names, *((n, kind.arrow) for n, kind in self.source.types.items())])

    @cached_property
    def feature_schema(self) -> pa.Schema:
        """Give every feature's name and type, view by view, then the computed ones.

        Each field's ``asked_by`` says its view, its step, and what a decision must have for it.
        """
        fields = []
        for name, view in self.views.items():
            keys = zip(self.keys[name], (kind.value for kind in view.key_types), strict=True)
            asked_by = _asked_by(name, view.every_ms, dict(keys))
            fields += [
                pa.field(f.name, f.aggregate.type.arrow, metadata=asked_by) for f in view.features
            ]
        needed = {name: kind.value for name, kind in self.asked.items()}
        asked_by = _asked_by("", self.every_ms, needed)
        trees = self.computed.items()
        fields += [pa.field(name, tree.type.arrow, metadata=asked_by) for name, tree in trees]
        return pa.schema(fields)

    @property
    def predicted(self) -> pa.DataType:
        """Give the type of a prediction: a number, or a list of so many as there are parts."""
        return pa.list_(pa.float64()) if self.parts else pa.float64()

    @property
    def labelled(self) -> list[tuple[str, pa.DataType]]:
        """Give the columns of a label: of tasks each is one, with its task."""
        task = [("task", pa.string())] if self.tasks else []
        return [*task, ("label", self.label.arrow)]

    @property
    def prediction_schema(self) -> pa.Schema:
        """Give a prediction's columns: number, id, time, version, what was predicted, features.

        `shadow` is the version that was asked beside, and `p_shadow` what it predicted; both are
        null where there was none.
        """
        head = [("seq", pa.int64()), ("id", pa.string()), ("at", pa.int64())]
        head += [("version", pa.int64()), ("p", self.predicted)]
        head += [("shadow", pa.int64()), ("p_shadow", self.predicted)]
        return pa.schema([*head, *self.feature_schema])


def _asked_by(view: str, every_ms: int, keys: Mapping[str, str]) -> dict[str, str]:
    return {"asked_by": json.dumps({"view": view, "every_ms": every_ms, "keys": keys})}


class Store:
    """The state of the store process: the file, the indexes, the decisions that wait.

    Parameters
    ----------
    path
        The DuckDB file.
    declared
        What the pipeline declares.
    part
        Which part of a store in several processes it is.
    shards
        Who has the views' tiles, where it is the head of such a store.
    backfills
        Where computed history is; beside the file unless given.

    """

    def __init__(
        self,
        path: Path,
        declared: Declared,
        *,
        part: Part = WHOLE,
        shards: Shards | None = None,
        backfills: Path | None = None,
    ) -> None:
        self.path = path
        self.declared = declared
        self.part, self.shards = part, shards
        self._held = {name: part.shards_of(view.shards) for name, view in declared.views.items()}
        self._backfills = backfills or path.parent / "backfills"
        self.versions = {name: version(view) for name, view in declared.views.items()}
        """The version of each view, by the view's name: whose tiles these are in the file."""
        self.catalogue = Catalogue(path)
        self.events = Events(self.catalogue, declared.kept)
        self._indexes = {
            name: Index(view, partial(older, self.catalogue, view))
            for name, view in declared.views.items()
            if self._held[name]
        }
        self._complete: dict[tuple[str, int], int] = {}
        self.repeated_panes = 0
        """How many panes came that had come before, since it was opened."""
        with ExitStack() as opened:  # closed where the rest fails: for a repair
            opened.callback(self.catalogue.close)
            self._create()
            self._load()
            opened.pop_all()

    def _create(self) -> None:
        decision = self.declared.decision
        folder = self._backfills
        backfills = found(folder)
        new = admit(
            self.catalogue,
            self.versions.values(),
            decision,
            lasting=self.declared.lasting,
            backfilled=backfills,
            of_files=self._of_files(),
            part=self.part,
        )
        for name, view in self.declared.views.items():
            tiles = table_of(self.versions[name])
            self.catalogue.create(tiles, view.tile_schema)
            self.catalogue.show(f"views.{name}", tiles)
            for each in view.rows:
                table = table_of(self.versions[name], each.name)
                self.catalogue.create(table, view.rows_schema(each))
                self.catalogue.show(f"views.{view.companion(each)}", table)
            rows = {each.name: f"views.{quote(view.companion(each))}" for each in view.rows}
            query = as_of_sql(view, f"views.{quote(name)}", "t", rows=rows)
            self.catalogue.define(f"features.{name}", "t", query)
            if self.shards is not None:
                self._lend(name, view, self.shards)
        if self.shards is not None:
            for own in ("panes", "offsets"):
                self.catalogue.lend(own, rows=partial(self.shards.rows, own))
        widen(self.catalogue, self.declared.decision_schema)
        self.catalogue.create(_DECISIONS, self.declared.decision_schema)
        got = widened(self.catalogue)
        self._always = [n for n in self.declared.decision_schema.names if n not in got]
        self.catalogue.create("predictions", self.declared.prediction_schema)
        example = [("seq", pa.int64()), ("id", pa.string()), ("at", pa.int64())]
        example += self.declared.labelled
        self.catalogue.create("examples", pa.schema(example))
        self.cases = BadCases(self.catalogue, self.declared.worth)
        with self.catalogue.transaction():
            note(self.catalogue, new, decision, self.declared.lasting, self.part)
            for version in (version for version in new if version in backfills):
                self._take_backfill(folder, backfills[version])
        self.events.create(folder)  # after the views: a file with no view noted has not begun
        self.catalogue.checkpoint()

    def _lend(self, name: str, view: View, shards: Shards) -> None:
        """Let questions see the tiles that the shards have."""
        shown = {"": name, **{rows.name: view.companion(rows) for rows in view.rows}}
        for companion, table_name in shown.items():
            table = table_of(self.versions[name], companion)
            names = (f"views.{table_name}", f"features.{name}")
            self.catalogue.lend(table, *names, rows=partial(shards.rows, table))

    def ask_of_key(self, view: str, key: Sequence[object], query: str) -> pa.Table:
        """Ask a query of ours where the tiles of a key are."""
        if self.shards is None:
            return self.catalogue.read(query)
        return self.shards.of_key(view, key).sql(query)

    def _of_files(self) -> list[str]:
        """Name the versions whose history, or a part of it, is in files."""
        views = self.declared.views.items()
        sources = (*(view.source for _, view in views), self.declared.source)
        below = {root.name: root for source in sources for root in roots(source)}
        return [
            *(self.versions[n] for n, v in views if any(root.files for root in roots(v.source))),
            *(rows_version(root) for root in below.values() if root.files),
        ]

    def _take_backfill(self, folder: Path, backfill: Backfill) -> None:
        """Take in what was computed of a version's history; inside a transaction."""
        names = {version: name for name, version in self.versions.items()}
        view = self.declared.views.get(names.get(backfill.version, ""))
        held = self._held[view.name] if view else []
        if not held and (view or self.part.is_shard):
            return  # another part's
        for name, rows in tables(folder, backfill):
            if name == EVENTS:
                continue  # `Events` takes them
            companion = "" if name == TILES else name
            table = table_of(backfill.version, companion) if view else name
            self.catalogue.append(table, self._own(view, rows) if view else rows)
        for shard in held:
            rows, unkeyed = (backfill.rows, backfill.unkeyed) if shard == 0 else (0, 0)
            until = backfill.until
            self.catalogue.complete(
                backfill.version, shard, end=until, rows=rows, unkeyed=unkeyed, began=until
            )

    def _own(self, view: View, tiles: pa.Table) -> pa.Table:
        """Leave out the tiles of keys whose shard another part holds."""
        if self.part == WHOLE:
            return tiles
        shards = shards_of([whole_array(tiles[name]) for name in view.key], view.shards)
        return tiles.filter(pa.array(np.isin(shards, self._held[view.name])))

    def _load(self) -> None:
        """Build the indexes and the waiting decisions from what is committed."""
        panes = self.catalogue.read("SELECT name, shard, complete, began FROM panes").to_pylist()
        named = {version: name for name, version in self.versions.items()}
        self._complete = {
            (named.get(row["name"], row["name"]), row["shard"]): row["complete"] for row in panes
        }
        self._reader = self.reader()
        self._whole: dict[str, int] = {}
        self._began = {
            named.get(row["name"], row["name"]): row["began"] for row in panes if row["began"]
        }
        self._began.setdefault(_DECISIONS, starts_ms(self.declared.source))
        for name, index in self._indexes.items():
            self._see(name)
            self._fill(name, index)
        self._waiting = self.catalogue.read(
            f"SELECT {', '.join(map(quote, self.declared.decision_schema.names))} "
            f"FROM {_DECISIONS} WHERE seq > "
            "(SELECT COALESCE(MAX(seq), -1) FROM predictions) ORDER BY seq"
        ).cast(self.declared.decision_schema)
        counts = self.catalogue.read(
            f"SELECT (SELECT COUNT(*) FROM {_DECISIONS}) AS decisions, "
            "(SELECT COUNT(*) FROM predictions) AS predictions, "
            "(SELECT COUNT(*) FROM examples) AS examples, "
            "(SELECT COUNT(*) FROM dead_letters) AS dead_letters, "
            "(SELECT COUNT(*) FROM late_rows) AS late"
        ).to_pylist()[0]
        self.counts: dict[str, int] = counts
        self.cases.load()
        self._metrics: dict[str, float] = {}
        self._metrics_at = 0
        self._remember(
            self.catalogue.read(
                f"WITH learned AS (SELECT * FROM metrics WHERE NOT ({_of_a_time_sql()})) "
                'SELECT * FROM learned WHERE "at" = (SELECT MAX("at") FROM learned)'
            )
        )
        features_since(self.catalogue, self.declared.features, counts["predictions"])
        first = self.catalogue.read(f'SELECT MIN("at") AS "at" FROM {_DECISIONS}')["at"][0]
        self._first_decision: int | None = first.as_py()

    def _fill(self, name: str, index: Index) -> None:
        """Put a view's tiles into its index, part by part in the order of their ends."""
        keys = ", ".join(map(quote, index.view.key))
        if index.view.horizon_ms is None:  # else most of them are soon dropped
            counts = f"SELECT {keys}, COUNT(*) AS tiles FROM views.{quote(name)} GROUP BY ALL"
            index.expect(self.catalogue.read(counts))
        with self.catalogue.beside() as cursor:
            tiles = cursor.sql(f'SELECT * FROM views.{quote(name)} ORDER BY "end"')
            for part in _ahead(_between_ends(tiles.to_arrow_reader(_LOAD_TILES))):
                index.append(part, self._companions(index.view, part))
                index.trim(min(int(part[END][-1].as_py()), self.complete(name)))

    def _companions(self, view: View, tiles: pa.Table) -> dict[str, pa.Table]:
        """Read the companion rows of all tiles that end as some of these do."""
        ends = [tiles[END][0].as_py(), tiles[END][-1].as_py()]
        return {
            rows.name: self.catalogue.read(
                f'SELECT * FROM views.{quote(view.companion(rows))} WHERE "end" BETWEEN ? AND ?',
                ends,
            )
            for rows in view.rows
        }

    def add_tiles(self, name: str, shard: int, messages: Sequence[bytes]) -> None:
        """Take in panes of one shard of a view; inside a transaction."""
        view = self.declared.views[name]
        if self._indexes[name].due(self.complete(name)):
            held = len(self._held[name])
            self._indexes[name].trim(committed(self.catalogue, self.versions[name], held))
        after = self._complete.get((name, shard), 0)
        panes = read_tiles(view, messages, after)
        if panes is None:
            return
        self._check_shard(view, shard, panes.items)
        tiles = table_of(self.versions[name])
        tables = {rows.name: table_of(self.versions[name], rows.name) for rows in view.rows}
        self.catalogue.append(tiles, panes.items)
        for each, table in tables.items():
            self.catalogue.append(table, panes.more[each])
        if panes.items.num_rows:
            self._indexes[name].append(panes.items, panes.more)
        if panes.end > after:
            self._completed(name, shard, panes.end, panes.rows, panes.unkeyed)
        self.repeated_panes += len(panes.again)
        while panes is not None and panes.again:
            panes = read_tiles(view, panes.again, FIRST)
            if panes is not None:
                self._check_again(name, tiles, panes.items)
                for each, table in tables.items():
                    self._check_again(name, table, panes.more[each])

    def _check_shard(self, view: View, shard: int, tiles: pa.Table) -> None:
        """Refuse tiles of keys that would be asked of another shard."""
        if self.part == WHOLE:
            return
        found = shards_of([whole_array(tiles[name]) for name in view.key], view.shards)
        if (found != shard).any():
            place = int(np.argmax(found != shard))
            key = [tiles[name][place].as_py() for name in view.key]
            asked = f"asked to take tiles of the view {view.name!r} from partition {shard}"
            said = f"the key {key} belongs to partition {found[place]}"
            do = "look at who writes to the topic, and start over in a fresh state folder"
            raise CorruptError(self.catalogue.path, asked, said, do)

    def _check_again(self, name: str, table: str, rows: pa.Table, by: str = END) -> None:
        """Refuse rows of a pane that came again with other content; inside a transaction.

        Panes of before the stream began for this file are passed over. What a pane that came again
        leaves out is not seen: its table has the other shards' too.
        """
        rows = rows.filter(pc.greater_equal(rows[by], self._began.get(name, 0) + (by == END)))
        if other := self.catalogue.missing(table, rows, by):
            asked = f"asked to take a pane of {table!r} that had come before"
            found = f"{other} of its {rows.num_rows} rows are not those that it had"
            do = "look at who writes to the topic, and rebuild from a topic with one writer"
            raise CorruptError(self.catalogue.path, asked, found, do)

    def add_decisions(self, messages: Sequence[bytes]) -> None:
        """Take in panes of decisions and number them in their order; inside a transaction."""
        names = self.declared.source.types
        item = pa.struct(
            [
                ("partition", pa.int32()),
                ("offset", pa.int64()),
                *((name, kind.arrow) for name, kind in names.items()),
            ]
        )
        after = self._complete.get((_DECISIONS, 0), starts_ms(self.declared.source))
        panes = read_items(messages, after, name=_DECISIONS, item=item)
        if panes is None:
            return
        self._add_decisions(panes, after)
        self.repeated_panes += len(panes.again)
        while panes is not None and panes.again:
            panes = read_items(panes.again, FIRST, name=_DECISIONS, item=item)
            if panes is not None:
                # What came without a column may come again with it, by the job that reads it.
                has = [name for name in panes.items.column_names if name in self._always]
                self._check_again(_DECISIONS, _DECISIONS, panes.items.select(has), AT)

    def _add_decisions(self, panes: Panes, after: int) -> None:
        order = [("at", "ascending"), ("partition", "ascending"), ("offset", "ascending")]
        rows = panes.items.sort_by(order)
        start = self.counts["decisions"]
        rows = rows.append_column("seq", pa.array(np.arange(start, start + rows.num_rows)))
        rows = rows.append_column("id", pc.cast(rows[self.declared.id], pa.string()))
        decisions = rows.select(self.declared.decision_schema.names)
        self.catalogue.append(_DECISIONS, decisions)
        self.counts["decisions"] += decisions.num_rows
        self._waiting = pa.concat_tables([self._waiting, decisions])
        if self._first_decision is None and decisions.num_rows:
            self._first_decision = int(decisions["at"][0].as_py())
        if panes.end > after:
            self._completed(_DECISIONS, 0, panes.end, panes.rows, panes.unkeyed)

    @property
    def first_decision(self) -> int:
        """Give the time of the first decision ever; 0 before there is one."""
        return self._first_decision or 0

    def _completed(self, name: str, shard: int, end: int, rows: int, unkeyed: int) -> None:
        self._complete[name, shard] = end
        self._see(name)
        kept = self.versions.get(name, name)
        self.catalogue.complete(kept, shard, end=end, rows=rows, unkeyed=unkeyed)

    def _see(self, name: str) -> None:
        """Keep the time to which a view is complete: each read asks for it."""
        view = self.declared.views.get(name)
        if view is not None:
            self._whole[name] = min(
                self._complete.get((name, each), 0) for each in self._held[name]
            )

    def complete(self, name: str) -> int:
        """Give the time to which a view is complete: the earliest of its shards' last panes."""
        return self._whole[name] if self.shards is None else self.shards.complete(name)

    @property
    def waiting(self) -> int:
        """Count the decisions that have no prediction yet."""
        return int(self._waiting.num_rows)

    @property
    def decided(self) -> int:
        """Give the time before which every decision has its prediction."""
        waiting = self._waiting  # once: the servers' threads ask, too, while it changes
        if waiting.num_rows:
            return int(waiting["at"][0].as_py())
        return self._complete.get((_DECISIONS, 0), 0)

    def take_ready(self, latest: int | None = None, *, most: int | None = None) -> pa.Table:
        """Take the waiting decisions whose views are complete, with their features, in order.

        `latest` holds back decisions after that time, for one that waits for a fresher model;
        `most` all but so many. Unreachable where a shard does not answer: then all go on waiting.
        """
        least = min((self.complete(name) for name in self.declared.views), default=1 << 62)
        at = self._waiting["at"].to_numpy()
        bounds = at // self.declared.every_ms * self.declared.every_ms
        count = int(np.searchsorted(bounds, least, side="right"))
        if latest is not None:
            count = min(count, int(np.searchsorted(at, latest, side="right")))
        count = count if most is None else min(count, most)
        ready = self._waiting.slice(0, count).combine_chunks()
        taken = self.with_features(ready, final=True)
        self._waiting = self._waiting.slice(count)
        return taken

    def with_features(self, rows: pa.Table, *, final: bool = False) -> pa.Table:
        """Append every feature to rows with `at` and what is `asked`: the one way to read them.

        With `final` none that could become another; see `Reader.read_table`.
        """
        return with_computed(self._reader.read_table(rows, final=final), self.declared.computed)

    def reader(self, features: Sequence[str] | None = None) -> Reader:
        """Prepare reads of these features, or of all; any thread may use it."""
        views, keys = self.declared.views, self.declared.keys
        of_views = [f.name for view in views.values() for f in view.features]
        names = of_views if features is None else features
        if self.shards is not None:
            return DistantReader(self.shards, views, keys, names)
        return OnlineReader(self._indexes, keys, names, self.complete)

    def add_predictions(self, scored: pa.Table) -> None:
        """Keep scored decisions: decision, features, ``p`` and ``version``; in a transaction.

        Those of a shadow (``p_shadow`` and ``shadow``) may be there, too.
        """
        schema = self.declared.prediction_schema
        for name in ("shadow", "p_shadow"):
            if name not in scored.column_names:
                none = pa.nulls(scored.num_rows, schema.field(name).type)
                scored = scored.append_column(name, none)
        predictions = scored.select(schema.names)
        self.catalogue.append("predictions", predictions)
        self.counts["predictions"] += predictions.num_rows
        self.cases.predicted(predictions)

    def add(self, table: str, rows: pa.Table, count: str) -> None:
        """Append other rows and count them; inside a transaction."""
        self.catalogue.append(table, rows)
        if count:
            self.counts[count] += rows.num_rows

    def add_metrics(self, rows: pa.Table) -> None:
        """Keep what the learner tells, and its newest for `status`; inside a transaction."""
        self.add("metrics", rows, "")
        self._remember(rows)

    def add_model(self, **told: int | str) -> None:
        """Keep what is told of a version of the model; inside a transaction."""
        self.catalogue.append("models", pa.Table.from_pylist([told]))

    def last_model(self) -> int:
        """Give the number of the newest version that is kept; 0 before the first."""
        found = self.catalogue.read("SELECT COALESCE(MAX(number), 0) AS number FROM models")
        return int(found["number"][0].as_py())

    def _remember(self, rows: pa.Table) -> None:
        for row in rows.to_pylist():
            if not row["name"].startswith(_OF_A_TIME):
                self._metrics[row["name"]] = row["value"]
                self._metrics_at = max(self._metrics_at, row["at"])

    def add_examples(self, messages: Sequence[bytes]) -> None:
        """Keep the labels that came; inside a transaction."""
        head = [("seq", pa.int64()), ("id", pa.string()), ("at", pa.int64())]
        decision = pa.struct([*head, ("p", self.declared.predicted), ("version", pa.int64())])
        told = self.declared.labelled
        item = pa.struct([("at", pa.int64()), *told, ("prediction", decision)])
        after = self._complete.get(("examples", 0), 0)
        panes = read_items(messages, after, name="examples", item=item, partly=True)
        if panes is None:
            return
        self.add("examples", _examples(panes), "examples")
        self.cases.labelled(_labelled(panes))
        if panes.end > after:
            self._completed("examples", 0, panes.end, panes.rows, panes.unkeyed)
        while panes is not None and panes.again:
            panes = read_items(panes.again, FIRST, name="examples", item=item, partly=True)
            if panes is not None:
                self._check_again("examples", "examples", _examples(panes), AT)

    def predictions_after(self, seq: int) -> Iterable[pa.Table]:
        """Give predictions with their decisions from number `seq` + 1 on, in order."""
        names = ", ".join(f"d.{quote(name)}" for name in self.declared.decision_schema.names)
        features = ", ".join(f"p.{quote(name)}" for name in self.declared.feature_schema.names)
        last = self.counts["predictions"]
        for start in range(seq + 1, last, _LOAD_ROWS):
            yield self.catalogue.read(
                f"SELECT {names}, {features}, p.version, p.p FROM predictions AS p "
                "JOIN decisions AS d USING (seq) WHERE seq BETWEEN ? AND ? ORDER BY seq",
                [start, start + _LOAD_ROWS - 1],
            )

    def status(self) -> dict[str, object]:
        """Say what is there, and how far each view is complete."""
        return {
            **self.counts,
            "waiting": self.waiting,
            "decided": self.decided,
            "examples_complete": self._complete.get(("examples", 0), 0),
            "metrics": dict(self._metrics),
            "metrics_at": self._metrics_at,
            "views": self.views,
        }

    @property
    def views(self) -> dict[str, dict[str, int]]:
        """Say of each view what there is of it, and how far it is complete."""
        return {
            name: {**self._statistics(name), "complete": self.complete(name)}
            for name in self.declared.views
        }

    def telling(
        self, view: str, features: tuple[str, ...]
    ) -> Callable[[Sequence[pa.Array], Ints], Told]:
        """Prepare reads of features of a view whose tiles are here."""
        index = self._indexes[view]
        plan = index.plan([f for f in index.view.features if f.name in features])

        def told(keys: Sequence[pa.Array], at: Ints) -> Told:
            complete = self.complete(view)  # asked first
            return Told(index.read_with_status(keys, at, plan), complete)

        return told

    def _statistics(self, view: str) -> Mapping[str, int]:
        if self.shards is not None:
            return self.shards.statistics(view)
        return self._indexes[view].statistics()

    def offsets(self, places: Sequence[Place]) -> dict[Place, int]:
        """Give the next offset of each partition, 0 for those never read."""
        self.catalogue.begin(list(places))
        known = self.catalogue.offsets()
        return {place: known[place] for place in places}


def _of_a_time_sql() -> str:
    return " OR ".join(f"starts_with(name, '{prefix}')" for prefix in _OF_A_TIME)


def _examples(panes: Panes) -> pa.Table:
    prediction = panes.items["prediction"].combine_chunks()
    told = {name: panes.items[name] for name in panes.items.column_names}
    told = {name: told[name] for name in (AT, "task", "label") if name in told}
    return pa.table({"seq": prediction.field("seq"), "id": prediction.field("id"), **told})


def _labelled(panes: Panes) -> pa.Table:
    prediction = panes.items["prediction"].combine_chunks()
    told = {name: prediction.field(name) for name in ("seq", "id", "at", "p", "version")}
    return pa.table({**told, "known": panes.items[AT], "label": panes.items["label"]})


def _ahead(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Read the next part, in a thread of its own, while one is looked at."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, parts, None)
        while (part := following.result()) is not None:
            following = pool.submit(next, parts, None)
            yield part


def _between_ends(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Cut sorted tiles anew, never inside an end: their companion rows are read by it."""
    rest = batches.schema.empty_table()
    for batch in batches:
        some = pa.concat_tables([rest, pa.Table.from_batches([batch])])
        ends = some[END].to_numpy()
        cut = int(np.searchsorted(ends, ends[-1])) if len(ends) else 0
        rest = some.slice(cut)
        if cut:
            yield some.slice(0, cut)
    if rest.num_rows:
        yield rest
