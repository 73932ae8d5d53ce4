r"""JSON: typed values at a path of a JSON object in a text, strict, the same in every engine.

::

    text ─► sound? ── no ─► null
              │ yes
              └─► $ ─.a─► last value of that name ─.b─► … ─► null where it is of another type

There is no function that gives a number's text: DuckDB prints 1.50 as 1.5. What one of the engines
takes for JSON and another does not is no JSON here: NaN, a comma before a closing bracket, what
follows the object, half a surrogate pair; nor is what is beyond Jackson's limits.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence

from headrace.operators.functions.function import (
    Constant,
    Entry,
    Function,
    Value,
    made,
    null_in_null_out,
    text,
    unsigned_zero,
)
from headrace.operators.types import Type

__all__ = ["JSON"]

_PATH = re.compile(r"\$((?:\.[A-Za-z_][A-Za-z0-9_]{0,62}){1,3})")
_MOST_CHARACTERS, _MOST_BRACKETS = 50_000, 500
_LONG_NUMBER = re.compile("[0-9.eE+-]{1000}")
_NO_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def _names(constant: Constant) -> list[str]:
    match = _PATH.fullmatch(constant) if isinstance(constant, str) else None
    if match is None:
        message = "the path is written like '$.a' or '$.a.b', with at most three names"
        raise ValueError(message)
    return match[1].split(".")[1:]


def _sound_flink(value: str) -> str:
    pairs = "'\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}'"
    escapes = f"REGEXP_REPLACE({value}, '\\\\\\\\', '_')"
    return (
        f"({value} IS JSON OBJECT AND CONCAT('[', {value}, ']') IS JSON ARRAY "
        f"AND CONCAT('{{\"d\":', {value}, '}}') IS JSON OBJECT "
        f"AND NOT REGEXP(REGEXP_REPLACE({escapes}, {pairs}, '_'), '\\\\u[dD][89a-fA-F]') "
        f"AND (CHAR_LENGTH({value}) <= 1000 OR (CHAR_LENGTH({value}) <= {_MOST_CHARACTERS} "
        f"AND CHAR_LENGTH(REGEXP_REPLACE({value}, '[^\\[{{]', '')) <= {_MOST_BRACKETS} "
        f"AND NOT REGEXP({value}, '[0-9.eE+-]{{1000}}'))))"
    )


def _sound_duckdb(value: str) -> str:
    # Without escaped characters and strings, no letter is left but those of true, false, null, e.
    bare = f"regexp_replace(regexp_replace({value}, '\\\\.', '_', 'gs'), '\"[^\"]*\"', '\"', 'g')"
    lenient = r"[nN][aA][nN]|[iI][nN][fF]|,\s*[}\]]|[0-9][eE][+-]?[0-9]{9}"
    return (
        f"(CASE WHEN json_valid({value}) THEN json_type({value}) = 'OBJECT' "
        f"AND NOT regexp_matches({bare}, '{lenient}') "
        f"AND (length({value}) <= 1000 OR (length({value}) <= {_MOST_CHARACTERS} "
        f"AND length(regexp_replace({value}, '[^\\[{{]', '', 'g')) <= {_MOST_BRACKETS} "
        f"AND NOT regexp_matches({value}, '[0-9.eE+-]{{1000}}'))) ELSE FALSE END)"
    )


def _last_duckdb(value: str, name: str) -> str:
    """Print the last value of a name in an object; DuckDB's own path takes the first."""
    # Cast, or DuckDB takes the list of a constant without keys for a text.
    keys = f"list_reverse(CAST(json_keys({value}) AS VARCHAR[]))"
    values = f"list_reverse(CAST(json_extract({value}, '$.*') AS JSON[]))"
    return f"list_extract({values}, list_position({keys}, {text(name)}))"


def _found(path: str, names: Sequence[str]) -> dict[str, Callable[[str], str]]:
    """Give, by engine, what prints the value at the path: Flink's in brackets, DuckDB's as JSON."""

    def flink(value: str) -> str:
        query = f"JSON_QUERY({value}, {text(path)} WITH UNCONDITIONAL WRAPPER)"
        return f"(CASE WHEN {_sound_flink(value)} THEN {query} END)"

    def duckdb(value: str) -> str:
        found = f"CAST({value} AS JSON)"
        for name in names:
            found = _last_duckdb(found, name)
        return f"(CASE WHEN {_sound_duckdb(value)} THEN {found} END)"

    return {"flink": flink, "duckdb": duckdb}


_Reading = tuple[
    Type, Callable[[str, str, str], str], Callable[[str], str], Callable[[object], Value]
]


def _flink_string(value: str, found: str, path: str) -> str:
    return f"(CASE WHEN LEFT({found}, 2) = '[\"' THEN JSON_VALUE({value}, {text(path)}) END)"


def _flink_int64(value: str, found: str, path: str) -> str:
    del value, path
    return f"TRY_CAST(REGEXP_EXTRACT({found}, '^\\[(-?[0-9]{{1,19}})\\]$', 1) AS BIGINT)"


def _flink_float64(value: str, found: str, path: str) -> str:
    del value, path
    number = f"TRY_CAST(REGEXP_EXTRACT({found}, '^\\[(-?[0-9][-+.0-9eE]*)\\]$', 1) AS DOUBLE)"
    return _finite(number)


def _finite(number: str) -> str:
    whole = unsigned_zero(number)
    return f"(CASE WHEN ABS({number}) <= 1.7976931348623157E308 THEN {whole} END)"


def _flink_bool(value: str, found: str, path: str) -> str:
    del value, path
    return f"(CASE {found} WHEN '[true]' THEN TRUE WHEN '[false]' THEN FALSE END)"


def _duckdb_of(kinds: str, value: str) -> Callable[[str], str]:
    def printed(found: str) -> str:
        return f"(CASE WHEN json_type({found}) IN ({kinds}) THEN {value.format(found)} END)"

    return printed


def _duckdb_float64(found: str) -> str:
    kinds = "'BIGINT', 'UBIGINT', 'DOUBLE'"
    return _duckdb_of(kinds, _finite("TRY_CAST(CAST({0} AS VARCHAR) AS DOUBLE)"))(found)


class _Number(str):
    """A number's digits, as they are written."""


def _read(written: str) -> dict[str, object] | None:
    """Read a JSON object strictly; None where it is none."""
    if len(written) > 1000 and (
        len(written) > _MOST_CHARACTERS
        or sum(map(written.count, "[{")) > _MOST_BRACKETS
        or _LONG_NUMBER.search(written)
    ):
        return None
    if re.search(r"[0-9][eE][+-]?[0-9]{9}", _NO_STRINGS.sub('"', written)):
        return None
    try:
        found = json.loads(written, parse_int=_Number, parse_float=_Number, parse_constant=_refused)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refused(written: str) -> object:
    raise ValueError(written)


def _as_string(value: object) -> Value:
    return value if isinstance(value, str) and not isinstance(value, _Number) else None


def _as_int64(value: object) -> Value:
    if not isinstance(value, _Number) or not re.fullmatch("-?[0-9]{1,19}", value):
        return None
    return int(value) if -(2**63) <= int(value) < 2**63 else None


def _as_float64(value: object) -> Value:
    number = float(value) if isinstance(value, _Number) else math.inf
    return number + 0.0 if math.isfinite(number) else None


def _as_bool(value: object) -> Value:
    return value if isinstance(value, bool) else None


_READINGS: dict[str, _Reading] = {
    "json_string": (
        Type.STRING,
        _flink_string,
        _duckdb_of("'VARCHAR'", "json_extract_string({0}, '$')"),
        _as_string,
    ),
    "json_int64": (
        Type.INT64,
        _flink_int64,
        _duckdb_of("'BIGINT', 'UBIGINT'", "TRY_CAST(CAST({0} AS VARCHAR) AS BIGINT)"),
        _as_int64,
    ),
    "json_float64": (Type.FLOAT64, _flink_float64, _duckdb_float64, _as_float64),
    "json_bool": (
        Type.BOOL,
        _flink_bool,
        _duckdb_of("'BOOLEAN'", "CAST({0} AS BOOLEAN)"),
        _as_bool,
    ),
}


def _reader(name: str, about: str) -> Entry:
    kind, flink_read, duckdb_read, python_read = _READINGS[name]

    def make(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
        if list(types) != [Type.STRING] or len(constants) != 1:
            return None
        names = _names(constants[0])
        path = "$." + ".".join(names)
        found = _found(path, names)

        def printed(engine: str, arguments: Sequence[str]) -> str:
            value = found[engine](arguments[0])
            return (
                flink_read(arguments[0], value, path) if engine == "flink" else duckdb_read(value)
            )

        def of(row: str) -> Value:
            here: object = _read(row)
            for each in names:
                here = here.get(each) if isinstance(here, dict) else None
            return python_read(here)

        return Function(name, kind, printed, null_in_null_out(of), constants=tuple(constants))

    return made(name, "a string and a path", 1, make, about)


JSON: tuple[Entry, ...] = (
    _reader(
        "json_string",
        """The string at a path of a JSON object; null where there is none, or no JSON object.

        Of two values with one name the last counts.

        >>> of('''json_string('{"a": {"b": "x"}}', '$.a.b')''')
        'x'
        >>> of('''json_string('{"a": 1}', '$.a')''') is None
        True
        """,
    ),
    _reader(
        "json_int64",
        """The whole number at a path of a JSON object, written without fraction or exponent.

        >>> of('''json_int64('{"a": 7}', '$.a')'''), of('''json_int64('{"a": 7.0}', '$.a')''')
        (7, None)
        """,
    ),
    _reader(
        "json_float64",
        """The number at a path of a JSON object; null where a float64 cannot hold it.

        >>> of('''json_float64('{"a": 1.50}', '$.a')'''), of('''json_float64('{"a": 7}', '$.a')''')
        (1.5, 7.0)
        """,
    ),
    _reader(
        "json_bool",
        """The `true` or `false` at a path of a JSON object.

        >>> of('''json_bool('{"a": true}', '$.a')'''), of('''json_bool('{"a": "true"}', '$.a')''')
        (True, None)
        """,
    ),
)
