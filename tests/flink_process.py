"""Runs Flink SQL in a process of its own, which takes its JVM with it: a task file, to its end.

A task is ``{"settings": {…}, "statements": […], "inserts": […]}``; the inserts are one job. With
a ``"query"`` in their place, its plan is printed and nothing is run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.jobs.machine.java import java_home

_SETTINGS = {"table.local-time-zone": "UTC", "parallelism.default": "1", "rest.port": "0"}
_SECONDS = 400


def run(
    statements: Sequence[str],
    inserts: Sequence[str],
    folder: Path,
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run `inserts` as one job over what `statements` define; an AssertionError if it fails."""
    told = {"settings": {**_SETTINGS, **(settings or {})}}
    _done({**told, "statements": statements, "inserts": inserts}, folder)


def plan(statements: Sequence[str], query: str, folder: Path) -> str:
    """Say how the planner would run `query` over what `statements` define."""
    return _done({"settings": _SETTINGS, "statements": statements, "query": query}, folder)


def _done(told: Mapping[str, object], folder: Path) -> str:
    task = folder / "task.json"
    task.write_text(json.dumps(told), "utf-8")
    done = subprocess.run(
        [sys.executable, __file__, str(task)],
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    causes = [line for line in done.stderr.splitlines() if line.startswith("Caused by")]
    assert done.returncode == 0, "\n".join(causes) or done.stderr[-2_000:]
    return done.stdout


def _main(task: Path) -> None:
    os.environ["JAVA_HOME"] = str(java_home())
    os.environ.setdefault("JVM_ARGS", "-Xmx1g -XX:+UseSerialGC")
    from pyflink.table import EnvironmentSettings, TableEnvironment

    told = json.loads(task.read_text("utf-8"))
    environment = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in told["settings"].items():
        environment.get_config().set(key, value)
    for statement in told["statements"]:
        environment.execute_sql(statement)
    if "query" in told:
        sys.stdout.write(environment.explain_sql(told["query"]))
        return
    together = environment.create_statement_set()
    for insert in told["inserts"]:
        together.add_insert_sql(insert)
    together.execute().wait()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
