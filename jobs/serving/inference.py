"""The Open Inference Protocol, version 2, for the pipeline's model.

A request's inputs are columns of the decision (`at`, keys, request columns), and any features that
the client knows better than the store; the other features are read from it. Every column is one
tensor of as many values as there are decisions. Null, which the protocol has not, is JSON's null.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version as version_of
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from headrace.jobs.serving.access import ANYBODY, PREDICT, READ, Refused
from headrace.jobs.serving.endpoint import Answer, Asked, Endpoint, Room, json
from headrace.jobs.serving.routes import Routes
from headrace.jobs.serving.rows import MOST_ROWS, Rows, fits
from headrace.jobs.store import StoreProcess
from headrace.online_learning.scorer import Scorer
from headrace.operators.computed import with_computed
from headrace.operators.errors import CorruptError, StoreError, UnknownName
from headrace.operators.source import AT
from headrace.operators.types import Type

__all__ = ["Inference"]

_MODEL = "/v2/models/{model}"
_VERSION = _MODEL + "/versions/{version}"
_DATATYPES = {Type.BOOL: "BOOL", Type.INT64: "INT64", Type.FLOAT64: "FP64", Type.STRING: "BYTES"}
_ACCEPTED = {
    Type.BOOL: ("BOOL",),
    Type.INT64: ("INT64", "INT32", "INT16", "INT8", "UINT32", "UINT16", "UINT8"),
    Type.FLOAT64: ("FP64", "FP32", "INT64", "INT32", "INT16", "INT8"),
    Type.STRING: ("BYTES",),
}
_OUTPUTS = {"p": "FP64", "model_version": "INT64"}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}
_INFER = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}


class Inference:
    """Answers by the protocol.

    Parameters
    ----------
    process
        What is served.
    rows
        Reads decisions.
    routes
        Says whether the process is ready.

    """

    def __init__(self, process: StoreProcess, rows: Rows, routes: Routes) -> None:
        self._process, self._rows, self._routes = process, rows, routes
        declared = process.store.declared
        self._computed = declared.computed
        self._features = {
            feature.name: feature.aggregate.type
            for view in declared.views.values()
            for feature in view.features
        }
        self._given = {n: t for n, t in self._features.items() if t in _DATATYPES}
        self._inputs = {n: t for n, t in rows.types.items() if t in _DATATYPES} | self._given

    def endpoints(self) -> list[Endpoint]:
        """List them."""
        both = READ | PREDICT
        found = [
            Endpoint("GET", "/v2", "Name the server.", self.server, both),
            Endpoint("GET", "/v2/health/live", "Say that the server runs.", self.live, ANYBODY),
            Endpoint(
                "GET", "/v2/health/ready", "Say whether the server is ready.", self.ready, ANYBODY
            ),
        ]
        for path in (_MODEL, _VERSION):
            found += [
                Endpoint("GET", path, "Give a model's inputs and outputs.", self.model, both),
                Endpoint("GET", f"{path}/ready", "Say whether a model is.", self.model_ready, both),
                Endpoint(
                    "POST",
                    f"{path}/infer",
                    "Predict.",
                    self.infer,
                    PREDICT,
                    takes=_INFER,
                    room=Room.READS,
                ),
            ]
        return found

    def server(self, asked: Asked) -> Answer:
        """Name the server."""
        del asked
        return json({"name": "headrace", "version": version_of("headrace"), "extensions": []})

    def live(self, asked: Asked) -> Answer:
        """Answer: that is all it says."""
        del asked
        return json({"live": True})

    def ready(self, asked: Asked) -> Answer:
        """Say what `/readyz` says."""
        del asked
        lacks = self._routes.lacks()
        return json({"ready": not lacks, "lacks": lacks}, 503 if lacks else 200)

    def model(self, asked: Asked) -> Answer:
        """Give the inputs and outputs of the model, and the version that is served."""
        served = self._version(asked)
        inputs = [_form(name, _DATATYPES[kind]) for name, kind in self._inputs.items()]
        outputs = [_form(name, kind) for name, kind in _OUTPUTS.items()]
        if parts := self._process.store.declared.parts:  # in the order in which they are declared
            of = orjson.dumps(parts).decode()  # a parameter is one value
            outputs[0] |= {"shape": [-1, len(parts)], "parameters": {"of": of}}
        platform = f"headrace_{self._process.pipeline.model.kind.name}"
        head = {"name": asked.path["model"], "versions": [str(served)], "platform": platform}
        return json({**head, "inputs": inputs, "outputs": outputs})

    def model_ready(self, asked: Asked) -> Answer:
        """Say whether the model is there; a version that is not is an error."""
        self._version(asked)
        return json({"name": asked.path["model"], "ready": True})

    def infer(self, asked: Asked) -> Answer:
        """Predict for each row of the inputs."""
        body = asked.fields(inputs=list, id=str | None, parameters=dict | None, outputs=list | None)
        scorer = self._scorer(asked)
        names = _outputs(body.get("outputs"))
        given = self._columns(body["inputs"])
        taken = {name: given.pop(name) for name in list(given) if name in self._given}
        count = _count({**given, **taken})
        rows = [
            {
                name: values[i]
                for name, values in given.items()
                if name != AT or values[i] is not None
            }
            for i in range(count)
        ]
        whole = self._rows.of_json(rows, time.time_ns() // 1_000_000)
        table = self._process.store.with_features(self._rows.table(whole))
        for name, values in taken.items():
            place = table.column_names.index(name)
            table = table.set_column(place, name, _array(name, values, self._given[name]))
        if taken:  # what is computed of them is computed again
            table = with_computed(table.drop_columns(list(self._computed)), self._computed)
        p = scorer.score(table)
        found = {"p": p, "model_version": np.full(count, scorer.version)}
        outputs = [_tensor(name, found[name]) for name in names]
        head = {"model_name": asked.path["model"], "model_version": str(scorer.version)}
        return json({**head, **({"id": body["id"]} if body.get("id") else {}), "outputs": outputs})

    def _version(self, asked: Asked) -> int:
        return self._scorer(asked).version

    def _scorer(self, asked: Asked) -> Scorer:
        name, number = asked.path["model"], asked.path.get("version")
        if name != self._process.pipeline.name:
            known = UnknownName(kind="model", name=name[:200], known=[self._process.pipeline.name])
            raise Refused(404, known.asked, known.found, known.do)
        served = self._process.scorer
        if number is None or number == str(served.version):
            return served
        said = f"asked for version {number[:20]!r} of the model {name!r}"
        found = f"version {served.version} is served, and no such one is kept"
        if number.isascii() and number.isdigit() and 0 < int(number[:18]) < served.version:
            try:
                return self._process.scorer_of(int(number[:18]))
            except CorruptError as error:
                found = str(error)
        raise Refused(404, said, found, "ask for the model without a version")

    def _columns(self, inputs: list[Any]) -> dict[str, list[Any]]:
        """Read tensors: flat or of one column, each of its input's type."""
        columns: dict[str, list[Any]] = {}
        for i, tensor in enumerate(inputs):
            name = tensor.get("name") if isinstance(tensor, dict) else None
            said = f"asked with inputs.{i}"
            if not isinstance(name, str):
                raise StoreError(said, "it is no tensor with a name", "see /docs")
            if name not in self._inputs:
                raise UnknownName(kind="input", name=name[:200], known=list(self._inputs))
            if name in columns:
                raise StoreError(said, f"the input {name!r} came before", "give it once")
            accepted = _ACCEPTED[self._inputs[name]]
            if tensor.get("datatype") not in accepted:
                found = f"{name} is {' or '.join(accepted)}, not {str(tensor.get('datatype'))[:40]}"
                raise StoreError(said, found, "send it so")
            columns[name] = _values(said, tensor)
        return columns


def _values(said: str, tensor: Mapping[str, Any]) -> list[Any]:
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not isinstance(shape, list):
        raise StoreError(said, "its data and shape are no lists", "see /docs")
    if len(data) > MOST_ROWS:
        raise StoreError(said, f"it has more than {MOST_ROWS} values", "ask in parts")
    if shape == [len(data), 1] and all(isinstance(each, list) and len(each) == 1 for each in data):
        data = [each[0] for each in data]
    if shape not in ([len(data)], [len(data), 1]):
        found = f"its shape is {str(shape)[:60]} and it has {len(data)} values"
        raise StoreError(said, found, "give one value for each row: a shape of [rows]")
    return data


def _count(columns: Mapping[str, list[Any]]) -> int:
    counts = {len(values) for values in columns.values()}
    if len(counts) != 1:
        asked = "asked for a prediction"
        found = "no input came" if not counts else "the inputs have different numbers of rows"
        raise StoreError(asked, found, "give each input a value for each row")
    return counts.pop()


def _array(name: str, values: list[Any], kind: Type) -> pa.Array:
    for value in values:
        if value is not None and not fits(kind, value):
            asked = f"asked with the feature {name} = {repr(value)[:100]}"
            raise StoreError(asked, f"it is no {kind.value}", "mend it")
    return pa.array(values, kind.arrow)


def _outputs(asked: list[Any] | None) -> list[str]:
    if not asked:
        return list(_OUTPUTS)
    names = []
    for each in asked:
        name = each.get("name") if isinstance(each, dict) else None
        if name not in _OUTPUTS or name in names:
            raise UnknownName(kind="output", name=str(name)[:200], known=list(_OUTPUTS))
        names.append(name)
    return names


def _form(name: str, datatype: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1]}


def _tensor(name: str, values: npt.NDArray[Any]) -> dict[str, Any]:
    """Write values flat; of several classes there are as many a row."""
    shape = list(values.shape)
    head = {"name": name, "datatype": _OUTPUTS[name], "shape": shape}
    return {**head, "data": values.ravel().tolist()}
