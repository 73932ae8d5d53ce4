r"""The raw log in DuckDB: which messages are plain, and what each one says.

::

    log ─┬─ plain ── DuckDB's JSON, typed at once ────┐
         │                                            ├─► checked ─┬─► events
         └─ odd ──── message.texts ──► texts, checked ┘            └─► dead letters, late rows

A topic's messages are mostly written by one program, in one order of fields, without anything that
engines read in different ways. One regular expression knows that form: a message that it matches
has a value of its type in every column, needs no other check, and costs a sixth of what the checks
of texts cost. The form is taken from some messages of the log; it changes no verdict, only how many
messages take which way. The rest is read by `headrace.operators.message`, as the oracle reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from headrace.operators.engines.duckdb import quote
from headrace.operators.message import texts
from headrace.operators.source import (
    AT,
    AT_REASON,
    FROM_TOPIC,
    Column,
    Source,
    check_sql,
    ranges_sql,
)
from headrace.operators.types import Type

__all__ = [
    "CAME_LATE",
    "TYPED",
    "checked_file_sql",
    "checked_sql",
    "events_sql",
    "forms",
    "kept_sql",
    "kept_types",
    "known_sql",
    "odd_sql",
    "refused_sql",
]

CAME_LATE = "came_late"
"""The column that tells late rows from events: a name that nobody can declare."""
Form = tuple[str, ...]
"""The names of a message's fields, in their order."""

# 200 fields of any value make a program of RE2 well below the size at which it refuses one.
_MOST_FIELDS = 200
_NAME = re.compile("[A-Za-z0-9_.@$ -]{1,64}")  # the same in JSON and in SQL

_UNICODE = r"u(?:[0-9abcefABCEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})"  # no half of a pair
_STRING = rf'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|{_UNICODE}))*"'
# A whole number of 18 digits is an int64; a sign before a zero is for the oracle.
_WHOLE = "(?:0|-?[1-9][0-9]{0,17})"
_NUMBER = r"-?(?:0|[1-9][0-9]{0,17})(?:[.][0-9]{1,30})?"
_TIME = "(?:0|[1-9][0-9]{0,13})"
# A field that is no column may be nested, once: what is in it changes nothing.
_SCALAR = rf"(?:{_STRING}|{_NUMBER}(?:[eE][+-]?[0-9]{{1,3}})?|true|false|null)"
_FIELD = rf'"{_NAME.pattern}": ?{_SCALAR}'
_ANY = rf"{_SCALAR}|\[(?:{_SCALAR}(?:, ?{_SCALAR})*)?\]|\{{(?:{_FIELD}(?:, ?{_FIELD})*)?\}}"
_PLAIN = {
    Type.BOOL: ("true|false|null", "BOOLEAN"),
    Type.FLOAT64: (f"{_NUMBER}|null", "DOUBLE"),
    Type.INT64: (f"{_WHOLE}|null", "BIGINT"),
}
"""The types that DuckDB reads from a plain message as they are: pattern, name. Of the others it
reads the text, which for a whole number, a bool and a string is the same everywhere."""
TYPED = frozenset(_PLAIN)
"""Their columns hold values in a file's plain rows; those of others hold texts."""
_KEPT = "(reason IS NULL OR reason = 'late')"
_TEXT = (f"{_STRING}|{_WHOLE}|true|false|null", "VARCHAR")


def forms(sample: Iterable[bytes | None]) -> list[Form]:
    r"""Give the forms that messages have: each longest one, for any field may be left out.

    >>> forms([b'{"at": 1, "x": 2}', b'{"at": 1, "k": "a", "x": 2}', b"?", b'{"x": 1, "at": 2}'])
    [('at', 'k', 'x'), ('x', 'at')]
    """
    said = (texts(payload) for payload in sample)
    found = {tuple(each) for each in said if isinstance(each, dict)}
    kept: list[Form] = []
    for form in sorted(found, key=lambda form: (-len(form), form)):
        new = all(map(_NAME.fullmatch, form)) and not any(_within(form, other) for other in kept)
        if new and sum(map(len, kept)) + len(form) <= _MOST_FIELDS:
            kept.append(form)
    return kept


def _within(form: Form, other: Form) -> bool:
    """Say whether `other` has the fields of `form`, in their order."""
    rest = iter(other)
    return all(name in rest for name in form)


def known_sql(log: str, as_known_at: int) -> str:
    """Print the query for the messages that were known before a time (ms, UTC)."""
    return (
        'SELECT * EXCLUDE known FROM (SELECT *, MAX("timestamp") OVER (PARTITION BY partition '
        f'ORDER BY "offset") AS known FROM {log}) WHERE known < {as_known_at}'
    )


def odd_sql(source: Source, log: str, known: Sequence[Form]) -> str:
    """Print the query for the messages that are not plain: place, time stamp, payload.

    What `headrace.operators.message` says of them goes into the relation `odd` of `checked_sql`.
    """
    # A field ends with a comma or with the message; so its last character is to be looked at, too.
    # A line feed may follow: some writers end each message so.
    types = {column.name: _PLAIN.get(column.type, _TEXT)[0] for column in source.columns}
    patterns = {AT: _TIME, **types}
    plain = "|".join(
        "".join(
            rf'(?:"{re.escape(name)}": ?(?:{patterns.get(name, _ANY)})(?:, ?|\}}\n?\z))?'
            for name in form
        )
        for form in known
    )
    return rf"""
WITH decoded AS (
  SELECT partition, "offset", "timestamp", payload, TRY(decode(payload)) AS body FROM {log}
)
SELECT partition, "offset", "timestamp", payload FROM decoded
WHERE (regexp_full_match(body, '\{{(?:{plain})')
  AND (suffix(body, '}}') OR suffix(body, '}}' || chr(10)))) IS NOT TRUE"""


def checked_sql(source: Source, log: str, odd: str = "", *, corrected: bool = False) -> str:
    """Print the log with every column's value, or the reason why a message is no event.

    The reason of a late row is ``late``. Derived columns are NULL where there is another reason:
    they might be beyond their types.

    Parameters
    ----------
    source
        The source of the log.
    log
        A relation ``(partition INTEGER, offset BIGINT, timestamp BIGINT, payload BLOB)``.
    odd
        A relation with the messages that `odd_sql` finds: partition, offset, timestamp, `said`, a
        struct of the text that each column has, and `unread`, the reason where it is NULL; where it
        is not given there are none.
    corrected
        Take late rows for events like others.

    """
    types = ",".join(
        f'"{c.name}":"{_PLAIN.get(c.type, _TEXT)[1]}"'
        for c in (Column(AT, Type.INT64), *source.columns)
    )
    few = f' ANTI JOIN {odd} USING (partition, "offset")' if odd else ""
    read = f"""SELECT {_columns(source, f"said.{quote(AT)}", plain=True)}
  FROM (SELECT *, json_transform(decode(payload), '{{{types}}}') AS said FROM {log}{few})"""
    if odd:
        at = f"TRY_CAST(regexp_extract(said.{quote(AT)}, '^[0-9]{{1,14}}$') AS BIGINT)"
        read += f"\n  UNION ALL SELECT {_columns(source, at, plain=False)} FROM {odd}"
    punctual = str(source.starts_ms) if corrected else source.punctual_sql("high")
    return _verdicts_sql(source, read, f"""WHEN "at" < {punctual} THEN 'late'""")


def checked_file_sql(source: Source, plain: str, odd: str, *, corrected: bool = False) -> str:
    """Print the rows of one file as `checked_sql` prints a log.

    Parameters
    ----------
    source
        The source of the file.
    plain, odd
        Relations of its rows, both with partition, offset, timestamp and `said`: of `plain` a
        struct of values, those types that DuckDB reads as they are, of `odd` one of texts. `odd`
        has `unread`, too: the reason where there are none.
    corrected
        Take late rows for events like others.

    """
    at = f"TRY_CAST(regexp_extract(said.{quote(AT)}, '^[0-9]{{1,14}}$') AS BIGINT)"
    read = (
        f"SELECT {_columns(source, f'said.{quote(AT)}', plain=True)} FROM {plain}\n"
        f"  UNION ALL SELECT {_columns(source, at, plain=False)} FROM {odd}"
    )
    live, late = source.live_from_ms, ""
    if live is not None:
        late = f"""WHEN "at" >= {live} THEN '{FROM_TOPIC}' """
    if not corrected:
        late += f"""WHEN "at" < high - {source.lateness_ms} THEN 'late'"""
    return _verdicts_sql(source, read, late)


def _verdicts_sql(source: Source, read: str, late: str) -> str:
    names = [AT, *(column.name for column in source.columns)]
    derived = "".join(
        f", CASE WHEN {_KEPT} THEN {expression.sql('duckdb')} END AS {quote(name)}"
        for name, expression in source.computed.items()
    )
    listed = f'partition, "offset", {", ".join(map(quote, names))}'
    return f"""
WITH read AS (
  {read}
), high AS (
  SELECT *, MAX("at") OVER (PARTITION BY partition ORDER BY "offset") AS high FROM read
), verdicts AS (
  SELECT {listed}, CASE WHEN reason IS NOT NULL THEN reason {ranges_sql(source, "duckdb")}
    {late} ELSE NULL END AS reason
  FROM high
)
SELECT {listed}{derived}, reason FROM verdicts"""


def _columns(source: Source, at: str, *, plain: bool) -> str:
    """Print place, values and reason of rows that are plain, or of the texts of odd ones."""
    texts = {column: f"said.{quote(column.name)}" for column in source.columns}
    some = " OR ".join(f"{text} IS NOT NULL" for text in texts.values())
    present = f"({some})" if len(texts) > 1 else "TRUE"
    time = f'CASE WHEN {at} <= "timestamp" + {source.ahead_ms} THEN {at} END'
    values, reasons = [f"{time} AS {quote(AT)}"], [f"WHEN {time} IS NULL THEN '{AT_REASON}'"]
    if not plain:
        reasons.insert(0, "WHEN unread IS NOT NULL THEN unread")
    for column, text in texts.items():
        value, reason = check_sql(column, text, present)
        if plain and column.type in _PLAIN:
            value = f"{text} + CAST(0 AS DOUBLE)" if column.type is Type.FLOAT64 else text
            _, reason = check_sql(replace(column, type=Type.STRING), text, present)
        values.append(f"{value} AS {quote(column.name)}")
        reasons.append(reason)
    case = f"CASE {' '.join(filter(None, reasons))} END AS reason"
    return ", ".join(("partition", quote("offset"), *values, case))


def events_sql(source: Source, checked: str) -> str:
    """Print the query for a source's events: checked, punctual, derived."""
    names = ", ".join(map(quote, ("partition", "offset", *source.types, *source.hidden)))
    return f"SELECT {names} FROM {checked} WHERE reason IS NULL"


def kept_sql(source: Source, checked: str) -> str:
    """Print the query for a source's events, progress events aside, and its late rows.

    These are told apart by `came_late`.
    """
    names = ", ".join(map(quote, kept_types(source)))
    late = f"COALESCE(reason = 'late', FALSE) AS {CAME_LATE}"
    said = " OR ".join(f"{quote(column.name)} IS NOT NULL" for column in source.columns)
    return f"SELECT {names} FROM (SELECT *, {late} FROM {checked}) WHERE {_KEPT} AND ({said})"


def kept_types(source: Source) -> dict[str, Type]:
    """Give the columns of that query: time, place, whether it is late, all that have a name."""
    types = source.types
    return {
        AT: types.pop(AT),
        "partition": Type.INT32,
        "offset": Type.INT64,
        CAME_LATE: Type.BOOL,
        **types,
    }


def refused_sql(checked: str, log: str) -> str:
    """Print the query for what is no event: place, reason (``late`` for the late ones), bytes."""
    return (
        f'SELECT partition, "offset", reason, payload FROM {checked} '
        f'JOIN {log} USING (partition, "offset") WHERE reason IS NOT NULL'
    )
