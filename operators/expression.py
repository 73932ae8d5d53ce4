"""Row-wise expressions: SQL text in, a small typed tree, and the same meaning in every engine.

::

    "LEAST(dep_delay, 180)" ─ sqlglot ─► Call(least, [Column, Literal]) ─┬─► Flink SQL
                                          typed and checked when built   ├─► DuckDB SQL
                                                                         └─► a Python value
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from headrace.operators.errors import HeadraceError, UnknownName
from headrace.operators.functions import FUNCTIONS, Function, Value
from headrace.operators.types import Type

__all__ = ["Call", "Column", "Expression", "ExpressionError", "Literal", "parse"]


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
        return f"CAST({self.value!r} AS {self.type.flink})"

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
        """Evaluate on one row."""
        return self.function.of(*(argument.of(row) for argument in self.arguments))


Expression = Column | Literal | Call


def parse(text: str, columns: Mapping[str, Type]) -> Expression:
    """Parse and type-check SQL `text` over `columns`.

    Raises
    ------
    ExpressionError
        Where the text is no SQL, or its types do not fit.
    UnknownName
        Where it names a column or a function that does not exist.

    Examples
    --------
    >>> tree = parse("LEAST(delay, 180)", {"delay": Type.INT64})
    >>> tree.of({"delay": 200}), tree.of({"delay": None})
    (180, None)
    >>> tree.type
    <Type.INT64: 'int64'>

    """
    try:
        node = sqlglot.parse_one(text, dialect="duckdb")
    except sqlglot.ParseError as error:
        asked = f"asked for the expression {text!r}"
        reason = error.errors[0]["description"] if error.errors else str(error)
        do = "write one SQL expression over the columns"
        raise ExpressionError(asked, str(reason), do) from error
    return _build(node, columns, text)


def _build(node: exp.Expression, columns: Mapping[str, Type], text: str) -> Expression:
    if isinstance(node, exp.Paren):
        return _build(node.this, columns, text)
    if isinstance(node, exp.Column):
        if node.name not in columns:
            raise UnknownName("column", node.name, list(columns))
        return Column(node.name, columns[node.name])
    if isinstance(node, exp.Literal | exp.Boolean | exp.Null | exp.Neg):
        literal = _literal(node)
        if literal is not None:
            return literal
    name, operands = _call(node)
    if name not in FUNCTIONS:
        raise UnknownName("function", name, list(FUNCTIONS))
    arguments = tuple(_build(operand, columns, text) for operand in operands)
    function = FUNCTIONS[name]
    result = function.typed([argument.type for argument in arguments])
    if result is None:
        given = ", ".join(argument.type.value for argument in arguments)
        asked = f"asked for {name}({given}) in {text!r}"
        raise ExpressionError(asked, f"{name} takes {function.takes}", "cast or change an argument")
    return Call(function, arguments, result)


def _literal(node: exp.Expression) -> Literal | None:
    if isinstance(node, exp.Null):
        return Literal(None, Type.INT64)
    if isinstance(node, exp.Boolean):
        return Literal(bool(node.this), Type.BOOL)
    if isinstance(node, exp.Neg):
        inner = _literal(node.this) if isinstance(node.this, exp.Literal) else None
        if inner is None or not isinstance(inner.value, int | float):
            return None
        return Literal(-inner.value, inner.type)
    if not isinstance(node, exp.Literal):
        return None
    if node.is_string:
        return Literal(str(node.this), Type.STRING)
    number = str(node.this)
    if number.isdigit():
        return Literal(int(number), Type.INT64)
    return Literal(float(number), Type.FLOAT64)


def _call(node: exp.Expression) -> tuple[str, list[exp.Expression]]:
    """Name the function behind a node and give its operands in order."""
    if isinstance(node, exp.Not) and isinstance(node.this, exp.Is):
        return "is_not_null", [node.this.this]
    if isinstance(node, exp.Is):
        return "is_null", [node.this]
    if isinstance(node, exp.Case):
        operands: list[exp.Expression] = []
        for branch in node.args["ifs"]:
            operands += [branch.this, branch.args["true"]]
        default = node.args.get("default")
        return "case", [*operands, default if default is not None else exp.Null()]
    if isinstance(node, exp.Anonymous):
        return str(node.this).lower(), list(node.expressions)
    name = type(node).__name__.lower()
    flat = [node.args.get("this"), node.args.get("expression"), *node.args.get("expressions", [])]
    return name, [operand for operand in flat if isinstance(operand, exp.Expression)]
