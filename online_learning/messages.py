"""What the learner reads, from JSON to columns: predictions with their progress, and examples.

predictions   {"seq": 0, "id": "…", "at": ms, "x": {inputs}, "p": 0.21, "version": 3}
              where a prediction is several numbers "p" is a list of them
              {"seq": 0, "through": ms}                        progress: no more before `through`
examples      {"end": ms, "examples": [{"at": ms, "partition": 0, "offset": 7, "label": true,
                                        "prediction": {as above}}, …]}
              where a decision has several labels each is one, with its "task"
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import json

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.models.model import Inputs, Kind
from headrace.online_learning.settings import LearningError
from headrace.operators.types import Type

__all__ = ["Examples", "Parser", "Predictions"]

_DO = "look at what writes the topic; the learner takes no part of such a batch"


@dataclass(frozen=True, slots=True)
class Predictions:
    """A batch of the predictions topic; -1 where a message says nothing.

    A prediction has `at`, its `inputs` and no `through`; progress has `through`, and no `at`.
    """

    seq: NDArray[np.int64]
    at: NDArray[np.int64]
    through: NDArray[np.int64]
    inputs: Inputs  # of the predictions only, in their order, as what follows
    served: NDArray[np.float64]
    by: Mapping[str, NDArray[Any]]  # the columns by which scores are told, as texts


@dataclass(frozen=True, slots=True)
class Examples:
    """A batch of the examples topic; `pane` says which pane each example is of."""

    end: NDArray[np.int64]  # per pane
    pane: NDArray[np.int64]
    at: NDArray[np.int64]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    label: NDArray[np.float64]
    seq: NDArray[np.int64]
    decided: NDArray[np.int64]
    served: NDArray[np.float64]
    inputs: Inputs


class Parser:
    """Reads messages under an encoding: its inputs are the columns of `x`.

    Raises, at every call, LearningError with the topic and the cause when a message is no JSON, has
    another type, lacks what it must have, or has an `x` whose names are not the inputs.

    >>> from headrace.online_learning.settings import Encoding, Token
    >>> encoding = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=64, bias=False)
    >>> batch = Parser(encoding.inputs, Encoder(encoding)).predictions([
    ...     b'{"seq": 0, "id": "a", "at": 60000, "x": {"hour": 7}, "p": 0.5, "version": 0}',
    ...     b'{"seq": 0, "through": 60001}'])
    >>> batch.at.tolist(), batch.through.tolist(), batch.inputs.slots.tolist()
    ([60000, -1], [-1, 60001], [[49]])
    """

    def __init__(
        self,
        inputs: Mapping[str, Type],
        encoder: Encoder,
        kind: Kind | None = None,
        by: Sequence[str] = (),
        *,
        deep: bool = False,
    ) -> None:
        self._by = tuple(by)
        self._encoder = encoder
        self._deep = deep
        self._kind = kind or Logistic()
        self._inputs = sorted(inputs)
        x = pa.struct([(name, type_.arrow) for name, type_ in inputs.items()])
        p = pa.list_(pa.float64()) if self._kind.parts else pa.float64()
        prediction = [("seq", pa.int64()), ("at", pa.int64()), ("p", p), ("x", x)]
        self._predictions = pa.schema([*prediction, ("through", pa.int64())])
        example = [
            ("at", pa.int64()),
            ("partition", pa.int64()),
            ("offset", pa.int64()),
            ("label", self._kind.label.arrow),
            *([("task", pa.string())] if self._kind.task == "bools" else []),
            ("prediction", pa.struct(prediction)),
        ]
        examples = pa.list_(pa.struct(example))
        self._examples = pa.schema([("end", pa.int64()), ("examples", examples)])

    def predictions(self, batch: Sequence[bytes]) -> Predictions:
        """Read messages of the predictions topic."""
        table = _table("predictions", batch, self._predictions)
        at, through = (_integers(table[name], -1) for name in ("at", "through"))
        said = at >= 0
        if (said == (through >= 0)).any():
            found = "a message has both 'at' and 'through', or neither, or one below 0"
            asked = "predictions"
            raise _refusal(asked, found)
        rows = table.filter(pa.array(said)) if not said.all() else table
        if said.any():
            self._check_names("predictions", orjson.loads(batch[int(said.argmax())]))
        _present("predictions", rows, ("seq", "p", "x"))
        by = {name: _texts(pc.struct_field(rows["x"], name)) for name in self._by}
        inputs = self._inputs_of("predictions", rows["x"])
        served = self._served("predictions", rows["p"])
        return Predictions(_integers(table["seq"], -1), at, through, inputs, served, by)

    def examples(self, batch: Sequence[bytes]) -> Examples:
        """Read messages of the examples topic."""
        table = _table("examples", batch, self._examples)
        _present("examples", table, ("end", "examples"))
        lists = table["examples"].combine_chunks()
        pane = np.repeat(np.arange(len(batch)), _integers(pc.list_value_length(lists), 0))
        rows = _flat(lists.flatten())
        _present("examples", rows, rows.column_names)
        decided = _flat(rows["prediction"].combine_chunks())
        _present("examples", decided, decided.column_names)
        # A pane may be long, so that it is read again only where a name may be lacking.
        if len(pane) and None in decided["x"][0].as_py().values():
            first = orjson.loads(batch[int(pane[0])])["examples"][0]
            self._check_names("examples", first["prediction"])
        served = self._served("examples", decided["p"])
        if self._kind.task != "number" and not ((served >= 0) & (served <= 1)).all():
            asked = "examples"
            raise _refusal(asked, "a 'p' is not in [0, 1]")
        return Examples(
            end=_integers(table["end"], -1),
            pane=pane,
            at=_integers(rows["at"], -1),
            partition=_integers(rows["partition"], -1),
            offset=_integers(rows["offset"], -1),
            label=self._labels(rows),
            seq=_integers(decided["seq"], -1),
            decided=_integers(decided["at"], -1),
            served=served,
            inputs=self._inputs_of("examples", decided["x"]),
        )

    def _labels(self, rows: pa.Table) -> NDArray[np.float64]:
        """Give labels as the kind learns them, those of tasks with their task."""
        codes = self._kind.codes(rows["label"])
        if self._kind.task != "bools":
            return codes
        places = pc.index_in(rows["task"], pa.array(self._kind.parts, pa.string()))
        if places.null_count:
            found, topic = f"a 'task' is none of {', '.join(self._kind.parts)}", "examples"
            raise _refusal(topic, found)
        labels: NDArray[np.float64] = 2.0 * places.to_numpy() + codes
        return labels

    def _served(self, topic: str, p: pa.ChunkedArray) -> NDArray[np.float64]:
        """Give what was served: a number of each row, or so many as the kind has parts."""
        count = len(self._kind.parts)
        if not count:
            one: NDArray[np.float64] = p.to_numpy()
            return one
        lists = p.combine_chunks()
        if not pc.all(pc.equal(pc.list_value_length(lists), count)).as_py() and len(lists):
            raise _refusal(topic, f"a 'p' is not a list of {count} numbers")
        flat = lists.flatten()
        if flat.null_count:
            raise _refusal(topic, "a number in a 'p' is null")
        several: NDArray[np.float64] = flat.to_numpy().reshape(-1, count)
        return several

    def _inputs_of(self, topic: str, x: pa.ChunkedArray) -> Inputs:
        try:
            return self._encoder.inputs(_flat(x.combine_chunks()), deep=self._deep)
        except LearningError as error:
            asked = f"{topic}: {error.asked}"
            raise LearningError(asked, error.found, error.do) from error

    def _check_names(self, topic: str, prediction: Mapping[str, Any]) -> None:
        # The schema would read a column that nobody writes as null: one message per batch is
        # looked at to see that the writer and this learner mean the same inputs.
        x = prediction["x"]
        if not isinstance(x, dict) or not set(self._inputs) <= set(x):
            lacking = sorted(set(self._inputs) - set(x or {}))
            raise _refusal(topic, f"the 'x' of prediction {prediction.get('seq')} lacks {lacking}")


def _texts(column: pa.ChunkedArray) -> NDArray[Any]:
    """Give values as texts, null as `null`; equal ones are one object, so that rows are cheap."""
    said = column.cast(pa.string()).combine_chunks().fill_null("null").dictionary_encode()
    names = np.array([*said.dictionary.to_pylist(), None], object)
    texts: NDArray[Any] = names[said.indices.to_numpy()]
    return texts


def _table(topic: str, batch: Sequence[bytes], schema: pa.Schema) -> pa.Table:
    """Read one message per row, in order."""
    lines = b"\n".join(batch)
    try:
        table = json.read_json(
            io.BytesIO(lines),
            # One block: a message that a block's end cuts in two costs a copy, a longer one fails.
            json.ReadOptions(use_threads=False, block_size=max(len(lines), 1)),
            json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid as error:
        raise _refusal(topic, str(error)) from error
    if len(table) != len(batch):
        raise _refusal(topic, f"{len(batch)} messages hold {len(table)} JSON objects")
    return table


def _flat(structs: pa.StructArray) -> pa.Table:
    fields = [structs.type.field(i) for i in range(structs.type.num_fields)]
    return pa.table(structs.flatten(), schema=pa.schema(fields))


def _present(topic: str, table: pa.Table, names: Sequence[str]) -> None:
    for name in names:
        if table[name].null_count:
            raise _refusal(topic, f"a message has no {name!r}")


def _integers(column: pa.ChunkedArray, absent: int) -> NDArray[np.int64]:
    values: NDArray[Any] = pc.fill_null(column, absent).to_numpy()
    return values.astype(np.int64)


def _refusal(topic: str, found: str) -> LearningError:
    return LearningError(f"asked to learn from the {topic} topic", found, _DO)
