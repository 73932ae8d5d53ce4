"""The values of a pipeline file, one by one: names, durations, times, types, edges.

Each function takes what YAML gave and returns what it means, or raises pydantic's own error with
what was asked, what was found and what to do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import NoReturn

from pydantic_core import PydanticCustomError

from headrace.online_learning.settings import LearningError
from headrace.online_learning.space import Choice, Dimension, Range
from headrace.online_learning.watching import Action
from headrace.operators.types import NO_COLUMN, WRITTEN

__all__ = [
    "DAY_MS",
    "NAME",
    "RESERVED",
    "actions",
    "beside",
    "bootstrap",
    "column_type",
    "duration",
    "edges",
    "files",
    "folder_uri",
    "host",
    "instant",
    "is_reference",
    "kind",
    "name",
    "names",
    "new_name",
    "part_name",
    "positive_duration",
    "reference",
    "rest",
    "slots",
    "span",
    "table_column",
    "topic",
    "whole_span",
]

DAY_MS = 86_400_000
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LOG = ("at", "partition", "offset", "end", "rows", "id", "seq", "p", "version")
# Columns that engines add while they read a source, keep its events, and make tiles.
_READING = ("payload", "rowtime", "form", "high", "reason", "arrived", "timestamp", "came_late")
_TILES = ("pane", "pane_time", "newest", *(f"p{i}" for i in range(1000)))
RESERVED = frozenset((*_LOG, *_READING, *_TILES))
# Tables that the jobs make beside those of sources and views, whose parts they join by `__`.
_TABLES = frozenset(("decisions", "examples", "labelled", "predictions"))
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,248}")
_NAMED = 3
_BESIDE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,200}\.(csv|parquet)")
_FILES = re.compile(r"[A-Za-z0-9_./*?=-]{1,1000}")  # no colon: no address of the network
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,39}")
_FOLDER = re.compile(r"file:///[^\s?#]+|(s3|gs|hdfs)://[^\s?#/][^\s?#]*")
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:[^\0]{1,4096}")
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_EDGES = 1000
_MOST_CLASSES = 1000


def _refuse(asked: str, found: str, do: str, *steps: str | int) -> NoReturn:
    """Raise an error whose three parts, and whose place below the value, `load` takes over."""
    facts: dict[str, object] = {"asked": asked, "found": found, "do": do, "steps": steps}
    raise PydanticCustomError("refused", "{asked}; {found}; {do}", facts)  # noqa: EM101


def duration(text: object) -> int:
    """Read a duration, in ms.

    >>> duration("90s"), duration("24h"), duration("0s")
    (90000, 86400000, 0)
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        found = "a duration is a whole number and a unit: ms, s, m, h or d"
        _refuse(f"asked for the duration {text!r}", found, "write it like 500ms, 5m or 24h")
    return int(match[1]) * _UNITS[match[2]]


def positive_duration(text: object) -> int:
    """Read a duration above 0, in ms."""
    found = duration(text)
    if found == 0:
        _refuse(f"asked for the duration {text!r}", "it must be above 0", "write it longer")
    return found


def actions(value: object) -> tuple[Action, ...]:
    """Read what is done about a change: one action, or a list.

    >>> [each.kind for each in actions(["alert", "raise_rate 3x for 1d"])]
    ['alert', 'raise_rate']
    """
    found = []
    for i, text in enumerate(value if isinstance(value, list) else [value]):
        steps = (i,) if isinstance(value, list) else ()
        head, _, last = text.partition(" for ") if isinstance(text, str) else ("", "", "")
        try:
            found.append(Action.read(head, positive_duration(last) if last else 0))
        except LearningError as error:
            _refuse(f"asked for the action {text!r}", error.found, error.do, *steps)
    return tuple(found)


def span(value: object) -> Dimension:
    """Read what a setting may be: a range of numbers, or a list of values.

    >>> span([0.01, 0.3, "log"]), span([0.0, 0.5, 1.0])
    (Range(low=0.01, high=0.3, log=True, whole=False), Choice(values=(0.0, 0.5, 1.0)))
    """
    return _span(value, whole=False)


def whole_span(value: object) -> Dimension:
    """Read what a whole number may be.

    >>> whole_span([1, 5]), whole_span([256, 1024, 4096])
    (Range(low=1, high=5, log=False, whole=True), Choice(values=(256, 1024, 4096)))
    """
    return _span(value, whole=True)


def _span(value: object, *, whole: bool) -> Dimension:
    do = (
        "write it like [1, 64, log], or [8, 16, 32] for some values"
        if whole
        else ("write it like [0.01, 0.3, log], or [0.0, 0.5, 1.0] for some values")
    )
    listed = list(value) if isinstance(value, list) else []
    log = len(listed) == _NAMED and listed[-1] == "log"
    numbers = listed[:-1] if log else listed
    kinds = (int,) if whole else (int, float)
    for i, each in enumerate(numbers):
        if type(each) not in kinds:
            found = "it is no whole number" if whole else "it is no number"
            _refuse(f"asked for a setting from {each!r}", found, do, i)
    if len(numbers) < 2:
        _refuse(f"asked for settings from {value!r}", "it takes two ends, or some values", do)
    try:
        if len(numbers) == 2:
            return Range(numbers[0], numbers[1], log=log, whole=whole)
        return Choice(tuple(numbers if whole else map(float, numbers)))
    except LearningError as error:
        _refuse(error.asked, error.found, error.do)


def name(text: object, *steps: int) -> str:
    """Check a name."""
    if not isinstance(text, str) or not NAME.fullmatch(text):
        found = "a name is a letter from a to z, then at most 62 of a-z, 0-9 and _"
        _refuse(f"asked for the name {text!r}", found, "choose another name", *steps)
    return text


def new_name(text: object) -> str:
    """Check a name that is declared here."""
    checked = name(text)
    if checked in RESERVED:
        found = "headrace uses it itself"
        _refuse(f"asked for the name {text!r}", found, "choose another name")
    return checked


def part_name(text: object) -> str:
    """Check what a source or a view is to be called."""
    checked = new_name(text)
    if checked in _TABLES or "__" in checked:
        found = "headrace makes tables of such names itself"
        _refuse(f"asked for the name {text!r}", found, "choose another name")
    return checked


def topic(text: object) -> str:
    """Check a topic's name."""
    if not isinstance(text, str) or not _TOPIC.fullmatch(text):
        found = "a topic is at most 249 letters, digits, '.', '_' and '-'"
        _refuse(f"asked for the topic {text!r}", found, "choose another topic")
    return text


def names(value: object) -> tuple[str, ...]:
    """Read one name, or a list of different ones."""
    if not isinstance(value, list):
        return (name(value),)
    do = "write it like origin or [origin, dest]"
    if not value:
        _refuse("asked for []", "it takes one name or several", do)
    checked = tuple(name(each, i) for i, each in enumerate(value))
    for i, each in enumerate(checked):
        if each in checked[:i]:
            _refuse(f"asked for {each!r} twice", "each name counts once", "keep one of the two", i)
    return checked


def column_type(value: object) -> tuple[str, bool]:
    """Read a type, and whether a value is required."""
    words = value.split() if isinstance(value, str) else []
    kinds = [kind.value for kind in WRITTEN]
    do = "write it like `int64` or `int64 required`"
    gap = NO_COLUMN.get(re.split(r"[(<\[]", words[0])[0]) if words else None
    if gap is not None:
        _refuse(f"asked for the column type {value!r}", str(gap), do)
    if not words or words[0] not in kinds or words[1:] not in ([], ["required"]):
        found = f"a column is {', '.join(kinds[:-1])} or {kinds[-1]}, and 'required' may follow"
        _refuse(f"asked for the column type {value!r}", found, do)
    return words[0], len(words) > 1


def kind(value: object) -> str:
    """Check a type."""
    if value not in ("bool", "int64", "float64", "string"):
        found = "a type is bool, int64, float64 or string"
        _refuse(f"asked for the type {value!r}", found, "write one of them")
    return str(value)


def table_column(value: object) -> tuple[str, str]:
    """Read the type of a table's column, and its name there, which is empty where it is the same.

    >>> table_column("float64"), table_column("float64 from lat")
    (('float64', ''), ('float64', 'lat'))
    """
    words = value.split() if isinstance(value, str) else []
    if len(words) == _NAMED and words[1] == "from":
        return kind(words[0]), words[2]
    if len(words) != 1:
        found = "a table's column is a type, and `from` and its name there may follow"
        do = "write it like `float64` or `float64 from lat`"
        _refuse(f"asked for the column {value!r}", found, do)
    return kind(words[0]), ""


def beside(value: object) -> str:
    """Check the path of a file that stands beside the pipeline's, or below it."""
    if not isinstance(value, str) or not _BESIDE.fullmatch(value) or ".." in value.split("/"):
        found = "a table is a file beside the pipeline's, or below it: .csv or .parquet"
        _refuse(f"asked for the table {value!r}", found, "write it like airports.csv")
    return value


def files(value: object) -> str:
    """Check a path, or a pattern of paths, of files."""
    parts = value.split("/") if isinstance(value, str) else []
    if not isinstance(value, str) or not _FILES.fullmatch(value) or ".." in parts:
        found = (
            "files are a path from the pipeline's folder on, or a whole one; * and ? may be in it"
        )
        _refuse(f"asked for the files {value!r}", found, "write it like history/*.parquet")
    return value


def instant(text: object) -> int:
    """Read a time with its zone, in ms since the epoch."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        found = "a time is a date, a time of day and a zone"
        do = "write it like 2013-02-01T05:00:00Z"
        _refuse(f"asked for the time {text!r}", found, do)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def host(value: object) -> str:
    """Check an address, or the name of a machine.

    >>> host("features.example.com"), host("0.0.0.0"), host("::1")
    ('features.example.com', '0.0.0.0', '::1')
    """
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        found = "a host is an address or a name, without a port"
        _refuse(f"asked for the host {value!r}", found, "write it like 0.0.0.0 or a.example.com")
    return value.lower()


def bootstrap(value: object) -> str:
    """Check where Kafka is: `host:port`, or a list of them, which become one text with commas.

    >>> bootstrap("kafka.example.com:9092"), bootstrap(["10.0.0.1:9092", "10.0.0.2:9092"])
    ('kafka.example.com:9092', '10.0.0.1:9092,10.0.0.2:9092')
    """
    listed = list(map(str, value)) if isinstance(value, list) else [str(value)]
    return ",".join(_address("Kafka", each, "kafka.example.com:9092") for each in listed or [""])


def rest(value: object) -> str:
    """Check where Flink's REST interface is.

    >>> rest("flink.example.com:8081")
    'flink.example.com:8081'
    """
    return _address("Flink", str(value), "flink.example.com:8081")


def _address(what: str, text: str, example: str) -> str:
    name, _, port = text.rpartition(":")
    port_is = port.isdecimal() and 0 < int(port) <= 65535
    if not port_is or not _HOST.fullmatch(name.strip("[]")):
        asked, found = f"asked for {what} at {text!r}", "that is no host with a port"
        _refuse(asked, found, f"write it like {example}")
    return text


def folder_uri(value: object) -> str:
    """Check the URI of a folder; it is given without a slash at its end.

    >>> folder_uri("s3://bucket/shop/"), folder_uri("file:///mnt/shop")
    ('s3://bucket/shop', 'file:///mnt/shop')
    """
    if not isinstance(value, str) or not _FOLDER.fullmatch(value):
        found = "that is no URI of a folder that both Flink and headrace can read"
        do = "write it like file:///mnt/flink, s3://bucket/flink, gs:// or hdfs://"
        _refuse(f"asked for the folder {value!r}", found, do)
    return value.rstrip("/")


def reference(value: object) -> str:
    """Check where a secret is; what is none is not repeated, for it may be the secret."""
    if not isinstance(value, str) or not is_reference(value):
        found = "it is written there itself, and a pipeline file is no place for a secret"
        _refuse("asked for a token", found, "write env:NAME or file:PATH, where it can be read")
    return value


def is_reference(text: str) -> bool:
    """Say whether a text says where a secret is.

    >>> is_reference("env:KAFKA_PASSWORD"), is_reference("hunter2")
    (True, False)
    """
    return bool(_REFERENCE.fullmatch(text))


def pair(value: object) -> tuple[object, object]:
    """Check a list of two."""
    if not isinstance(value, list) or len(value) != 2:
        found = "it goes from one time to another"
        do = "write it like [2013-01-01T05:00:00Z, 2013-01-08T05:00:00Z]"
        _refuse(f"asked for the baseline {value!r}", found, do)
    return value[0], value[1]


def label(value: object) -> object:
    """Check an expression, or names of tasks with one each."""
    do = "write an expression over the source's columns, or one for each task: {click: …, buy: …}"
    if isinstance(value, dict):
        if len(value) < 2:
            _refuse(f"asked for the labels {_short(value)}", "it takes two tasks or more", do)
        for task, text in value.items():
            name(task)
            if not isinstance(text, str):
                _refuse(f"asked for outcome.label.{task}", f"{_short(text)} is not text", do, task)
        return value
    if not isinstance(value, str):
        _refuse("asked for outcome.label", f"{_short(value)} is not text", "write text")
    return value


def classes(value: object) -> int | tuple[str, ...]:
    """Read how many classes there are, or their names.

    >>> classes(3), classes(["sun", "rain"])
    (3, ('sun', 'rain'))
    """
    do = "write it like 3, where labels are 0, 1 and 2, or [sun, rain], where they are texts"
    if type(value) is int and 2 <= value <= _MOST_CLASSES:
        return value
    if not isinstance(value, list) or not 2 <= len(value) <= _MOST_CLASSES:
        found = f"there are 2 to {_MOST_CLASSES}, as a number or by their names"
        _refuse(f"asked for the classes {_short(value)}", found, do)
    for i, each in enumerate(value):
        if not isinstance(each, str):
            quote = "write it in quotation marks"
            _refuse(f"asked for the class {_short(each)}", "a name is a text", quote, i)
        if each in value[:i]:
            _refuse(f"asked for the class {each!r} twice", "each is one", "keep one of the two", i)
    return tuple(value)


def _short(value: object) -> str:
    return repr(value)[:100]


def off(value: object) -> object:
    """Read a mapping, or `off` as None."""
    if not isinstance(value, dict) and value != "off":
        asked, found = "asked for model.gate", f"{value!r} is neither a mapping nor `off`"
        _refuse(asked, found, "write `off`, or limits like {least: 500}")
    return None if value == "off" else value


def slots(value: object) -> int:
    """Check a power of two."""
    if type(value) is not int or not 2 <= value <= 1 << 30 or value & (value - 1):
        found = "the number of slots is a power of two from 2 to 1073741824"
        _refuse(f"asked for {value!r} slots", found, "write it like 1048576")
    return value


def _edge(value: object, step: str | int) -> Decimal:
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return Decimal(duration(value))
    number = Decimal(repr(value)) if type(value) in (int, float) else Decimal("nan")
    if not number.is_finite():
        found = "an edge is a number or a duration"
        _refuse(f"asked for the edge {value!r}", found, "write it like 15, 0.25 or 30m", step)
    return number


def edges(value: object) -> tuple[float, ...]:
    """Read edges, written out or as {from, to, step} with both ends."""
    floats = tuple(map(float, _range(value) if isinstance(value, dict) else _listed(value)))
    for i, (low, high) in enumerate(pairwise(floats)):
        if not low < high:
            steps = () if isinstance(value, dict) else (i + 1,)
            asked = f"asked for the edge {_plain(high)} after {_plain(low)}"
            _refuse(asked, "edges must ascend", "sort them and keep each once", *steps)
    return floats


def _listed(value: object) -> list[Decimal]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_EDGES:
        asked = "asked for buckets"
        found = f"they are a list of 1 to {_MOST_EDGES} edges, or {{from: …, to: …, step: …}}"
        _refuse(asked, found, "write them like [0, 15, 60]")
    return [_edge(edge, i) for i, edge in enumerate(value)]


def _range(value: dict[object, object]) -> list[Decimal]:
    do = "write it like {from: 15, to: 95, step: 5}"
    if set(value) != {"from", "to", "step"}:
        given = ", ".join(map(str, value)) or "nothing"
        found = "a range has the keys from, to and step"
        _refuse(f"asked for buckets by {given}", found, do)
    first, last, step = (_edge(value[name], name) for name in ("from", "to", "step"))
    asked = f"asked for edges from {value['from']} to {value['to']} by {value['step']}"
    if step <= 0 or last < first:
        _refuse(asked, "edges must ascend", do)
    if (last - first) / step >= _MOST_EDGES:
        _refuse(asked, f"it makes more than {_MOST_EDGES} edges", "take a longer step")
    if (last - first) % step:
        found = f"{value['to']} is not {value['from']} and whole steps"
        _refuse(asked, found, "change `to` or `step`", "to")
    return [first + step * i for i in range(int((last - first) / step) + 1)]


def _plain(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)
