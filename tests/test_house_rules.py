"""The house rules hold, and each can be broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house_rules import RULES, Rule, breaches

BROKEN = {
    "code from data": ("jobs/a.py", "x = pickle.loads(y)"),
    "broad except": ("operators/a.py", "except Exception as error:"),
    "sleep in a test": ("tests/a.py", "time.sleep(1)"),
    "offset reset": ("jobs/a.py", "Consumer(auto_offset_reset='latest')"),
    "clock in an operator": ("operators/a.py", "at = time.time()"),
    "commit": ("feature_store/a.py", "connection.execute('COMMIT')"),
    "bare type: ignore": ("jobs/a.py", "x = y  # type: ignore[arg-type]"),
    "address in a lock": ("requirements/a.txt", "--index-url https://example.org/simple"),
}


def test_the_tree_keeps_them() -> None:
    assert list(breaches()) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_is_seen_when_broken(rule: Rule, tmp_path: Path) -> None:
    path, line = BROKEN[rule.name]
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(f"first\n{line}\n", "utf-8")
    assert [breach.split(": ")[:2] for breach in breaches(tmp_path)] == [
        [f"{path}:2", rule.name.split(": ")[0]]
    ]


@pytest.mark.parametrize(
    "line",
    [
        "retrieval(x)",
        "model.eval()",
        "x = y  # type: ignore[arg-type]  # the stub is wrong",
        "except ExceptionGroup as group:",
        "Consumer(auto_offset_reset='none')",
    ],
)
def test_neighbours_are_left_alone(line: str, tmp_path: Path) -> None:
    (tmp_path / "operators").mkdir()
    (tmp_path / "operators" / "a.py").write_text(f"{line}\n", "utf-8")
    assert list(breaches(tmp_path)) == []
