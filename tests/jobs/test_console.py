"""The prompt answers what ends with a semicolon, survives mistakes, and remembers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from headrace.jobs.cli.console import completions, prompt, written
from headrace.operators.errors import StoreError

ROWS = pa.table({"n": [1, None], "s": ['a"b', ""], "l": [[1, 2], None], "b": [True, False]})


def test_an_answer_in_each_form() -> None:
    assert written(ROWS, "csv").decode() == '"n","s","l","b"\n1,"a""b","[1,2]",true\n,"",,false\n'
    told = orjson.loads(written(ROWS, "json"))
    assert told == ROWS.to_pylist()
    assert ipc.open_stream(written(ROWS, "arrow")).read_all().equals(ROWS)


def test_a_prompt_with_lines_mistakes_and_interrupts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def ask(query: str) -> pa.Table:
        if "information_schema" in query:
            return pa.table({"name": ["decisions"]})
        asked.append(query)
        if "wrong" in query:
            raise StoreError(query, "no such table", "mend the query")
        return pa.table({"answer": [len(asked)]})

    lines: Iterator[str | type[BaseException]] = iter(
        ["SELECT 1", ";", "", "SELECT 2", KeyboardInterrupt, "SELECT wrong;", "SELECT 3;", EOFError]
    )
    prompts: list[str] = []

    def read(shown: str) -> str:
        prompts.append(shown)
        line = next(lines)
        if isinstance(line, str):
            return line
        raise line

    prompt(ask, tmp_path / "kept" / "asked.sql", read=read)
    assert asked == ["SELECT 1\n;", "SELECT wrong;", "SELECT 3;"]
    assert prompts == [
        *("headrace> ", "   ...> ", "headrace> ", "headrace> ", "   ...> "),
        *("headrace> ", "headrace> ", "headrace> "),
    ]
    said = capsys.readouterr().out
    assert "no such table; mend the query" in said.replace("\n", " ")
    assert said.count("answer") == 2
    assert (tmp_path / "kept" / "asked.sql").exists()


def test_names_are_completed_whatever_their_case() -> None:
    names = ["views.tail", "VERSION", "features.tail("]
    assert completions("v", names) == ["VERSION", "views.tail"]
    assert completions("", names) == []
