"""The questions of `docs/ask.md` with the answers that stand below them."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

PAGE = Path(__file__).parent.parent / "docs" / "ask.md"
_PAIR = re.compile(r"```sql\n(.*?)```\n\n((?:\|[^\n]*\n)+)", re.DOTALL)


def questions() -> dict[str, str]:
    """Give every question of the page and its answer, as it is printed there."""
    found = dict(_PAIR.findall(PAGE.read_text("utf-8")))
    assert len(found) >= 6
    return found


def printed(rows: pa.Table) -> str:
    """Print an answer as the page does: a table in Markdown, null as an empty cell."""
    lines = [rows.column_names, ["---"] * rows.num_columns]
    lines += [["" if v is None else str(v) for v in row.values()] for row in rows.to_pylist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
