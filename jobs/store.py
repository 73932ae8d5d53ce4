"""The store process: the one owner of the DuckDB file.

::

    topics ─poll─► tiles, decisions, labels ─► features ─► p ─┬─ one transaction with the offsets
       └─────────► events of sources that are kept ───────────┤
                                                              └─ then: published, from the table

Predictions are published after they are committed, in the order of their numbers. After a kill the
last message of the predictions topic says which were published; the rest is published from the
table, so each is in the topic once, with the features and the version it was made with. Where the
file is behind the topic (it was lost, repaired, or is rebuilt) what was published is taken from
there, and not made again.

Where the store has shards this process is its head: they have the views' tiles, and it reads
features from them. A decision waits while one of them does not answer.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
import pyarrow as pa

from headrace.feature_store.bad_cases import CAUSES
from headrace.feature_store.catalogue import TABLES, Place
from headrace.feature_store.shards import Part, Shard, Shards, Unreachable
from headrace.feature_store.store import Declared, Store
from headrace.jobs import assembly, telemetry, transport
from headrace.jobs.checks.drift import Period, Watch
from headrace.jobs.claims import Claim
from headrace.jobs.published import Published
from headrace.jobs.raw_events import RawEvents
from headrace.jobs.serving.metrics import REPEATED, Metrics
from headrace.jobs.serving.shard_client import ShardClient
from headrace.jobs.shard import folder_of
from headrace.jobs.taking import Taker, moves, tiles_takers, values
from headrace.jobs.transport import Message, Reader, Writer
from headrace.jobs.weights import weights_of
from headrace.online_learning.aliases import Aliases
from headrace.online_learning.registry import Registry
from headrace.online_learning.scorer import Scorer, column
from headrace.online_learning.version import Version
from headrace.operators.drift import PSI
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import CorruptError
from headrace.operators.source import Source
from headrace.pipelines.pipeline import Pipeline

__all__ = ["StoreProcess"]

_log = logging.getLogger(__name__)
_POLL_MS = 50
_AUDIT_SECONDS = 60.0
_AUDIT_RESTS = 100
"""How many times as long as an audit took it rests: where tables are large, that is longer."""
_MOST_REPEATED = 20_000_000
_BEAT_SECONDS = 2.0
_POLL_MESSAGES = 20_000
_SCORE_ROWS = 4096
"""The most decisions scored at once: a decision should not wait long for those beside it."""


class StoreProcess:
    """Reads, commits, scores and publishes, until it is told to stop.

    Parameters
    ----------
    pipeline
        The declaration.
    bootstrap
        The broker.
    folder
        For the DuckDB file.
    models
        The registry's folder.
    scores
        Whether it makes new predictions; without, it takes in what the topics have, and publishes
        nothing.
    shards
        The store's shards, where it has some: the processes below its folder unless given.

    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        bootstrap: str,
        folder: Path,
        models: Path,
        scores: bool = True,
        shards: Sequence[Shard] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.metrics = Metrics()
        self._bootstrap = bootstrap
        self._scores = scores
        declared = assembly.declared(pipeline)
        self._shards = self._sharded(declared, folder, shards)
        self.store = Store(
            folder / "store.duckdb",
            declared,
            part=Part(pipeline.store_shards),
            shards=self._shards,
        )
        with contextlib.ExitStack() as opened:  # closed where the rest fails: for a repair
            opened.callback(self.store.catalogue.close)
            self._begin(folder, models)
            opened.pop_all()

    def _sharded(
        self, declared: Declared, folder: Path, given: Sequence[Shard] | None
    ) -> Shards | None:
        count = self.pipeline.store_shards
        if count == 1:
            return None
        shards = given or [
            ShardClient(number, folder_of(folder, number) / "address.json")
            for number in range(count)
        ]
        return Shards(declared.views, declared.features, shards)

    def _begin(self, folder: Path, models: Path) -> None:
        self._claim = self._claimed(folder) if self._scores else None
        self._writer: Writer = self._claim or Writer(self._bootstrap)
        self._encoding = assembly.encoding(self.pipeline)
        self._registry = Registry(models)
        self.scorer = self._scorer(None)
        self._takers = self._assign()
        places = list(self._takers)
        self._offsets = self.store.offsets(places)
        self._reader = Reader(self._bootstrap, self._offsets, max_records=_POLL_MESSAGES)
        self._raw = RawEvents(self.store, self._bootstrap)
        self._complaint = ""
        self._refused: Version | None = None
        self._names = Aliases()
        self._shadow: Scorer | None = None
        self._stood_beside: int | None = None
        self._replaced = 0  # by the scorers before this one
        self._noted = self.store.last_model()
        self.store.catalogue.offer("weights", self._weights)
        self._audited: dict[str, int] = {}
        self._audit_again = 0.0
        self._published = -1
        self._through = 0
        self._told = time.monotonic()
        self._watch = self._watching()
        self._recover()

    def _assign(self) -> dict[Place, Taker]:
        """Say who takes the messages of each partition."""
        pipeline, store = self.pipeline, self.store
        takers = tiles_takers(pipeline, store)
        takers[pipeline.decisions_topic, 0] = lambda m: store.add_decisions(values(m))
        takers[pipeline.examples_topic, 0] = lambda m: store.add_examples(values(m))
        takers[pipeline.dead_topic, 0] = lambda m: store.add(
            "dead_letters", _refused(m, "reason"), "dead_letters"
        )
        takers[pipeline.late_topic, 0] = lambda m: store.add(
            "late_rows", _refused(m, "at", "watermark"), "late"
        )
        takers[pipeline.metrics_topic, 0] = lambda m: store.add_metrics(_metrics(m))
        return takers

    def _claimed(self, folder: Path) -> Claim:
        """Take over what a store writes."""
        pipeline = self.pipeline
        by, known = self.store.catalogue.writes_as()
        topics = [pipeline.predictions_topic]
        topics += [pipeline.bad_cases_topic] if pipeline.model.bad_cases else []
        return Claim(
            self._bootstrap,
            pipeline.claims_topic,
            "store",
            folder=folder,
            places=[(topic, 0) for topic in topics],
            by=by,
            resumed=known,  # what it committed and did not publish is not what another published
        )

    def _recover(self) -> None:
        """Publish what was committed and not published when the process before this one ended."""
        topic = self.pipeline.predictions_topic
        last = transport.last(self._bootstrap, topic, 0)
        if last is not None and last.value is not None:
            seen = orjson.loads(last.value)
            self._published = seen["seq"]
            self._through = seen.get("through", 0)
        self._told_cases = self._cases_in_topic()
        here = self.store.counts["predictions"]
        inputs = list(self._encoding.inputs)
        kind = self.store.declared.predicted
        self._known = Published(self._bootstrap, topic, here, self._published, inputs, kind)
        if self._scores:
            for rows in self.store.predictions_after(self._published):
                self._publish(rows)
            self._publish_cases()
        self._tell_drift()
        self._swap()

    def step(self) -> bool:
        """Take one poll's messages through to the log; say whether there was anything to do.

        Raises
        ------
        Superseded
            Where another store has taken over.

        """
        if self._claim is not None:
            self._claim.beat()
        messages = self._reader.poll(_POLL_MS, _POLL_MESSAGES)
        if self._shards is not None:
            self._look_at(self._shards)
        self._swap()
        raw = self._raw.poll()
        if not messages and not raw and not self.store.waiting:
            self._tell_progress()
            return False
        moved = moves(self._offsets, messages)
        with (
            telemetry.span("commit") as told,
            self.metrics.commits.time(),
            self.store.catalogue.transaction(),
        ):
            told["messages"] = sum(map(len, messages.values()))
            for place, taken in messages.items():
                self._takers[place](taken)
            known = [self._keep(each, self._known.take) for each in self._ready(self.behind)]
            scored = [] if known else [self._keep(each, self._score) for each in self._ready()]
            self._note_models()
            self._raw.keep(raw)
            self.store.catalogue.advance(moved)
            told["predictions"] = sum(rows.num_rows for rows in (*known, *scored))
        self._offsets |= {place: following for place, (_, following) in moved.items()}
        for rows in scored:
            self._publish(rows)
        self._publish_cases()
        self._tell_progress()
        self._tell_drift()
        return bool(moved or raw or known or scored)

    def _look_at(self, shards: Shards) -> None:
        """Look how far the shards are; say once who does not answer."""
        before = set(shards.silent)
        shards.look()
        for number in sorted(set(shards.silent) - before):
            _log.warning("decisions wait: %s", shards.silent[number])

    def _watching(self) -> Watch | None:
        """Watch the drift of features, where the pipeline says from which baseline."""
        drift, ask = self.pipeline.drift, self.store.catalogue.read
        if drift is None:
            return None
        last = ask(f'SELECT MAX("at") AS "at" FROM metrics WHERE starts_with(name, \'{PSI}\')')
        return Watch(
            self.store.declared,
            ask,
            baseline=Period(drift.baseline_from_ms, drift.baseline_to_ms),
            every_ms=drift.every_ms,
            told=last["at"][0].as_py(),
        )

    def _tell_drift(self) -> None:
        """Keep how far features have moved: it follows from what is committed."""
        rows = self._watch.due(self.store.decided) if self._watch else None
        if rows:
            with self.store.catalogue.transaction():
                self.store.add("metrics", rows, "")
            for row in rows.select(["name", "value"]).to_pylist():
                self.metrics.drift.labels(row["name"].removeprefix(PSI)).set(row["value"])

    def _ready(self, behind: int | None = None) -> list[pa.Table]:
        """Take the decisions that are ready, in parts: those that are `behind`, or new ones."""
        if self._shards is not None and self._shards.silent:
            return []  # they are waited for without asking them
        try:
            if behind is None:
                ready = self.store.take_ready(self._latest(), most=None if self._scores else 0)
            else:
                ready = self.store.take_ready(most=behind)
        except Unreachable as error:
            _log.warning("decisions wait: %s", error)
            return []
        return [ready.slice(at, _SCORE_ROWS) for at in range(0, ready.num_rows, _SCORE_ROWS)]

    def _keep(self, rows: pa.Table, decide: Callable[[pa.Table], pa.Table]) -> pa.Table:
        decided = decide(rows)
        self.store.add_predictions(decided)
        return decided

    @property
    def behind(self) -> int:
        """Count the predictions that are published and not in the file yet."""
        return max(0, self._published + 1 - self.store.counts["predictions"])

    @property
    def read(self) -> Mapping[Place, int]:
        """Give the next offset of every partition that it reads."""
        return {**self._offsets, **self._raw.read}

    def _latest(self) -> int | None:
        """Say how far decisions may run ahead of the model, if there is a bound."""
        bound = self.pipeline.model.max_delay_ms
        if bound is None:
            return None
        learned = self.scorer.through_ms
        if learned is not None and self._names.champion == self.scorer.version:
            # Where the gate held newer versions back, they were there to be had.
            learned = max(learned, self._names.through_ms or learned)
        return (self.store.first_decision if learned is None else learned) + bound

    def _score(self, rows: pa.Table) -> pa.Table:
        scored = _said(rows, self.scorer, "p", "version")
        return _said(scored, self._shadow, "p_shadow", "shadow") if self._shadow else scored

    def _scorer(self, version: Version | None) -> Scorer:
        kinds = self.pipeline.kinds
        kind = version.learned_by(self._encoding, kinds) if version else None
        return Scorer(self._encoding, kind or kinds[0], version)

    def _note_models(self) -> None:
        """Keep what is told of versions that are new, for the registry prunes; in a transaction."""
        # What is newer comes when it is judged.
        judged = max(self.scorer.version, self._names.judged)
        if judged <= self._noted:
            return
        for number in self._registry.numbers():
            if self._noted < number <= judged:
                with contextlib.suppress(CorruptError):
                    told = self._registry.version(number)
                    self.store.add_model(
                        number=number,
                        parent=told.parent,
                        through=told.through_ms,
                        kind=str(told.model.get("kind")),
                        metrics=orjson.dumps({**told.metrics, "gate": told.gate}).decode(),
                    )
        self._noted = judged

    def _weights(self) -> pa.Table:
        """Give the weights of the version that serves."""
        version = self.scorer.version
        return weights_of(version, self._registry.version(version).arrays() if version else {})

    def scorer_of(self, version: int) -> Scorer:
        """Give the scorer of a version that is still kept; a CorruptError where it is not."""
        if version == self.scorer.version:
            return self.scorer
        kept = self._registry.version(version) if version else None
        return self._scorer(kept)

    def _swap(self) -> None:
        """Serve the champion; keep the version there is where the champion does not load."""
        version = None
        try:
            version = self._registry.champion()
            self._names = self._registry.aliases()
            new = version is not None and version.number != self.scorer.version
            if new and version is not self._refused:
                self._replaced += self.scorer.replaced
                self.scorer = self._scorer(version)
                self.metrics.swaps.inc()
        except CorruptError as error:
            self.metrics.refused_versions.inc()
            self._refused = version  # versions never change: it is not read in every step
            if str(error) != self._complaint:
                self._complaint = str(error)
                self._fall_back()
                _log.warning("version %d stays: %s", self.scorer.version, error)
        self._stand_beside()

    def _stand_beside(self) -> None:
        """Have the shadow say, too, what it would predict of each decision; nobody is served it."""
        number = self._names.shadow
        if number == self._stood_beside:
            return
        self._stood_beside, self._shadow = number, None
        try:
            self._shadow = self._scorer(self._registry.version(number)) if number else None
        except CorruptError as error:
            _log.warning("there is no shadow: %s", error)

    def _fall_back(self) -> None:
        """Take the newest version that loads and was promoted, where the process has none yet."""
        for number in reversed(self._registry.numbers()):
            if self.scorer.version:
                break
            with contextlib.suppress(CorruptError):
                kept = self._registry.version(number)
                if not kept.held:
                    self.scorer = self._scorer(kept)

    def _publish(self, rows: pa.Table) -> None:
        """Send predictions in order: ``{"seq", "id", "at", "x", "p", "version"}``.

        And ``"shadow": {"version", "p"}`` where there was one.
        """
        topic = self.pipeline.predictions_topic
        beside = [name for name in ("shadow", "p_shadow") if name in rows.column_names]
        head = rows.select(["seq", "id", "at", "p", "version", *beside]).to_pylist()
        inputs = rows.select(list(self._encoding.inputs)).to_pylist()
        for one, x in zip(head, inputs, strict=True):
            one["x"] = x
            version, p = one.pop("shadow", None), one.pop("p_shadow", None)
            if version is not None:
                one["shadow"] = {"version": version, "p": p}
            key = one["id"].encode()
            at = one["at"]
            self._writer.send(topic, orjson.dumps(one), key=key, partition=0, timestamp_ms=at)
        self._published = head[-1]["seq"]

    def _cases_in_topic(self) -> dict[str, int]:
        """Count the cases of each cause that are in their topic."""
        if self.pipeline.model.bad_cases is not None:
            last = transport.last(self._bootstrap, self.pipeline.bad_cases_topic, 0)
            if last is not None and last.value is not None:
                told: dict[str, int] = orjson.loads(last.value)["told"]
                return told
        return dict.fromkeys(CAUSES, 0)

    def _publish_cases(self) -> None:
        """Send the cases that are committed and not in their topic yet: each once.

        ``{"cause", "number", "seq", "id", "at", "known", "p", "version", "label", "loss", "x",
        "told"}``; `told` says how many of each cause are in the topic, with this one.
        """
        told, there = self._told_cases, self.store.cases.counts
        declared = self.pipeline.model.bad_cases is not None
        if not (declared and self._scores and any(there[each] > told[each] for each in CAUSES)):
            return
        names = list(self.pipeline.inputs)
        for case in self.store.cases.after(self._told_cases, names):
            case["x"] = {name: case.pop(name) for name in names}
            self._told_cases[str(case["cause"])] += 1
            value = orjson.dumps({**case, "told": self._told_cases})
            key = str(case["id"]).encode()
            self._writer.send(self.pipeline.bad_cases_topic, value, key=key, partition=0)

    def _tell_progress(self) -> None:
        """Send ``{"seq", "through"}``: every decision before `through` has been published."""
        if not self._scores:
            return
        through = max(self.store.decided, self._through)  # a file that is behind says nothing less
        # Said again while there is nothing new: a labels job that was started again knows no
        # watermark until a message comes.
        now = time.monotonic()
        if through > self._through or (through and now - self._told > _BEAT_SECONDS):
            self._through, self._told = through, now
            value = orjson.dumps({"seq": self._published, "through": through})
            topic = self.pipeline.predictions_topic
            self._writer.send(topic, value, partition=0, timestamp_ms=through)
        self._writer.flush()

    def status(self) -> dict[str, object]:
        """Say how far the process is."""
        return {
            **self.store.status(),
            "published": self._published + 1,
            "through": self._through,
            "model_version": self.scorer.version,
            "model_through": self.scorer.through_ms,
            "inputs_replaced": self._replaced + self.scorer.replaced,
        }

    def lag(self) -> dict[Place, int]:
        """Say how many messages of each partition are in the log and not yet committed."""
        offsets = self.read
        ends = {**self._reader.highwater(), **self._raw.highwater()}
        own = {place: max(0, end - offsets[place]) for place, end in ends.items()}
        return own if self._shards is None else {**self._shards.lag(), **own}

    def audit(self) -> dict[str, int]:
        """Compare what came out of the stream with what the log has; each minute anew, or later.

        ``missing``: events of the decision's source, on time, before the time to which decisions
        are complete, less the decisions from there. The events are read here from the log itself,
        so what the views job lost would show. Without it where these events are not kept or are of
        files, too, or the decisions are of a stream; and without ``repeated_decisions`` where there
        are more than `_MOST_REPEATED` decisions, for all ids are held in memory to count them.
        """
        began = time.monotonic()
        if began < self._audit_again:
            return self._audited
        ask, source = self.store.catalogue.read, self.pipeline.decision.source
        found: dict[str, int] = {}
        live = isinstance(source, Source) and source.files is None
        if live and source.name in self.store.events.sources:
            until = self.store.decided
            kept, identity = f"events.{quote(source.name)}", quote(self.pipeline.decision.id)
            on_time = f'"at" < {until} AND NOT came_late AND {identity} IS NOT NULL'
            counts = (
                f"SELECT COUNT(*) FROM {kept} WHERE {on_time}",
                f'SELECT COUNT(*) FROM decisions WHERE "at" < {until}',
            )
            row = ask(f"SELECT ({counts[0]}) AS events, ({counts[1]}) AS decisions").to_pylist()[0]
            found["missing"] = max(0, row["events"] - row["decisions"])
        if self.store.events.sources:
            every = (
                f"(SELECT COUNT(*) FROM events.{quote(name)})" for name in self.store.events.sources
            )
            found["raw_events"] = ask(f"SELECT {' + '.join(every)} AS n")["n"][0].as_py()
        if self.store.counts["decisions"] <= _MOST_REPEATED:
            found["repeated_decisions"] = ask(REPEATED)["n"][0].as_py()
        took = time.monotonic() - began
        self._audited = found
        self._audit_again = began + max(_AUDIT_SECONDS, _AUDIT_RESTS * took)
        return found

    def close(self) -> None:
        """Stop reading and writing, close the file."""
        self._known.close()
        self._reader.close()
        self._raw.close()
        self._writer.close()
        if self._shards is not None:
            self._shards.close()
        self.store.catalogue.close()


def _said(rows: pa.Table, scorer: Scorer, p: str, version: str) -> pa.Table:
    """Append what a version predicts of each row, and which it is."""
    rows = rows.append_column(p, column(scorer.score(rows)))
    return rows.append_column(version, pa.array([scorer.version] * rows.num_rows, pa.int64()))


def _refused(messages: Sequence[Message], *more: str) -> pa.Table:
    """Make rows of dead letters or late rows: the bytes, and what their headers say."""
    facts = [dict(message.headers) for message in messages]
    text = {name: [f[name].decode() for f in facts] for name in ("source", "topic")}
    number = {name: [int(f[name]) for f in facts] for name in ("partition", "offset")}
    extra: Mapping[str, list[object]] = {name: [_plain(f[name]) for f in facts] for name in more}
    payload = pa.array([message.value for message in messages], pa.binary())
    return pa.table({**text, **number, **extra, "payload": payload})


def _plain(value: bytes) -> object:
    text = value.decode()
    return int(text) if text.isdigit() else text


def _metrics(messages: Sequence[Message]) -> pa.Table:
    rows = itertools.chain.from_iterable(orjson.loads(value) for value in values(messages))
    return pa.Table.from_pylist(list(rows), schema=TABLES["metrics"])
