"""Functions that there are not, and why: said where somebody asks for one."""

from __future__ import annotations

from headrace.operators.errors import Gap, Never, NotYet

__all__ = ["REFUSED"]

_BITS = Never("the engines' mathematical libraries differ in the last bit")
_CLOCK = Never("a value depends on the log alone, not on when it is computed")
_CHANCE = Never("a value depends on the log alone; hash64 of a column is as good as random")
_ONE_ROW = Never("an expression sees one row; features of views see many")
_LETTERS = Never("each engine has its own table of letters; upper and lower know A to Z")
_NUMBER_TEXT = Never(
    "engines write one number as 1.5, 1.50 and 1.5E0; use json_string, json_int64, json_float64"
)

REFUSED: dict[str, Gap] = {
    **dict.fromkeys(("exp", "ln", "log", "log2", "log10", "pow", "power", "cbrt"), _BITS),
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "degrees"), _BITS),
    **dict.fromkeys(("sinh", "cosh", "tanh", "radians", "gamma", "pi"), _BITS),
    **dict.fromkeys(("now", "current_timestamp", "current_date", "today", "current_time"), _CLOCK),
    **dict.fromkeys(("localtimestamp", "localtime", "unix_timestamp"), _CLOCK),
    **dict.fromkeys(("random", "rand", "rand_integer", "uuid", "gen_random_uuid"), _CHANCE),
    **dict.fromkeys(("count", "sum", "avg", "mean", "min", "max", "first", "last"), _ONE_ROW),
    **dict.fromkeys(("lag", "lead", "row_number", "rank"), _ONE_ROW),
    **dict.fromkeys(("initcap", "strip_accents", "casefold"), _LETTERS),
    **dict.fromkeys(("json_value", "json_extract", "json_extract_string"), _NUMBER_TEXT),
    "json_query": _NUMBER_TEXT,
    "hash": Never("Flink's has 32 bits and DuckDB's 64; use hash64"),
    "hash_code": Never("Flink's has 32 bits and DuckDB's 64; use hash64"),
    "like": NotYet(
        "Flink's % and _ pass over no line feed; use starts_with, contains or regexp_matches"
    ),
    "strptime": NotYet("the engines' formats differ; send times as int64 ms"),
    "date_trunc": NotYet("use floor_time(at, '1h')"),
    "date_diff": NotYet("engines count elapsed days or midnights; subtract times and divide"),
    "dayofweek": NotYet("Sunday is 0 or 1; use weekday, 0 for Monday"),
}
"""By the name that somebody would write; no entry is a function."""
