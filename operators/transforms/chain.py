"""Several transforms over one batch of rows; what one makes the next ones may take.

::

    rows ─┬─► impute ──► price_impute ──► standard ──► price_standard
          └─► ngrams ──► text_ngrams  ──► idf      ──► text_idf, text_idf_weights
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headrace.operators.hashing import whole_array
from headrace.operators.transforms.transform import (
    Rows,
    Sees,
    State,
    Transform,
    TransformError,
)
from headrace.operators.types import Type

__all__ = ["Chain"]

_ASKED = "asked for a chain of transforms"


class Chain:
    """Transforms in their order, with what a transform has: update, transform, advance, state.

    Where one takes what another has learned, it learns from what that one gave when the row came:
    `update` is then `advance`, and needs the event time where that one is of steps.

    Parameters
    ----------
    stages
        A stage may take what those before it make. Names of columns are made once.

    Raises
    ------
    TransformError
        Where a column is made twice, or its type is not the one that is taken. From `merge`, where
        a stage takes what another has learned: its second half saw a first stage without the first.

    Examples
    --------
    >>> from headrace.operators.transforms.impute import Impute
    >>> from headrace.operators.transforms.standard import Standard
    >>> impute = Impute("x", Type.INT64, by="constant", value=0)
    >>> chain = Chain([impute, Standard("x_impute", Type.INT64)])
    >>> chain.update(pa.table({"at": [0, 0], "x": [None, 2]}))
    >>> chain.transform(pa.table({"x": [1]})).to_pydict()
    {'x_impute': [1], 'x_impute_missing': [False], 'x_impute_standard': [0.0]}
    """

    def __init__(self, stages: Sequence[Transform]) -> None:
        self.stages = tuple(stages)
        self.inputs: dict[str, Type] = {}
        """The columns that it reads."""
        self.outputs: dict[str, Type] = {}
        """The columns that all its stages make."""
        for stage in self.stages:
            self._join(stage)
        taken = {name for stage in self.stages for name in stage.inputs}
        # Whether a later stage takes what this one has made.
        self._feeds = [not taken.isdisjoint(stage.outputs) for stage in self.stages]

    def _join(self, stage: Transform) -> None:
        for name, kind in stage.inputs.items():
            given = self.outputs.get(name) or self.inputs.setdefault(name, kind)
            if given is not kind:
                found = f"{stage.name} takes the {kind.value} {name!r}, which is a {given.value}"
                raise TransformError(_ASKED, found, "declare the type it has")
        for name, kind in stage.outputs.items():
            if name in self.inputs or name in self.outputs:
                found = f"{name!r} is there before {stage.name} makes it"
                raise TransformError(_ASKED, found, "give it another name with out")
            self.outputs[name] = kind

    def update(self, rows: Rows) -> None:
        """Learn from rows."""

        def learned(stage: Transform, rows: Rows, feeds: bool) -> pa.RecordBatch | None:
            if feeds:
                return stage.advance(rows)
            stage.update(rows)
            return None

        self._pass(rows, learned)

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the columns of all stages by all that was learned; learn nothing."""
        return self._pass(rows, lambda stage, rows, _: stage.transform(rows))

    def advance(self, rows: Rows) -> pa.RecordBatch:
        """Give the columns of all stages by what came before each row, and learn from all rows."""
        return self._pass(rows, lambda stage, rows, _: stage.advance(rows))

    def _pass(
        self, rows: Rows, work: Callable[[Transform, Rows, bool], pa.RecordBatch | None]
    ) -> pa.RecordBatch:
        columns = {name: whole_array(rows.column(name)) for name in rows.schema.names}
        made: dict[str, pa.Array] = {}
        for stage, feeds in zip(self.stages, self._feeds, strict=True):
            all_ = {**columns, **made}
            gave = work(stage, pa.RecordBatch.from_arrays([*all_.values()], names=[*all_]), feeds)
            if gave is not None:
                made.update(zip(gave.schema.names, gave.columns, strict=True))
        return pa.RecordBatch.from_arrays([*made.values()], names=[*made])

    def merge(self, later: Chain) -> None:
        """Merge stage by stage."""
        for stage, feeds in zip(self.stages, self._feeds, strict=True):
            if feeds and stage.sees is not Sees.ITSELF:
                found = f"a stage takes what {stage.name} has learned"
                asked = f"{_ASKED} to merge"
                raise TransformError(asked, found, "feed one chain all rows")
        for mine, theirs in zip(self.stages, later.stages, strict=True):
            mine.merge(theirs)

    def declared(self) -> list[dict[str, Any]]:
        """Give the declarations of the stages."""
        return [stage.declared() for stage in self.stages]

    def state(self) -> State:
        """Give the states of the stages as one; arrays are named `<stage>.<array>`, from 0 on."""
        states = [stage.state() for stage in self.stages]
        arrays = {f"{i}.{n}": a for i, state in enumerate(states) for n, a in state.arrays.items()}
        return State(arrays, {"chain": [state.facts for state in states]})

    def restore(self, state: State) -> None:
        """Go on from a state.

        Raises
        ------
        TransformError
            Where the state is of other declarations.
        """
        facts: list[Mapping[str, Any]] = state.facts["chain"]
        if (found := [each["declared"] for each in facts]) != self.declared():
            asked = f"asked a chain to go on as {self.declared()}"
            raise TransformError(asked, f"the state is of {found}", "learn anew, or declare that")
        for i, (stage, mine) in enumerate(zip(self.stages, facts, strict=True)):
            head = f"{i}."
            arrays = {n[len(head) :]: a for n, a in state.arrays.items() if n.startswith(head)}
            stage.restore(State(arrays, mine))
