"""Row-wise expressions: SQL text in, a small typed tree, and the same meaning in every engine.

::

    "LEAST(dep_delay, 180)" ─ sqlglot ─► Call(least, [Column, Literal]) ─┬─► Flink SQL
                                          typed and checked when built   ├─► DuckDB SQL
                                                                         └─► a Python value
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.functions import FUNCTIONS, WIDENED, Function, Value
from headrace.operators.types import Type

__all__ = ["Call", "Column", "Expression", "ExpressionError", "Literal", "parse", "range_checks"]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(eq=False)
class ExpressionError(HeadraceError):
    """An expression that has no meaning here."""

    asked: str
    found: str
    do: str


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


def range_checks(tree: Expression, engine: str) -> Iterator[str]:
    """Print the conditions, one for each number it computes, that are false beyond the type.

    A row for which one is false has no value of `tree`: it is refused, and nothing wraps.
    """
    if isinstance(tree, Call):
        for argument in tree.arguments:
            yield from range_checks(argument, engine)
        check = tree.function.fits.get(tree.type)
        if check:
            texts = [argument.sql(engine) for argument in tree.arguments]
            yield check.format(*texts, value=tree.sql(engine))


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
        nodes = sqlglot.parse(text, dialect="duckdb")
        if len(nodes) != 1 or nodes[0] is None:
            found = f"it is {len(nodes)} statements" if nodes[1:] else "it is empty"
            raise ExpressionError(_asked(text), found, do)
        return _Reading(text, columns).read(nodes[0])
    except sqlglot.ParseError as error:
        reason = error.errors[0]["description"] if error.errors else str(error)
        raise ExpressionError(_asked(text), str(reason), do) from error
    except (SqlglotError, ValueError) as error:
        found = " ".join(str(error).split())[:80]
        raise ExpressionError(_asked(text), found, do) from error
    except RecursionError as error:
        raise ExpressionError(_asked(text), "it is nested too deep", "write it shorter") from error


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
            *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.DPipe, exp.And, exp.Or),
            *(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE),
        )
    },
    **{
        node: (node.__name__.lower(), ("this",))
        for node in (exp.Abs, exp.Floor, exp.Length, exp.Lower, exp.Neg, exp.Not)
    },
    **{node: (node.__name__.lower(), _LISTED) for node in (exp.Coalesce, exp.Greatest, exp.Least)},
    exp.Anonymous: ("", ("expressions",)),
}
# Notes of the parser about the dialect's meaning; the meaning here is the function's own.
_NOTES = {"safe", "typed", "ignore_nulls", "is_string", "quoted"}


@dataclass(frozen=True)
class _Reading:
    """One expression being read: its text, for errors, and the columns it may use."""

    text: str
    columns: Mapping[str, Type]

    def read(self, node: exp.Expr) -> Expression:
        if isinstance(node, exp.Paren):
            self._only(node, ("this",))
            return self.read(node.this)
        if isinstance(node, exp.Column):
            self._only(node, ("this",))
            if not isinstance(node.this, exp.Identifier):
                raise self._refuse(node)
            if node.name not in self.columns:
                raise UnknownName(kind="column", name=node.name, known=list(self.columns))
            return Column(node.name, self.columns[node.name])
        literal = self._literal(node)
        if literal is not None:
            return literal
        name, operands = self._call(node)
        if name not in FUNCTIONS:
            raise UnknownName(kind="function", name=name, known=list(FUNCTIONS))
        return self._typed(FUNCTIONS[name], [self.read(operand) for operand in operands])

    def _typed(self, function: Function, arguments: Sequence[Expression]) -> Call:
        for tried in _with_types(arguments, function):
            result = function.typed([argument.type for argument in tried])
            if result is not None:
                return Call(function, tuple(_widened(tried)), result)
        given = ", ".join(argument.type.value for argument in arguments)
        asked = f"asked for {function.name}({given}) in {self.text!r}"
        found = f"{function.name} takes {function.takes}"
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
            if not isinstance(node.expression, exp.Null):
                raise self._refuse(node, "write IS NULL, or compare it with =")
            return "is_null", [node.this]
        if isinstance(node, exp.Not) and isinstance(node.this, exp.Is):
            _, operands = self._call(node.this)
            return "is_not_null", operands
        if isinstance(node, exp.Case):
            return "case", self._branches(node)
        if type(node) in _NODES:
            name, places = _NODES[type(node)]
            if isinstance(node, exp.Anonymous):
                self._only(node, _LISTED)
                name = str(node.this).lower()
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


def _with_types(
    arguments: Sequence[Expression], function: Function
) -> Iterator[Sequence[Expression]]:
    """Give the arguments with each type that their NULL literals may take, the likeliest first."""
    nulls = [isinstance(argument, Literal) and argument.value is None for argument in arguments]
    if not any(nulls):
        yield arguments
        return
    conditions = range(0, len(arguments) - 1, 2) if function.name == "case" else ()
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
            yield Call(WIDENED, (argument,), Type.FLOAT64)
