"""What several test files share: one real broker for the whole run."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

import pytest

from headrace.jobs.machine.broker import Broker, running
from headrace.jobs.machine.java import jars, java_home
from headrace.jobs.machine.job import HEAP
from headrace.operators.errors import HeadraceError
from tests import class_archive

# A test's Flink job lives for seconds, and half of what its start takes is the second compiler:
# 16 s of CPU without it, 27 s with it.
os.environ.setdefault("JVM_ARGS", f"-Xmx{HEAP} -XX:+UseSerialGC -XX:TieredStopAtLevel=1")


_LONG = ("e2e", "flink", "kafka")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that wait for a JVM: the end would be left waiting for them."""
    long = {item.path for item in items if _waits_for_jvm(item)}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let JVMs start from archives, and the collector pass over what lives for the whole run."""
    if any(map(_waits_for_jvm, session.items)):
        with contextlib.suppress(HeadraceError):  # a test will say what is missing
            os.environ |= class_archive.environment()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let what lived for the whole run go."""
    gc.unfreeze()


def _waits_for_jvm(item: pytest.Item) -> bool:
    return any(map(item.get_closest_marker, _LONG))


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
