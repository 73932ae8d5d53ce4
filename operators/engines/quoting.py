"""Names as DuckDB takes them."""

from __future__ import annotations

__all__ = ["quote"]


def quote(name: str) -> str:
    """Quote an identifier.

    >>> quote("at")
    '"at"'
    """
    return '"' + name.replace('"', '""') + '"'
