"""What the store process answers over HTTP, besides the Open Inference Protocol (`inference`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from headrace.feature_store.online import Reader
from headrace.feature_store.questions import Limits
from headrace.jobs.checks.why import why
from headrace.jobs.serving.access import ANYBODY, PREDICT, READ
from headrace.jobs.serving.endpoint import ARROW, Answer, Asked, Endpoint, Room, arrow, json
from headrace.jobs.serving.metrics import CONTENT_TYPE, Metrics
from headrace.jobs.serving.rows import MOST_ROWS, Rows
from headrace.jobs.serving.store_facts import StoreFacts
from headrace.jobs.store import StoreProcess
from headrace.online_learning.scorer import Scorer
from headrace.operators.computed import value_of
from headrace.operators.errors import StoreError, UnknownName
from headrace.operators.source import AT
from headrace.operators.types import Type

__all__ = ["Routes", "row_schema"]

_BOTH = READ | PREDICT
_MOST_FEATURES = 500
_MOST_TRAINING_BYTES = 64 << 20
_JSON = Limits(rows=100_000, size_bytes=64 << 20)
"""Of an answer as JSON: its values are Python's on the way, ten times as large."""
_MS = 1_000_000
_TYPES = {Type.BOOL: "boolean", Type.INT64: "integer", Type.FLOAT64: "number"}


class Routes:
    """Answers with what a store process has.

    Parameters
    ----------
    process
        What is served.
    rows
        Reads the requests' decisions.
    metrics
        What is counted.

    """

    def __init__(self, process: StoreProcess, rows: Rows, metrics: Metrics) -> None:
        self._process, self._rows, self._metrics = process, rows, metrics
        self._names: tuple[str, ...] = tuple(process.store.declared.feature_schema.names)
        self._known = frozenset(self._names)
        self._all = process.store.reader()

    def endpoints(self) -> list[Endpoint]:
        """List them."""
        return [*self._about_the_process(), *self._about_rows()]

    def _about_the_process(self) -> list[Endpoint]:
        ready = "Say whether its answers are fresh, or why not."
        counts = "Give Prometheus' metrics."
        schema = "Give each feature's name and type, as an Arrow stream without rows."
        why = "Say why a decision was scored as it was."
        identity = {"decision": "The decision's id."}
        return [
            Endpoint("GET", "/livez", "Say that the process runs.", self.live, ANYBODY),
            Endpoint("GET", "/healthz", "Say that the process runs.", self.live, ANYBODY),
            Endpoint("GET", "/readyz", ready, self.ready, ANYBODY),
            Endpoint("GET", "/metrics", counts, self.metrics, READ, room=Room.METRICS),
            Endpoint("GET", "/v1/status", "Say how far the process is.", self.status, READ),
            Endpoint("GET", "/v1/features", schema, self.schema, READ),
            Endpoint("GET", "/v1/why", why, self.why, READ, query=identity, room=Room.QUESTIONS),
        ]

    def _about_rows(self) -> list[Endpoint]:
        items = row_schema(self._rows)
        rows = {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_ROWS}
        names = {"type": "array", "items": {"enum": list(self._names)}, "uniqueItems": True}
        names |= {"minItems": 1, "maxItems": _MOST_FEATURES}
        status = {"type": "boolean", "description": "Say what each value stands for, too."}
        features = _object({"rows": rows, "features": names, "status": status}, "rows")
        query = _object({"query": {"type": "string"}}, "query")
        views = self._process.store.declared.views.values()
        # What is before a horizon is scanned in the file: the other requests do not wait for that.
        long = any(view.horizon_ms is not None for view in views)
        # Nor for another process.
        reads = Room.READS if long or self._process.store.shards is not None else None
        sql = "Answer one SELECT: a list of objects, or an Arrow stream where that is accepted."
        training = "Give a row of features for each decision of an Arrow stream, in order."
        return [
            Endpoint(
                "POST",
                "/v1/features",
                "Read features.",
                self.features,
                _BOTH,
                takes=features,
                room=reads,
            ),
            Endpoint(
                "POST",
                "/v1/predict",
                "Predict, and give the features that it is made from.",
                self.predict,
                PREDICT,
                takes=_object({"rows": rows}, "rows"),
                room=reads,
            ),
            Endpoint(
                "POST",
                "/v1/sql",
                sql,
                self.sql,
                READ,
                takes=query,
                gives={"type": "array", "items": {"type": "object"}},
                room=Room.QUESTIONS,
            ),
            Endpoint(
                "POST",
                "/v1/training",
                training,
                self.training,
                READ,
                takes={"type": "string", "format": "binary"},
                media_type=ARROW,
                most_bytes=_MOST_TRAINING_BYTES,
                room=Room.QUESTIONS,
            ),
        ]

    def live(self, asked: Asked) -> Answer:
        """Answer: that is all it says."""
        del asked
        return json({"status": "ok"})

    def ready(self, asked: Asked) -> Answer:
        """Say whether there is a model and every view is as fresh as declared."""
        del asked
        lacks = self.lacks()
        return json({"ready": not lacks, "lacks": lacks}, 503 if lacks else 200)

    def lacks(self) -> list[str]:
        """Say what keeps the process from being ready."""
        process = self._process
        lacks: list[str] = []
        if process.store.shards is not None:
            lacks += process.store.shards.silent.values()
        if not process.scorer.version:
            lacks.append("no version of the model has been published yet")
        bound = process.pipeline.serve.fresh_within_ms
        now = time.time_ns() // _MS
        for name, complete in self._complete(process.store.declared.views).items():
            if bound is not None and now - complete > bound:
                lacks.append(f"view {name} is complete to {complete}, {now - complete} ms ago")
        return lacks

    def metrics(self, asked: Asked) -> Answer:
        """Give what is counted, in Prometheus' text."""
        del asked
        return Answer(self._metrics.told(StoreFacts(self._process)), CONTENT_TYPE)

    def status(self, asked: Asked) -> Answer:
        """Say what the process has and how far it is."""
        del asked
        lag = [
            {"topic": topic, "partition": partition, "messages": messages}
            for (topic, partition), messages in self._process.lag().items()
        ]
        return json({**self._process.status(), "lag": lag})

    def schema(self, asked: Asked) -> Answer:
        """Give an Arrow stream without rows, whose columns are the features."""
        del asked
        return arrow(self._process.store.declared.feature_schema.empty_table())

    def features(self, asked: Asked) -> Answer:
        """Read some features, or all, as of each row's time."""
        body = asked.fields(rows=list, features=list | None, status=bool | None)
        names = self._chosen(body.get("features"))
        rows = self._rows.of_json(body["rows"], time.time_ns() // _MS)
        fresh = self._freshness(self._process.scorer)
        read = self._reader(names).read(rows, [row[AT] for row in rows])
        found = self._in_order(names, rows, read.rows())
        self._metrics.count_missing(found)
        answer: dict[str, Any] = {"features": found}
        if body.get("status"):
            of_views = {name: read.status[name] for name in names if name in read.status}
            states = zip(*of_views.values(), strict=True)
            answer["status"] = [dict(zip(of_views, each, strict=True)) for each in states]
        return json({**answer, **fresh})

    def _chosen(self, names: Sequence[object] | None) -> Sequence[str]:
        if names is None:
            return self._names
        if len(names) > _MOST_FEATURES:
            asked = f"asked for {len(names)} features"
            raise StoreError(asked, f"{_MOST_FEATURES} are answered at once", "ask in parts")
        for name in names:
            if not isinstance(name, str) or name not in self._known:
                raise UnknownName(kind="feature", name=str(name)[:100], known=self._names)
        if not names or len(set(names)) != len(names):
            asked = f"asked for the features {str(names)[:100]}"
            raise StoreError(asked, "none is named, or one twice", "name each once")
        return [str(name) for name in names]

    def _reader(self, names: Sequence[str]) -> Reader:
        """Give what reads these of the views' features; all where one is computed of others."""
        computed = self._process.store.declared.computed
        if names is self._names or any(name in computed for name in names):
            return self._all
        return self._process.store.reader(names)

    def _in_order(
        self,
        names: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        read: Sequence[dict[str, Any]],
    ) -> Sequence[dict[str, Any]]:
        """Give the features by these names, with those that are computed of others."""
        computed = self._process.store.declared.computed
        if not any(name in computed for name in names):
            return read
        trees = {name: computed[name] for name in names if name in computed}
        found = []
        for row, values in zip(rows, read, strict=True):
            whole = {**row, **values}
            known = values | {name: value_of(tree, whole) for name, tree in trees.items()}
            found.append({name: known[name] for name in names})
        return found

    def predict(self, asked: Asked) -> Answer:
        """Predict with the version that is served now; the features come with it."""
        body = asked.fields(rows=list)
        rows = self._rows.of_json(body["rows"], time.time_ns() // _MS)
        scorer = self._process.scorer
        fresh = self._freshness(scorer)
        read = self._process.store.with_features(self._rows.table(rows))
        found = read.select(list(self._names)).to_pylist()
        self._metrics.count_missing(found)
        answer = {
            "predictions": scorer.score(read).tolist(),
            **self._of(),
            "model_version": scorer.version,
            "features": found,
        }
        return json({**answer, **fresh})

    def _of(self) -> dict[str, Any]:
        """Name the numbers of a prediction, where it has several."""
        parts = self._process.store.declared.parts
        return {"of": list(parts)} if parts else {}

    def sql(self, asked: Asked) -> Answer:
        """Answer a question; as Arrow where that is accepted."""
        query, select = asked.fields(query=str)["query"], self._process.store.catalogue.select
        if ARROW in asked.accept:
            return arrow(select(query))
        table = select(query, _JSON)
        try:
            return json(table.to_pylist())
        except (OverflowError, TypeError, ValueError) as error:
            said = "asked for the answer as JSON"
            raise StoreError(said, str(error), "cast it to VARCHAR, or accept Arrow") from error

    def training(self, asked: Asked) -> Answer:
        """Read all features of each decision as of its own time."""
        parts = [self._with_features(rows) for rows in self._rows.of_arrow(asked.body)]
        schema = self._process.store.declared.feature_schema
        return arrow(pa.concat_tables(parts) if parts else schema.empty_table())

    def _with_features(self, rows: pa.Table) -> pa.Table:
        return self._process.store.with_features(rows).select(list(self._names))

    def why(self, asked: Asked) -> Answer:
        """Explain the prediction of a decision."""
        if "decision" not in asked.query:
            said, found = "asked why", "no decision is named"
            raise StoreError(said, found, "add ?decision= and its id")
        return json(why(self._process, asked.query["decision"]))

    def _freshness(self, scorer: Scorer) -> dict[str, Any]:
        """Say how fresh what is read after this is, at least; asked later it would say too much."""
        complete = self._complete(self._process.store.declared.views)
        return {"complete_to": complete, "model_through": scorer.through_ms}

    def _complete(self, views: Mapping[str, object]) -> dict[str, int]:
        return {name: self._process.store.complete(name) for name in views}


def row_schema(rows: Rows) -> dict[str, Any]:
    """Describe a row: its columns may be left out or null, but for `at`, which is then now."""
    columns: dict[str, Any] = {
        name: {"type": [_TYPES.get(kind, "string"), "null"]} for name, kind in rows.types.items()
    }
    columns["at"] = {"type": "integer", "minimum": 0, "description": "ms since 1970, UTC"}
    return _object(columns)


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "object", "properties": properties}
    return {**told, "required": list(required), "additionalProperties": False}
