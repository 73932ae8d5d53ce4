"""What several test files share: one real broker for the whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from headrace.jobs.machine.broker import Broker, running
from headrace.jobs.machine.java import jars, java_home
from headrace.jobs.machine.job import HEAP
from headrace.operators.errors import HeadraceError

# A test's Flink job lives for seconds, and half of what its start takes is the second compiler:
# 16 s of CPU without it, 27 s with it.
os.environ.setdefault("JVM_ARGS", f"-Xmx{HEAP} -XX:+UseSerialGC -XX:TieredStopAtLevel=1")


_LONG = ("e2e", "flink", "kafka")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that wait for a JVM: the end would be left waiting for them."""
    long = {item.path for item in items if any(map(item.get_closest_marker, _LONG))}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def java_and_jars() -> None:
    """Java and the broker's jars; a skip that says which is missing where they are not."""
    try:
        java_home()
        jars("broker")
    except HeadraceError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """The broker of the run; a test makes topics of its own, and leaves the broker running."""
    request.getfixturevalue("java_and_jars")
    with running(tmp_path_factory.mktemp("broker")) as one:
        yield one
