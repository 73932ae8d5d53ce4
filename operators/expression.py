"""Row-wise expressions: SQL text in, a small typed tree, and the same meaning in every engine.

::

    "LEAST(dep_delay, 180)" ─ sqlglot ─► Call(least, [Column, Literal]) ─┬─► Flink SQL
                                          typed and checked when built   ├─► DuckDB SQL
                                                                         └─► a Python value
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import TokenType

from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.functions import (
    ALIASES,
    CASTS,
    FUNCTIONS,
    NO_CAST,
    REFUSED,
    WIDENED,
    Constant,
    Entry,
    Function,
    Value,
)
from headrace.operators.types import Type

__all__ = [
    "Call",
    "Column",
    "Expression",
    "ExpressionError",
    "Literal",
    "call",
    "parse",
    "range_checks",
]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class ExpressionError(HeadraceError):
    """An expression that has no meaning here."""


@dataclass(frozen=True)
class Column:
    """A column of the row."""

    name: str
    type: Type

    def sql(self, engine: str) -> str:
        """Print for `engine`; identifiers are always quoted."""
        return f"`{self.name}`" if engine == "flink" else f'"{self.name}"'

    def of(self, row: Mapping[str, Value]) -> Value:
        """Evaluate on one row."""
        return row[self.name]


@dataclass(frozen=True)
class Literal:
    """A constant."""

    value: Value
    type: Type

    def sql(self, engine: str) -> str:
        """Print for `engine`."""
        del engine
        if self.value is None:
            return f"CAST(NULL AS {self.type.flink})"
        if isinstance(self.value, bool):
            return "TRUE" if self.value else "FALSE"
        if isinstance(self.value, str):
            return "'" + self.value.replace("'", "''") + "'"
        # With an exponent DuckDB reads a double; without one a decimal, which it rounds twice.
        exponent = "e0" if isinstance(self.value, float) and "e" not in repr(self.value) else ""
        return f"CAST({self.value!r}{exponent} AS {self.type.flink})"

    def of(self, row: Mapping[str, Value]) -> Value:
        """Evaluate: the constant itself."""
        del row
        return self.value


@dataclass(frozen=True)
class Call:
    """A pinned function of other expressions."""

    function: Function
    arguments: tuple[Expression, ...]
    type: Type

    def sql(self, engine: str) -> str:
        """Print for `engine`, by the function's own text for it."""
        texts = [argument.sql(engine) for argument in self.arguments]
        return self.function.sql(engine, texts)

    def of(self, row: Mapping[str, Value]) -> Value:
        """Evaluate on one row.

        Raises
        ------
        OverflowError
            Where a number is beyond its type; of every argument, whether it is needed or not.

        """
        return self.function.of(*(argument.of(row) for argument in self.arguments))


Expression = Column | Literal | Call


def call(name: str, *arguments: Expression) -> Call:
    """Call a function of the catalogue; a ValueError where its arguments do not fit.

    >>> call("neg", Column("x", Type.INT64)).sql("flink")
    '(0 - `x`)'
    """
    function = FUNCTIONS[name].chosen([argument.type for argument in arguments], ())
    if function is None:
        raise ValueError(name)
    return Call(function, arguments, function.type)


def range_checks(tree: Expression, engine: str) -> Iterator[str]:
    """Print the conditions, one for each number it computes, that are false beyond the type.

    A row for which one is false has no value of `tree`: it is refused, and nothing wraps.
    """
    if isinstance(tree, Call):
        for argument in tree.arguments:
            yield from range_checks(argument, engine)
        check = tree.function.check(engine, [part.sql(engine) for part in tree.arguments])
        if check:
            yield check


def parse(text: str, columns: Mapping[str, Type]) -> Expression:
    """Parse and type-check SQL `text` over `columns`.

    What is not understood is refused: nothing that the parser read is passed over.

    Raises
    ------
    ExpressionError
        Where the text is no SQL expression, has a part that means nothing here, or its types do
        not fit.
    UnknownName
        Where it names a column or a function that does not exist.

    Examples
    --------
    >>> tree = parse("LEAST(delay, 180)", {"delay": Type.INT64})
    >>> tree.of({"delay": 200}), tree.of({"delay": None})
    (180, None)
    >>> tree.type
    Type('int64')

    """
    do = "write one SQL expression over the columns"
    try:
        nodes = sqlglot.parse(text, dialect=_Rows)
        if len(nodes) != 1 or nodes[0] is None:
            found = f"it is {len(nodes)} statements" if nodes[1:] else "it is empty"
            raise ExpressionError(_asked(text), found, do)
        tree = _Reading(text, columns).read(nodes[0])
    except sqlglot.ParseError as error:
        reason = error.errors[0]["description"] if error.errors else str(error)
        raise ExpressionError(_asked(text), str(reason), do) from error
    except (SqlglotError, ValueError) as error:
        found = " ".join(str(error).split())[:80]
        raise ExpressionError(_asked(text), found, do) from error
    except RecursionError as error:
        raise ExpressionError(_asked(text), "it is nested too deep", "write it shorter") from error
    for engine in ("flink", "duckdb"):
        if _size(tree, engine) > _MOST_SQL:
            found = f"it is more than {_MOST_SQL} characters of SQL for {engine}"
            raise ExpressionError(_asked(text), found, "nest fewer functions in one another")
    return tree


class _Rows(DuckDB):
    """DuckDB's expressions, with every function read as a name and its arguments.

    What sqlglot knows of functions is theirs; what one means here is the catalogue's.
    """

    class Parser(DuckDBParser):
        FUNC_TOKENS: ClassVar[set[TokenType]] = {*DuckDBParser.FUNC_TOKENS, TokenType.CROSS}
        FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Callable[..., Any]]] = {
            name: read
            for name, read in DuckDBParser.FUNCTION_PARSERS.items()
            if name in ("CAST", "TRY_CAST")
        }
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Callable[..., Any]]] = {
            name: read
            for name, read in DuckDBParser.NO_PAREN_FUNCTION_PARSERS.items()
            if name == "CASE"
        }


# Flink compiles an expression to Java, where no method may have more than 64 KB.
_MOST_SQL = 100_000


def _size(tree: Expression, engine: str) -> int:
    """Count the characters of an expression's SQL and of its checks, without printing them."""
    if not isinstance(tree, Call):
        return len(tree.sql(engine))
    marks = [chr(_MARK + place) for place in range(len(tree.arguments))]
    printed = tree.function.sql(engine, marks) + tree.function.check(engine, marks)
    sizes = (_size(argument, engine) for argument in tree.arguments)
    uses = (printed.count(mark) * size for mark, size in zip(marks, sizes, strict=True))
    return len(printed) + sum(uses)


_MARK = 0xF0000


def _asked(text: str) -> str:
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"asked for the expression {short!r}"


_SHOWN = 60
# Each node that is understood: the function it calls, and the places of its operands, in order.
_BOTH = ("this", "expression")
_LISTED = ("this", "expressions")
_NODES: dict[type[exp.Expr], tuple[str, tuple[str, ...]]] = {
    **{
        node: (node.__name__.lower(), _BOTH)
        for node in (
            *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe, exp.And, exp.Or),
            *(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE),
        )
    },
    exp.IntDiv: ("idiv", _BOTH),
    exp.NullSafeEQ: ("is_not_distinct_from", _BOTH),
    exp.NullSafeNEQ: ("is_distinct_from", _BOTH),
    exp.Pow: ("power", _BOTH),
    exp.Like: ("like", _BOTH),
    exp.Neg: ("neg", ("this",)),
    exp.Not: ("not", ("this",)),
    exp.Between: ("between", ("this", "low", "high")),
    exp.In: ("in", _LISTED),
    exp.Anonymous: ("", ("expressions",)),
}
_TYPES = {
    exp.DType.BIGINT: Type.INT64,
    exp.DType.DOUBLE: Type.FLOAT64,
    exp.DType.TEXT: Type.STRING,
    exp.DType.VARCHAR: Type.STRING,
    exp.DType.BOOLEAN: Type.BOOL,
}
# Notes of the parser about the dialect's meaning; the meaning here is the function's own.
_NOTES = {"safe", "typed", "ignore_nulls", "is_string", "quoted"}


@dataclass(frozen=True)
class _Reading:
    """One expression being read: its text, for errors, and the columns it may use."""

    text: str
    columns: Mapping[str, Type]

    def read(self, node: exp.Expr) -> Expression:
        """Read a node; an error of it, and of none within it, is about where it begins."""
        try:
            return self._read(node)
        except HeadraceError as error:
            if error.start is None:
                error.start = _start(node)
            raise

    def _read(self, node: exp.Expr) -> Expression:
        if isinstance(node, exp.Paren):
            self._only(node, ("this",))
            return self.read(node.this)
        if isinstance(node, exp.Column):
            self._only(node, ("this",))
            if not isinstance(node.this, exp.Identifier):
                raise self._refuse(node)
            if node.name not in self.columns:
                self._refuse_by_name(node.name.lower())  # now() may be written without brackets
                raise UnknownName(kind="column", name=node.name, known=list(self.columns))
            return Column(node.name, self.columns[node.name])
        literal = self._literal(node)
        if literal is not None:
            return literal
        if isinstance(node, exp.Cast):
            return self._cast(node)
        name, operands = self._call(node)
        name = ALIASES.get(name, name)
        if name in FUNCTIONS:
            return self._read_call(FUNCTIONS[name], operands)
        self._refuse_by_name(name)
        raise UnknownName(kind="function", name=name, known=list(FUNCTIONS))

    def _refuse_by_name(self, name: str) -> None:
        if name in REFUSED:
            asked, do = f"asked for the function {name!r}", "compute it before, or leave it out"
            raise ExpressionError(asked, str(REFUSED[name]), do)

    def _read_call(self, entry: Entry, operands: Sequence[exp.Expr]) -> Call:
        rows = len(operands) if entry.rows is None else entry.rows
        arguments = [self.read(operand) for operand in operands[:rows]]
        if entry.as_text:
            arguments = [_as_text(argument) for argument in arguments]
        constants = []
        for place, operand in enumerate(operands[rows:], start=rows + 1):
            constant = _constant(operand)
            if constant is None:
                asked = f"asked for {entry.name} in {self.text!r}"
                found = f"its argument {place} is no constant"
                raise ExpressionError(asked, found, f"{entry.name} takes {entry.takes}")
            constants.append(constant)
        return self._typed(entry, arguments, constants)

    def _cast(self, node: exp.Cast) -> Expression:
        """Read CAST, TRY_CAST and `::`."""
        self._only(node, ("this", "to", "_type"))
        asked = f"asked for a cast in {self.text!r}"
        target = _TYPES.get(node.to.this) if not node.to.expressions else None
        if target is None:
            found = f"the type {node.to.sql(dialect='duckdb')} is none of those that have a cast"
            raise ExpressionError(asked, found, "use BIGINT, DOUBLE, VARCHAR or BOOLEAN")
        argument = self.read(node.this)
        gap = NO_CAST.get((argument.type, target))
        if gap is not None:
            found = f"from {argument.type.value} to {target.value}; {gap}"
            raise ExpressionError(asked, found, "leave it as it is")
        name = CASTS[target.value, isinstance(node, exp.TryCast)]
        return self._typed(FUNCTIONS[name], [argument], [])

    def _typed(
        self, entry: Entry, arguments: Sequence[Expression], constants: Sequence[Constant]
    ) -> Call:
        for tried in _with_types(arguments, entry):
            try:
                function = entry.chosen([argument.type for argument in tried], constants)
            except ValueError as error:
                asked = f"asked for {entry.name} in {self.text!r}"
                raise ExpressionError(asked, str(error), "change the constant") from error
            if function is not None:
                return Call(function, tuple(_widened(tried)), function.type)
        given = ", ".join([*(argument.type.value for argument in arguments), *map(repr, constants)])
        asked = f"asked for {entry.name}({given}) in {self.text!r}"
        found = f"{entry.name} takes {entry.takes}"
        raise ExpressionError(asked, found, "cast or change an argument")

    def _literal(self, node: exp.Expr) -> Literal | None:
        if isinstance(node, exp.Null):
            return Literal(None, Type.INT64)
        if isinstance(node, exp.Boolean):
            return Literal(bool(node.this), Type.BOOL)
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
            return None if node.this.is_string else self._number(f"-{node.this.this}")
        if not isinstance(node, exp.Literal):
            return None
        if not node.is_string:
            return self._number(str(node.this))
        if "\0" in node.this:
            raise ExpressionError(_asked(self.text), "a text has the character U+0000", "remove it")
        return Literal(str(node.this), Type.STRING)

    def _number(self, written: str) -> Literal:
        if written.lstrip("-").isdecimal():
            whole = int(written)
            if not INT64_MIN <= whole <= INT64_MAX:
                raise ExpressionError(
                    _asked(self.text), f"{written} is beyond int64", "write it with a fraction"
                )
            return Literal(whole, Type.INT64)
        value = float(written)
        digits = written.lower().partition("e")[0]
        if not math.isfinite(value) or (value == 0 and digits.strip("-0.")):
            raise ExpressionError(
                _asked(self.text), f"{written} is beyond float64", "write a number it can hold"
            )
        return Literal(value + 0.0, Type.FLOAT64)  # −0.0 is 0.0

    def _call(self, node: exp.Expr) -> tuple[str, list[exp.Expr]]:
        """Name the function behind a node and give its operands in order."""
        if isinstance(node, exp.Is):
            self._only(node, _BOTH)
            if isinstance(node.expression, exp.Null):
                return "is_null", [node.this]
            if not isinstance(node.expression, exp.Boolean):
                raise self._refuse(node, "write IS NULL, or compare it with =")
            return ("is_true" if node.expression.this else "is_false"), [node.this]
        if isinstance(node, exp.Not) and isinstance(node.this, exp.Is):
            name, operands = self._call(node.this)
            return ("is_not_null", operands) if name == "is_null" else ("not", [node.this])
        if isinstance(node, exp.Case):
            return "case", self._branches(node)
        if type(node) in _NODES:
            name, places = _NODES[type(node)]
            if isinstance(node, exp.Anonymous):
                self._only(node, _LISTED)
                name = str(node.this).lower()
                only = node.expressions[0] if len(node.expressions) == 1 else None
                if name == "position" and isinstance(only, exp.In) and only.args.get("field"):
                    self._only(only, ("this", "field"))
                    return name, [only.args["field"], only.this]
            else:
                self._only(node, places)
            operands = []
            for place in places:
                part = node.args.get(place) or []
                operands += part if isinstance(part, list) else [part]
            return name, operands
        if isinstance(node, exp.Func) and not isinstance(node, exp.Connector):
            raise UnknownName(kind="function", name=node.sql_name().lower(), known=list(FUNCTIONS))
        raise self._refuse(node)

    def _branches(self, node: exp.Case) -> list[exp.Expr]:
        self._only(node, ("ifs", "default"))
        operands: list[exp.Expr] = []
        for branch in node.args["ifs"]:
            self._only(branch, ("this", "true"))
            operands += [branch.this, branch.args["true"]]
        default = node.args.get("default")
        return [*operands, exp.Null() if default is None else default]

    def _only(self, node: exp.Expr, places: Sequence[str]) -> None:
        """Refuse a node that has anything besides what stands in `places`."""
        more = [key for key, part in node.args.items() if part and key not in {*places, *_NOTES}]
        if more:
            raise self._refuse(node, more=more)

    def _refuse(self, node: exp.Expr, do: str = "", more: Sequence[str] = ()) -> ExpressionError:
        found = f"{node.key.upper()} {f'with {more[0]} ' if more else ''}has no meaning here"
        return ExpressionError(
            _asked(self.text), found, do or "use columns, constants, operators and known functions"
        )


def _start(node: exp.Expr) -> int:
    """Find where a node begins in the text: the parser notes that of names."""
    return min((int(part.meta["start"]) for part in node.walk() if "start" in part.meta), default=0)


def _constant(node: exp.Expr) -> Constant | None:
    """Give a literal, or a list of them; None where it is neither."""
    if isinstance(node, exp.Array):
        parts = [_constant(each) for each in node.expressions]
        return (
            tuple(each for each in parts if isinstance(each, int | float | str))
            if all(part is not None and not isinstance(part, tuple) for part in parts)
            else None
        )
    if isinstance(node, exp.Neg):
        number = _constant(node.this)
        return -number if isinstance(number, int | float) else None
    if not isinstance(node, exp.Literal):
        return None
    written = str(node.this)
    if node.is_string:
        return written if "\0" not in written else None
    if written.isdecimal():
        return int(written) if int(written) <= INT64_MAX else None
    return float(written) + 0.0 if math.isfinite(float(written)) else None


def _as_text(argument: Expression) -> Expression:
    """Make the text of an int64 or a bool."""
    if argument.type not in (Type.INT64, Type.BOOL):
        return argument
    if isinstance(argument, Literal) and argument.value is None:
        return replace(argument, type=Type.STRING)
    function = FUNCTIONS["to_string"].chosen([argument.type], ())
    return argument if function is None else Call(function, (argument,), Type.STRING)


def _with_types(arguments: Sequence[Expression], entry: Entry) -> Iterator[Sequence[Expression]]:
    """Give the arguments with each type that their NULL literals may take, the likeliest first."""
    nulls = [isinstance(argument, Literal) and argument.value is None for argument in arguments]
    if not any(nulls):
        yield arguments
        return
    conditions = range(0, len(arguments) - 1, 2) if entry.name in ("case", "if") else ()
    others = [
        argument.type
        for place, (argument, null) in enumerate(zip(arguments, nulls, strict=True))
        if not null and place not in conditions
    ]
    for kind in dict.fromkeys([*others, Type.INT64, Type.STRING, Type.BOOL]):
        yield [
            Literal(None, Type.BOOL if place in conditions else kind) if null else argument
            for place, (argument, null) in enumerate(zip(arguments, nulls, strict=True))
        ]


def _widened(arguments: Sequence[Expression]) -> Iterator[Expression]:
    """Make int64 arguments float64 where there are both: every engine then compares the same."""
    mixed = Type.FLOAT64 in {argument.type for argument in arguments}
    for argument in arguments:
        if not mixed or argument.type is not Type.INT64:
            yield argument
        elif isinstance(argument, Literal):
            number = argument.value
            value = None if number is None else float(str(number))
            yield replace(argument, value=value, type=Type.FLOAT64)
        else:
            widened = WIDENED.chosen([Type.INT64], ())
            yield argument if widened is None else Call(widened, (argument,), Type.FLOAT64)
