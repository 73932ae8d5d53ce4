"""A standalone Flink of the wheel's own jars: one JobManager, TaskManagers, in a folder.

::

    config.yaml ──► JobManager (REST) ◄── TaskManager, TaskManager, …
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from headrace.jobs.machine.broker import HOST, free_ports
from headrace.jobs.machine.java import java_home
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.session import Session
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.errors import EnvironmentProblem

SESSION = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASKS = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_OPENED = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent")


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs, and what looks after its processes."""

    rest: str
    supervisor: Supervisor


@contextmanager
def running(
    folder: Path,
    *,
    task_managers: int,
    slots: int,
    settings: Mapping[str, str] | None = None,
    master: tuple[str, ...] = (SESSION,),
    env: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """Run a cluster; each TaskManager has `slots`, `master` is the JobManager's program."""
    rpc, rest = free_ports(2)
    told = {
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": rpc,
        "jobmanager.bind-host": HOST,
        "rest.address": HOST,
        "rest.port": rest,
        "rest.bind-address": HOST,
        "web.submit.enable": "false",
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "taskmanager.numberOfTaskSlots": slots,
        "taskmanager.cpu.cores": 1.0,
        "taskmanager.memory.framework.heap.size": "64m",
        "taskmanager.memory.framework.off-heap.size": "64m",
        "taskmanager.memory.task.heap.size": "320m",
        "taskmanager.memory.task.off-heap.size": "0",
        "taskmanager.memory.network.min": "96m",
        "taskmanager.memory.network.max": "96m",
        "taskmanager.memory.managed.size": "32m",
        "taskmanager.memory.jvm-metaspace.size": "160m",
        "taskmanager.memory.jvm-overhead.min": "64m",
        "taskmanager.memory.jvm-overhead.max": "64m",
        **(settings or {}),
    }
    conf = folder / "conf"
    conf.mkdir(parents=True)
    lines = (f"{name}: {json.dumps(value)}\n" for name, value in told.items())
    (conf / "config.yaml").write_text("".join(lines), "utf-8")
    logging = "rootLogger.level = INFO\nrootLogger.appenderRef.out.ref = out\n"
    logging += "appender.out.name = out\nappender.out.type = CONSOLE\n"
    logging += "appender.out.layout.type = PatternLayout\n"
    logging += "appender.out.layout.pattern = %d %p %c{1} %m%n\n"
    (conf / "log4j.properties").write_text(logging, "utf-8")
    with Supervisor() as supervisor:
        cluster = Cluster(f"{HOST}:{rest}", supervisor)
        session = Session(cluster.rest)
        supervisor.start(_process("jobmanager", folder, master, "-Xmx320m", env))
        for number in range(task_managers):
            name = f"taskmanager{number}"
            supervisor.start(_process(name, folder, (_TASKS,), "-Xmx384m", env))

        def whole() -> bool:
            supervisor.check()
            try:
                return bool(session.ask("/overview")["slots-total"] == task_managers * slots)
            except EnvironmentProblem:
                return False

        wait_until(whole, 120, "the TaskManagers", every_seconds=0.2)
        yield cluster


def _process(
    name: str, folder: Path, program: tuple[str, ...], heap: str, env: Mapping[str, str] | None
) -> Process:
    found = util.find_spec("pyflink")
    assert found is not None
    assert found.submodule_search_locations is not None
    home = Path(found.submodule_search_locations[0])
    jars = sorted((home / "lib").glob("*.jar"))
    argv = [str(java_home() / "bin" / "java"), heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    argv += [f"--add-opens=java.base/java.{each}=ALL-UNNAMED" for each in _OPENED]
    argv += [f"-Dlog4j.configurationFile={folder / 'conf' / 'log4j.properties'}"]
    argv += ["-cp", ":".join(map(str, jars)), program[0], "--configDir", str(folder / "conf")]
    # Where a JobManager that runs a Python program finds Flink's jar for that.
    places = {"FLINK_CONF_DIR": folder / "conf", "FLINK_OPT_DIR": home / "opt"}
    told = {**{name: str(place) for name, place in places.items()}, **(env or {})}
    return Process(name, [*argv, *program[1:]], folder / f"{name}.log", env=told)
