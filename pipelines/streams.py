"""Streams as they are declared: looked up, in the order in which one is made of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from headrace.operators.errors import PipelineError, UnknownName
from headrace.operators.expression import Expression
from headrace.operators.source import AT, Source
from headrace.operators.streams.cast import Cast
from headrace.operators.streams.dedup import Dedup
from headrace.operators.streams.derive import Derive
from headrace.operators.streams.join import Join
from headrace.operators.streams.operator import Step, Types
from headrace.operators.streams.sample import Sample
from headrace.operators.streams.select import Select
from headrace.operators.streams.session import SESSION_START, Session
from headrace.operators.streams.split import Part, Split
from headrace.operators.streams.stream import Origin, Stream
from headrace.operators.streams.union import MOST_INPUTS, Union
from headrace.operators.streams.where import Where
from headrace.operators.types import Type
from headrace.pipelines import tables
from headrace.pipelines.document import Document, Place
from headrace.pipelines.schema import PipelineForm, StreamForm
from headrace.pipelines.sources import expression_of

__all__ = ["streams_of"]

REST = "else"


def streams_of(
    form: PipelineForm, sources: Mapping[str, Source], document: Document
) -> dict[str, Stream]:
    """Give the declared streams by name, each after those that it is made of."""
    making = _Making(form.streams, document, dict(sources))
    owners = dict.fromkeys(sources, "source")
    for name, stream in form.streams.items():
        for each, place in ((name, ("streams", name)), *_parts(name, stream)):
            if each in owners:
                found = f"a {owners[each]} has this name already"
                asked = f"asked for the stream {each!r}"
                raise document.refuse(place, asked, found, "rename one of the two", key=True)
            owners[each] = "stream"
    for name in form.streams:
        making.stream(name)
    return {name: each for name, each in making.made.items() if isinstance(each, Stream)}


def _parts(name: str, form: StreamForm) -> Iterator[tuple[str, Place]]:
    return ((part, ("streams", name, "split", part)) for part in form.split)


@dataclass
class _Making:
    """The streams made so far, and the one that is being made for the sake of which other."""

    forms: Mapping[str, StreamForm]
    document: Document
    made: dict[str, Origin]
    path: list[str] = field(default_factory=list)

    def stream(self, name: str) -> None:
        """Make a stream, its parts, and first those that it is made of."""
        if name in self.made:
            return
        form, place = self.forms[name], ("streams", name)
        self.path.append(name)
        inputs = [
            self._input(each, self.document.part((*place, "from"), i))
            for i, each in enumerate(form.from_)
        ]
        self.path.pop()
        stream = Stream(name, tuple(inputs))
        if stream.inputs[1:]:
            with self.document.at(*place, "from"):
                Union().types([each.types for each in stream.inputs])
        for n in {leaf.n for leaf in stream.leaves}:
            if n > MOST_INPUTS:
                asked, found = f"asked for a union of {n} parts", f"{MOST_INPUTS} are taken"
                raise self.document.refuse((*place, "from"), asked, found, "take fewer")
        made = _steps(form, stream.types, self.document, place)
        self.made[name] = stream = Stream(name, stream.inputs, tuple(made))
        for part in form.split:
            split = next(step for step in stream.steps if isinstance(step, Split))
            self.made[part] = Stream(part, (stream,), (Part(split, part),))

    def _input(self, name: str, place: Place) -> Origin:
        owners = {part: owner for owner, form in self.forms.items() for part in form.split}
        known = [*self.made, *self.forms, *owners]
        self.document.require("source or stream", name, dict.fromkeys(known), *place)
        needed = owners.get(name, name)
        if needed in self.path:
            around = [*self.path[self.path.index(needed) :], needed]
            found = f"the streams are cyclic: {' from '.join(around)}"
            asked = f"asked for {name!r} as a part of {self.path[-1]!r}"
            raise self.document.refuse(place, asked, found, "begin with a source")
        if needed in self.forms:
            self.stream(needed)
        return self.made[name]


def _steps(form: StreamForm, types: Types, document: Document, place: Place) -> Iterator[Step]:
    """Give what a form has, each typed over what the one before it gives, in the stated order."""
    for make in _ORDER:
        step = make(form, types, document, place)
        if step is not None:
            types = step.types(types)
            yield step


def _join(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    if form.join is None:
        return None
    place = (*place, "join")
    for name in form.join.on:
        document.require("column", name, _columns(types), *place, "on", name, key=True)
        if types[name] is Type.FLOAT64:
            found = "it is float64, and its values are compared for equality"
            at = (*place, "on", name)
            asked = f"asked for the key {name!r}"
            raise document.refuse(at, asked, found, "use another type", key=True)
    key = [tables.Wanted(there, types[name]) for name, there in form.join.on.items()]
    columns = {}
    for name, (kind, there) in form.join.columns.items():
        _new(name, types, document, (*place, "columns", name))
        columns[name] = tables.Wanted(there or name, Type(kind))
    folder = document.path.parent
    path = folder / form.join.table
    if not path.resolve().is_relative_to(folder.resolve()):
        found = "a link leads out of the pipeline's folder"
        asked = f"asked for the table {form.join.table!r}"
        raise document.refuse((*place, "table"), asked, found, "copy the file")
    with document.at(*place, "table"):
        table = tables.read(path, key, columns)
    return Join(table, tuple(form.join.on))


def _cast(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    columns: dict[str, Expression] = {}
    for name, kind in form.cast.items():
        at = (*place, "cast", name)
        document.require("column", name, _columns(types), *at, key=True)
        text = f"CAST({name} AS {Type(kind).duckdb})"
        columns[name] = expression_of(text, types, document, at)
    return Cast(columns) if columns else None


def _where(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    if form.where is None:
        return None
    place = (*place, "where")
    try:
        condition = expression_of(form.where, types, document, place)
    except PipelineError as error:
        unknown = error.__cause__
        if not isinstance(unknown, UnknownName) or unknown.name not in form.derive:
            raise
        found = "it is derived from the rows that `where` leaves"
        raise document.refuse(
            place, error.asked, found, "ask for it in a stream of its own"
        ) from error
    if condition.type is not Type.BOOL:
        asked, found = f"asked for rows where {form.where!r}", f"it is {condition.type.value}"
        raise document.refuse(place, asked, found, "write a condition, of type bool")
    return Where(condition)


def _derive(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    columns = {}
    for name, text in form.derive.items():
        at = (*place, "derive", name)
        _new(name, types, document, at)
        columns[name] = expression_of(text, types, document, at)
    return Derive(columns) if columns else None


def _new(name: str, types: Types, document: Document, place: Place) -> None:
    if name in types:
        asked, found = f"asked for the column {name!r}", "the stream has a column of this name"
        raise document.refuse(place, asked, found, "rename it", key=True)


def _sample(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    if form.sample is None:
        return None
    _keys(form.sample.by, types, document, (*place, "sample", "by"))
    return Sample(form.sample.by, float(form.sample.share))


def _dedup(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    if form.dedup is None:
        return None
    _keys(form.dedup.id, types, document, (*place, "dedup", "id"))
    return Dedup(form.dedup.id, form.dedup.within)


def _session(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    if form.session is None:
        return None
    _keys(form.session.key, types, document, (*place, "session", "key"))
    _new(SESSION_START, types, document, (*place, "session"))
    return Session(form.session.key, form.session.gap)


def _keys(names: tuple[str, ...], types: Types, document: Document, place: Place) -> None:
    for i, name in enumerate(names):
        at = document.part(place, i)
        document.require("column", name, _columns(types), *at)
        if types[name] is Type.FLOAT64:
            found = "it is float64, and its values are compared for equality"
            raise document.refuse(at, f"asked for the key {name!r}", found, "use another type")


def _select(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    if form.select is None:
        return None
    for i, name in enumerate(form.select):
        at = document.part((*place, "select"), i)
        document.require("column", name, _columns(types), *at)
    return Select(form.select)


def _split(form: StreamForm, types: Types, document: Document, place: Place) -> Step | None:
    conditions: dict[str, Expression | None] = {}
    for name, text in form.split.items():
        at = (*place, "split", name)
        tree = None if text == REST else expression_of(text, types, document, at)
        if tree is not None and tree.type is not Type.BOOL:
            asked, found = f"asked for rows where {text!r}", f"it is {tree.type.value}"
            raise document.refuse(at, asked, found, "write a condition, of type bool")
        if None in conditions.values():
            asked, found = f"asked for the part {name!r}", "the part before it takes all the rest"
            raise document.refuse(at, asked, found, f"write `{REST}` last", key=True)
        conditions[name] = tree
    return Split(conditions) if conditions else None


def _columns(types: Types) -> list[str]:
    return [name for name in types if name != AT]


_Make = Callable[[StreamForm, Types, Document, Place], Step | None]
_ORDER: tuple[_Make, ...] = (
    _join,
    _cast,
    _where,
    _derive,
    _sample,
    _dedup,
    _session,
    _select,
    _split,
)
