"""The cell magic in an IPython of its own: data frames, Arrow, names, sentences for mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from IPython.core.interactiveshell import InteractiveShell

from headrace.jobs.machine.state import write_json
from tests.jobs.test_server import processing, serving

QUERY = 'SELECT "user", rows FROM views.clicks\nORDER BY ALL -- all of them'


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("magic")
    with processing(folder) as process, serving(process) as http:
        (folder / "store").mkdir(exist_ok=True)
        address = {"address": f"{http.base_url.host}:{http.base_url.port}"}
        write_json(folder / "store" / "address.json", address)
        yield folder


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    one = InteractiveShell.instance()
    one.run_line_magic("load_ext", "headrace.jobs.magic")
    yield one
    if one.history_manager is not None:
        one.history_manager.end_session()
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, cell: str) -> object:
    """Run a cell as a notebook does; give what it shows."""
    done = shell.run_cell(cell, store_history=False)  # type: ignore[no-untyped-call]  # IPython's
    done.raise_error()
    return done.result


def test_an_answer_is_a_data_frame(shell: InteractiveShell, state: Path) -> None:
    found = run(shell, f"%%headrace --state {state} clicks\n{QUERY}")
    assert isinstance(found, pd.DataFrame)
    assert found["user"].tolist() == ["u", "u", "v"]
    assert shell.user_ns["clicks"] is found
    assert run(shell, "clicks['rows'].sum()") == 3


def test_or_an_arrow_table(shell: InteractiveShell, state: Path) -> None:
    found = run(shell, f"%%headrace --arrow --state '{state}'\n{QUERY};")
    assert isinstance(found, pa.Table)
    assert found.schema.names == ["user", "rows"]


@pytest.mark.parametrize(
    ("line", "query", "said"),
    [
        ("--state {state}", "SELECT * FROM click", "headrace: asked for the table 'click'; "),
        ("--state {state}", "DROP TABLE decisions", "that is not one SELECT"),
        ("--state {state} not-a-name", "SELECT 1", "that is no name of a variable"),
        ("--state {state} --chart", "SELECT 1", "asked with %%headrace; unrecognized"),
        ("--state '{state}", "SELECT 1", "No closing quotation; close the quotes"),
        ("--state /nowhere", "SELECT 1", "there is no such file; start the pipeline"),
    ],
)
def test_a_mistake_is_a_sentence(
    shell: InteractiveShell,
    state: Path,
    capsys: pytest.CaptureFixture[str],
    line: str,
    query: str,
    said: str,
) -> None:
    assert run(shell, f"%%headrace {line.replace('{state}', str(state))}\n{query}") is None
    told = capsys.readouterr()
    assert said in told.err
    assert "Traceback" not in told.out + told.err


def test_one_line_asks_the_state_folder_of_the_demo(
    shell: InteractiveShell, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".headrace").mkdir()
    (tmp_path / ".headrace" / "demo").symlink_to(state)
    monkeypatch.chdir(tmp_path)
    found = run(shell, "%headrace SELECT 7 AS x")
    assert isinstance(found, pd.DataFrame)
    assert found["x"].tolist() == [7]
