"""YAML read as plain values, with the line and the column of every key and value.

Scalars are read by YAML 1.2's core rules, in decimal only: `null`, `true`, `false`, whole numbers
and numbers with a point or an exponent; all else, times too, is text. Anchors, aliases, tags,
directives and more than one document are refused, so a small file cannot grow; bytes, characters of
a line, depth and values have bounds, so one that is not small is not read for long.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.reader import ReaderError

from headrace.operators.errors import HeadraceError, PipelineError, UnknownName

__all__ = ["Document", "Place", "Plain", "read"]

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Place = tuple[str | int, ...]
"""The keys and positions that lead to a value, from the top of the file."""

MAX_BYTES = 1 << 20
MAX_LINE = 1 << 16
"""The parser takes the square of a tag's length: 13 s for one of a MiB."""
MAX_DEPTH = 20
MAX_VALUES = 20_000

_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DIRECTIVE = re.compile("^%[^ \n]*", re.MULTILINE)
_ESCAPE = re.compile(r"\\U([0-9a-fA-F]{8})")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST = 2**63 - 1
_LONGEST = 40


@dataclass(frozen=True)
class Document:
    """A file's values, and where each stands: (line, column), counted from 1."""

    path: Path
    root: Plain
    keys: dict[Place, tuple[int, int]]
    values: dict[Place, tuple[int, int]]
    texts: dict[Place, int]
    """Of each text that stands on one line as it is: in which of its columns it begins, from 0."""
    text: str
    """The whole, as it was read."""

    def refuse(
        self, place: Place, asked: str, found: str, do: str, *, key: bool = False
    ) -> PipelineError:
        """Make the error for what stands at `place`, or for its key.

        A place that the file does not have is taken for the nearest one above it that it has; it
        is then the key that is pointed at.
        """
        line, column = self._position(place, key=key)
        return PipelineError(self.path, line, column, asked, found, do)

    @contextmanager
    def at(self, *place: str | int, key: bool = False) -> Iterator[None]:
        """Give a `HeadraceError` raised inside its place, unless it has one."""
        try:
            yield
        except PipelineError:
            raise
        except HeadraceError as error:
            refused = self.refuse(place, error.asked, error.found, error.do, key=key)
            if error.start is not None and not key and place in self.texts:
                refused.column += self.texts[place] + error.start
            raise refused from error

    def require(
        self, kind: str, name: str, known: Collection[str], *place: str | int, key: bool = False
    ) -> None:
        """Refuse a name that is none of the `known`."""
        if name not in known:
            with self.at(*place, key=key):
                raise UnknownName(kind, name, known)

    def part(self, place: Place, i: int) -> Place:
        """Give the place of part `i` of what may be written as one value or as a list."""
        return (*place, i) if (*place, i) in self.values else place

    def written(self, name: str, default: str = "") -> object:
        """Give the value of a key at the top as it is written."""
        return self.root.get(name, default) if isinstance(self.root, dict) else default

    def _position(self, place: Place, *, key: bool) -> tuple[int, int]:
        while place not in self.values and place:
            place, key = place[:-1], True
        if key and place in self.keys:
            return self.keys[place]
        return self.values[place]


def read(path: Path, text: str | None = None) -> Document:
    """Read the file at `path`, or a `text` as if it stood there.

    Raises
    ------
    PipelineError
        Where it is missing, too large, no UTF-8, no YAML, or YAML that is refused here.

    """
    found = _text(path) if text is None else text
    reader = _Reader(path, found)
    reader.check_lines(found)
    return reader.read(found)


def _text(path: Path) -> str:
    asked = "asked for a pipeline file"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        found = f"it cannot be read: {error.strerror or error}"
        raise PipelineError(path, 1, 1, asked, found, "give the path of a YAML file") from error
    if len(data) > MAX_BYTES:
        found = f"it has more than {MAX_BYTES} bytes"
        raise PipelineError(path, 1, 1, asked, found, "declare less in one file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        found = f"byte {data[error.start]:#04x} is no UTF-8"
        do = "save the file as UTF-8"
        raise PipelineError(path, line, column, asked, found, do) from error


class _Reader:
    """Turns the parser's events into values; never deeper than `MAX_DEPTH`."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.keys: dict[Place, tuple[int, int]] = {}
        self.values: dict[Place, tuple[int, int]] = {}
        self.texts: dict[Place, int] = {}
        self.events: Iterator[Any] = iter(())

    def check_lines(self, text: str) -> None:
        """Refuse what the parser should not see: lines without an end, and directives."""
        for number, line in enumerate(text.splitlines(), start=1):
            if len(line) > MAX_LINE:
                found = f"the line has more than {MAX_LINE} characters"
                asked, do = "asked for a pipeline file", "write it in several lines"
                raise self._error((number, MAX_LINE + 1), asked, found, do)
        if (match := _DIRECTIVE.search(text)) is not None:
            asked, do = f"asked for the directive {_short(match[0])}", "remove the line"
            number = text.count("\n", 0, match.start()) + 1
            raise self._error((number, 1), asked, "directives are not read", do)

    def read(self, text: str) -> Document:
        try:
            self.events = iter(YAML(typ="safe", pure=True).parse(text))
            return self._document()
        except MarkedYAMLError as error:
            line, column = _mark(error.problem_mark or error.context_mark)
            found = " ".join(part for part in (error.context, error.problem) if part)
            raise self._error((line, column), "asked for YAML", found, "correct it") from error
        except ReaderError as error:
            before = text[: error.position]
            position = before.count("\n") + 1, error.position - before.rfind("\n")
            found = f"the character U+{ord(text[error.position]):04X} is not allowed"
            raise self._error(position, "asked for YAML", found, "remove it") from error
        except (OverflowError, ValueError) as error:  # from chr(), of an escape that is too large
            if (place := _escape(text)) is None:
                raise
            found = "an escape \\U is above \\U0010FFFF"
            raise self._error(place, "asked for YAML", found, "correct it") from error
        except YAMLError as error:
            found = " ".join(str(error).split())
            raise self._error((1, 1), "asked for YAML", found, "correct it") from error

    def _document(self) -> Document:
        event = next(self.events)
        while isinstance(event, events.StreamStartEvent | events.DocumentStartEvent):
            event = next(self.events)
        if isinstance(event, events.StreamEndEvent):
            self.values[()] = (1, 1)
            return Document(self.path, None, self.keys, self.values, self.texts, self.text)
        root = self._value(event, ())
        next(self.events)
        event = next(self.events)
        if not isinstance(event, events.StreamEndEvent):
            asked = "asked for one pipeline"
            do = "keep one pipeline to a file"
            raise self._error(_mark(event.start_mark), asked, "a second document begins", do)
        return Document(self.path, root, self.keys, self.values, self.texts, self.text)

    def _value(self, event: Any, place: Place) -> Plain:
        position = self.values[place] = _mark(event.start_mark)
        if len(self.values) > MAX_VALUES:
            found = f"it has more than {MAX_VALUES} values"
            raise self._error(position, "asked for a pipeline file", found, "declare less")
        self._plain(event, position)
        if isinstance(event, events.ScalarEvent):
            self._note_text(event, place)
            return self._scalar(event, position)
        if len(place) >= MAX_DEPTH:
            found = f"it is nested deeper than {MAX_DEPTH} levels"
            raise self._error(position, "asked for a pipeline file", found, "nest less")
        if isinstance(event, events.SequenceStartEvent):
            return self._list(place)
        return self._dict(place)

    def _note_text(self, event: Any, place: Place) -> None:
        """Note where a text begins, unless escapes or lines part its characters from columns."""
        quotes = 0 if event.style is None else 1
        start, end = event.start_mark, event.end_mark
        length = len(str(event.value)) + 2 * quotes
        if start.line == end.line and end.column - start.column == length:
            self.texts[place] = quotes

    def _list(self, place: Place) -> list[Plain]:
        items: list[Plain] = []
        while not isinstance(event := next(self.events), events.SequenceEndEvent):
            items.append(self._value(event, (*place, len(items))))
        return items

    def _dict(self, place: Place) -> dict[str, Plain]:
        items: dict[str, Plain] = {}
        while not isinstance(event := next(self.events), events.MappingEndEvent):
            position = _mark(event.start_mark)
            name = self._key(event, position)
            if name in items:
                line = self.keys[*place, name][0]
                asked = f"asked for the key {_short(name)} again"
                found = f"it stands on line {line} already"
                raise self._error(position, asked, found, "keep one of the two")
            items[name] = None
            self.keys[*place, name] = position
            items[name] = self._value(next(self.events), (*place, name))
        return items

    def _key(self, event: Any, position: tuple[int, int]) -> str:
        self._plain(event, position)
        if not isinstance(event, events.ScalarEvent):
            found, do = "the key is a list or a mapping", "use a name as the key"
            raise self._error(position, "asked for a mapping", found, do)
        return str(event.value)

    def _plain(self, event: Any, position: tuple[int, int]) -> None:
        """Refuse what could make a file mean more than it says."""
        do = "write the value out"
        if isinstance(event, events.AliasEvent):
            asked = f"asked for the alias {_short(str(event.anchor))}"
            raise self._error(position, asked, "aliases are not read", do)
        if event.anchor is not None:
            asked = f"asked for the anchor {_short(str(event.anchor))}"
            raise self._error(position, asked, "anchors are not read", do)
        if event.tag is not None:
            asked = f"asked for the tag {_short(str(event.tag))}"
            raise self._error(position, asked, "tags are not read", do)
        if isinstance(event, events.ScalarEvent) and _SURROGATE.search(event.value):
            found = "an escape names half a character"
            raise self._error(position, "asked for text", found, "write the character itself")

    def _scalar(self, event: Any, position: tuple[int, int]) -> Plain:
        text = str(event.value)
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text):
            if len(text) > _LONGEST or abs(int(text)) > _LARGEST:
                found, do = "it does not fit in 64 bits", "use a smaller number"
                raise self._error(position, f"asked for the number {_short(text)}", found, do)
            return int(text)
        return float(text) if _NUMBER.fullmatch(text) else text

    def _error(self, position: tuple[int, int], asked: str, found: str, do: str) -> PipelineError:
        line, column = position
        return PipelineError(self.path, line, column, asked, found, do)


def _mark(mark: StringMark | None) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _escape(text: str) -> tuple[int, int] | None:
    """Find the first escape that names no character."""
    for match in _ESCAPE.finditer(text):
        if int(match[1], 16) > sys.maxunicode:
            before = text[: match.start()]
            return before.count("\n") + 1, match.start() - before.rfind("\n")
    return None


def _short(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
