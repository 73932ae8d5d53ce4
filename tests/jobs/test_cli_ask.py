"""The commands of who begins: init, send, predict, features, with what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.jobs.cli.main import application
from headrace.jobs.serving.server import Server
from headrace.operators.errors import HeadraceError
from headrace.operators.sealed import sealed
from headrace.pipelines.load import load
from tests.feature_store.made_up import EVERY
from tests.jobs.test_server import processing

ROW = {"user": "u", "page": "a", "hour": 3, "at": 3 * EVERY}


@contextmanager
def asked(folder: Path) -> Iterator[list[str]]:
    """Serve a small store; give the option that says where."""
    with processing(folder) as process:
        server = Server(process)
        server.start()
        (folder / "store" / "address.json").write_bytes(sealed(server.told()))
        yield ["--state", str(folder)]
        server.stop()


def said(*words: object) -> str:
    done = CliRunner().invoke(application, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refusal(*words: object) -> str:
    done = CliRunner().invoke(application, [*map(str, words)])
    assert done.exit_code != 0
    return str(done.exception) if isinstance(done.exception, HeadraceError) else done.output


def test_rows_are_predicted_and_their_features_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(ROW)}\n\n{json.dumps(ROW)}\n")
    with asked(tmp_path) as state:
        told = json.loads(said("predict", "--row", json.dumps(ROW), "--json", *state))
        assert told["predictions"] == [0.5]
        assert told["features"] == [{"n": 1, "total": 8, "last_x": 7}]
        told = json.loads(said("features", tmp_path / "rows.jsonl", "--json", *state))
        assert told["features"] == 2 * [{"n": 1, "total": 8, "last_x": 7}]
        named = said("features", "--row", json.dumps(ROW), "--name", "total", "--json", *state)
        assert json.loads(named)["features"] == [{"total": 8}]
        one = said("predict", "--row", json.dumps(ROW), *state)
        assert [line.split() for line in one.splitlines()[1:3]] == [["p", "0.5"], ["n", "1"]]
        assert "version 0; complete: clicks to 1970-01-01 00:02:00" in one
        two = said("features", tmp_path / "rows.jsonl", *state)
        assert [line.split() for line in two.splitlines()[:3]] == [
            ["n", "total", "last_x"],
            *(2 * [["1", "8", "7"]]),
        ]
        assert "a decision has" in refusal("predict", "--row", '{"usr": 1}', *state)


def test_rows_that_are_none(tmp_path: Path) -> None:
    state = ("--state", tmp_path)
    assert "give --row or a file" in refusal("predict", *state)
    assert "give --row or a file" in refusal("predict", tmp_path / "f", "--row", "{}", *state)
    assert "No such file" in refusal("features", tmp_path / "f", *state)
    assert "row 2 is no JSON" in refusal("predict", "--row", "{}", "--row", "{", *state)


def test_a_file_to_start_from_is_a_pipeline(tmp_path: Path) -> None:
    folder = ("--folder", tmp_path)
    assert "shop.yaml is written" in said("init", "shop", *folder)
    assert load(tmp_path / "shop.yaml").name == "shop"
    assert "File exists; choose another name" in refusal("init", "shop", *folder)
    assert "No such file" in refusal("init", "shop", "--folder", tmp_path / "none")
    for name in ("Shop", "a__b", "../shop", ""):
        refusal("init", name, *folder)
    assert [path.name for path in tmp_path.iterdir()] == ["shop.yaml"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["click"], "give a source and a file"),
        ([], "give a source and a file"),
        (["--wait"], "give a source and a file"),
        (["click", "rows.jsonl", "--wait"], "give --through"),
        (["--through", "noon"], "--through"),
    ],
)
def test_what_send_is_not_told(tmp_path: Path, words: list[str], told: str) -> None:
    said("init", "shop", "--folder", tmp_path)
    assert told in refusal("send", tmp_path / "shop.yaml", *words, "--state", tmp_path / "none")
