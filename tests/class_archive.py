"""Archives of Java's classes, with which a JVM of the tests starts with half of the CPU.

::

    a start that lists what it loads ──► java -Xshare:dump ──► a file, mapped by each later start

A Flink that runs one small job takes 5 s of CPU instead of 9, a broker 3 instead of 5; a run of all
tests starts a hundred JVMs. Flink has its planner in a jar within a jar, for a loader of its own,
whose classes no archive may have: here it lies beside the other jars. `tests/test_views_job.py`
and what runs on a cluster (`tests/flink_cluster.py`) have the planner as Flink's wheel has it.

The archives are kept in headrace's cache folder, for these jars at these places.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path

import pytest

from headrace.jobs.machine import broker
from headrace.jobs.machine.java import cache_folder, jars, java_home
from tests import flink_process

_PLAIN = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
_PLANNER = "flink-table-planner.jar"
_ROWS = """CREATE TABLE `rows` (n BIGINT, k STRING, `at` AS TO_TIMESTAMP_LTZ(n, 3),
    WATERMARK FOR `at` AS `at` - INTERVAL '1' SECOND)"""
_PANES = "CREATE TABLE `panes` (k STRING, n BIGINT, s BIGINT, t STRING)"
_QUERY = """INSERT INTO `panes` SELECT k, COUNT(*), SUM(n), LISTAGG(UPPER(k)) FROM TABLE(
    TUMBLE(TABLE `rows`, DESCRIPTOR(`at`), INTERVAL '1' SECOND))
    GROUP BY k, window_start, window_end
"""


def environment() -> dict[str, str]:
    """Make what is missing; give the variables with which brokers and Flinks start so."""
    wheel = _wheel()
    kafka = jars("broker")
    found = [*sorted((wheel / "lib").glob("*.jar")), *kafka, java_home() / "lib" / "modules"]
    told = "\n".join(f"{each} {each.stat().st_mtime_ns} {each.stat().st_size}" for each in found)
    told += Path(__file__).read_text("utf-8")
    folder = cache_folder() / "classes" / hashlib.sha256(told.encode()).hexdigest()[:16]
    with _alone(folder.parent):
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, wheel, kafka)
            (folder / "whole").touch()
    return {
        "FLINK_HOME": str(folder / "flink"),
        "JVM_ARGS": f"{os.environ['JVM_ARGS']} {_using(folder / 'flink.jsa')}",
        "JDK_JAVA_OPTIONS": _using(folder / "broker.jsa"),  # the last of two archives is taken
    }


def _using(archive: Path) -> str:
    return f"-XX:SharedArchiveFile={archive}"


def _wheel() -> Path:
    found = util.find_spec("pyflink")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time make them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for other in folder.glob("*/flink/lib/flink-dist*.jar"):
            if not other.exists():  # of an environment that is gone
                shutil.rmtree(other.parents[2])
        yield


def _make(folder: Path, wheel: Path, kafka: list[Path]) -> None:
    home = folder / "flink"
    (home / "lib").mkdir(parents=True)
    (home / "log").mkdir()
    for part in (*(wheel / "lib").glob("*.jar"), *(wheel / name for name in ("opt", "conf"))):
        if "planner-loader" in part.name:
            with zipfile.ZipFile(part) as jar:
                jar.extract(_PLANNER, home / "lib")
        else:
            (home / part.relative_to(wheel)).symlink_to(part)
    work = folder / "work"
    (work / "rows").mkdir(parents=True)
    _flink(home, work)
    _dump(folder / "flink.jsa", work / "flink.classes", _class_path(home))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", f"-XX:DumpLoadedClassList={work / 'broker.classes'}")
        with broker.running(work / "broker"):
            pass
    _dump(folder / "broker.jsa", work / "broker.classes", os.pathsep.join(map(str, kafka)))
    shutil.rmtree(work)


def _flink(home: Path, work: Path) -> None:
    """Run a small job, which lists the classes of Flink."""
    (work / "rows" / "rows.json").write_text('{"n": 1, "k": "a"}\n{"n": 5000, "k": "b"}\n', "utf-8")
    tables = (
        f"{what} WITH ('connector' = 'filesystem', 'path' = '{(work / name).as_uri()}', "
        "'format' = 'json')"
        for what, name in ((_ROWS, "rows"), (_PANES, "panes"))
    )
    listing = f"-XX:DumpLoadedClassList={work / 'flink.classes'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLINK_HOME", str(home))
        patch.setenv("JVM_ARGS", f"{_PLAIN} {listing}")
        flink_process.run(list(tables), [_QUERY], work)


def _class_path(home: Path) -> str:
    """Ask PyFlink for the class path that it starts with; an archive is for exactly that one."""
    text = (
        "import os; from pyflink import pyflink_gateway_server as made; env = dict(os.environ)\n"
        "made.prepare_environment_variables(env)\n"
        "parts = (made.construct_flink_classpath(env), made.construct_hadoop_classpath(env))\n"
        "print(os.pathsep.join(parts))"
    )
    env = {**os.environ, "FLINK_HOME": str(home)}
    said = subprocess.check_output([sys.executable, "-c", text], env=env, text=True)
    return said.splitlines()[-1]


def _dump(archive: Path, listed: Path, class_path: str) -> None:
    lines = listed.read_text("utf-8").splitlines(keepends=True)
    # What has a source was loaded by a loader of its own, and its parents may not be listed.
    listed.write_text("".join(line for line in lines if "source:" not in line), "utf-8")
    argv = [str(java_home() / "bin" / "java"), *_PLAIN.split(), "-Xshare:dump", _using(archive)]
    argv += [f"-XX:SharedClassListFile={listed}", "-cp", class_path]
    subprocess.run(argv, check=True, capture_output=True)
