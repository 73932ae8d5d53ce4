"""Sources as they are declared, and the expressions over their columns."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot.errors import SqlglotError

from headrace.operators.expression import Call, Expression, parse
from headrace.operators.source import AT, Column, Source
from headrace.operators.streams.stream import Origin
from headrace.operators.types import Type
from headrace.pipelines.document import Document, Place
from headrace.pipelines.schema import PipelineForm, SourceForm

__all__ = ["check_nesting", "columns_of", "expression_of", "sources_of"]

MAX_EXPRESSION = 1000
MAX_NESTING = 100


def sources_of(form: PipelineForm, document: Document) -> dict[str, Source]:
    """Give the declared sources by name, in the file's order."""
    sources: dict[str, Source] = {}
    topics: dict[str, str] = {}
    for name, source in form.sources.items():
        topic = source.topic or name
        place = ("sources", name, "topic") if source.topic else ("sources", name)
        asked = f"asked for the topic {topic!r}"
        if topic in topics:
            found = f"the source {topics[topic]!r} reads it already"
            do = "declare a topic once, with all its columns"
            raise document.refuse(place, asked, found, do, key=source.topic is None)
        if topic.startswith(f"{form.pipeline}."):
            found = "headrace writes the topics that begin with the pipeline's name and a dot"
            raise document.refuse(place, asked, found, "read another topic")
        topics[topic] = name
        _check_files(name, source, form.every, document)
        sources[name] = _source(name, topic, source, document)
    return sources


def _check_files(name: str, form: SourceForm, every_ms: int, document: Document) -> None:
    """Refuse a hand-over from nothing, one within a step, and a topic that nobody would read."""
    place = ("sources", name, "live_from")
    asked = f"asked for a hand-over of the source {name!r}"
    if form.live_from is not None and form.files is None:
        found = f"the source {name!r} has no files, which would count before it"
        raise document.refuse(place, asked, found, "add `files:`, or remove it", key=True)
    if form.live_from is not None and form.live_from % every_ms:
        found = f"it is within a step of {document.written('every', '1s')}"
        raise document.refuse(place, asked, found, "choose the end of a step")
    if form.files is not None and form.live_from is None and form.topic is not None:
        asked = f"asked for the topic {form.topic!r} beside files"
        found, do = "nothing says from when on it counts", "add `live_from:`, or remove the topic"
        raise document.refuse(("sources", name, "topic"), asked, found, do)


def _source(name: str, topic: str, form: SourceForm, document: Document) -> Source:
    columns = tuple(
        Column(column, Type(kind), required) for column, (kind, required) in form.columns.items()
    )
    types = {AT: Type.INT64, **{column.name: column.type.held for column in columns}}
    derived: dict[str, Expression] = {}
    for column, text in form.derive.items():
        place = ("sources", name, "derive", column)
        if column in types:
            found = f"the source {name!r} has a column of this name"
            raise document.refuse(
                place, f"asked for the derived column {column!r}", found, "rename it", key=True
            )
        derived[column] = expression_of(text, types, document, place)
    return Source(
        name=name,
        topic=topic,
        columns=columns,
        derived=derived,
        lateness_ms=form.lateness,
        ahead_ms=form.ahead,
        idle_ms=form.idle,
        partitions=form.partitions,
        files=form.files,
        live_from_ms=form.live_from,
        keep=form.keep,
    )


def columns_of(source: Origin) -> dict[str, Type]:
    """Give the columns that features, keys and ids may use: all but `at`."""
    return {name: kind for name, kind in source.types.items() if name != AT}


def expression_of(
    text: str, types: Mapping[str, Type], document: Document, place: Place
) -> Expression:
    """Parse and type-check the SQL that stands at `place`."""
    asked = f"asked for the expression {text[:60]!r}"
    if len(text) > MAX_EXPRESSION:
        found = f"it has more than {MAX_EXPRESSION} characters"
        raise document.refuse(place, asked, found, "write it shorter")
    try:
        with document.at(*place):
            tree = parse(text, types)
    except (SqlglotError, ValueError) as error:  # ValueError: a number such as 0.2.5
        found = " ".join(str(error).split())[:80]
        do = "write one SQL expression over the columns"
        raise document.refuse(place, asked, found, do) from error
    except RecursionError as error:
        found = "it is nested too deep"
        raise document.refuse(place, asked, found, "write it shorter") from error
    check_nesting(tree, asked, document, place)
    return tree


def check_nesting(tree: Expression, asked: str, document: Document, place: Place) -> None:
    """Refuse what is nested so deep that an engine could not read it."""
    if _depth(tree) > MAX_NESTING:
        found = f"it is nested deeper than {MAX_NESTING} levels"
        raise document.refuse(place, asked, found, "write it shorter")


def _depth(tree: Expression) -> int:
    return 1 + max(map(_depth, tree.arguments), default=0) if isinstance(tree, Call) else 1
