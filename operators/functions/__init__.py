"""The pinned row functions, a file for each family: one meaning, in SQL for each engine and Python.

A family is a tuple of entries; `FUNCTIONS` has them all by name. To add a function is to add an
entry, with an example, and rows to the family's table in tests/cases/functions.
"""

from __future__ import annotations

from headrace.operators.functions.arithmetic import ARITHMETIC, WIDENED
from headrace.operators.functions.comparison import COMPARISON
from headrace.operators.functions.conditional import CONDITIONAL
from headrace.operators.functions.conversion import CASTS, CONVERSION, NO_CAST
from headrace.operators.functions.function import Constant, Entry, Function, Value
from headrace.operators.functions.geography import GEOGRAPHY
from headrace.operators.functions.hashing import HASHING
from headrace.operators.functions.json import JSON
from headrace.operators.functions.refused import REFUSED
from headrace.operators.functions.regular import REGULAR
from headrace.operators.functions.rounding import ROUNDING
from headrace.operators.functions.text import TEXT
from headrace.operators.functions.time import TIME

__all__ = [
    "ALIASES",
    "CASTS",
    "FAMILIES",
    "FUNCTIONS",
    "NO_CAST",
    "REFUSED",
    "WIDENED",
    "Constant",
    "Entry",
    "Function",
    "Value",
]

FAMILIES: dict[str, tuple[Entry, ...]] = {
    "arithmetic": ARITHMETIC,
    "comparison": COMPARISON,
    "conditional": CONDITIONAL,
    "conversion": CONVERSION,
    "geography": GEOGRAPHY,
    "hashing": HASHING,
    "json": JSON,
    "regular": REGULAR,
    "rounding": ROUNDING,
    "text": TEXT,
    "time": TIME,
}
FUNCTIONS: dict[str, Entry] = {
    entry.name: entry for family in FAMILIES.values() for entry in family
}
ALIASES = {
    "ceiling": "ceil",
    "char_length": "length",
    "ifnull": "coalesce",
    "regexp_like": "regexp_matches",
    "strpos": "position",
    "substr": "substring",
}
"""Other names under which functions are known."""
