"""One Flink job in a process of its own, and what it took: ``flink_job.py TASK RESULT``.

TASK is JSON: name, statements, inserts, settings, folder. RESULT gets the seconds of wall
time and of the JVM's CPU, the JVM's start included.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import orjson

from headrace.jobs.machine import flink
from headrace.jobs.machine.job import Job


def jvm_cpu_seconds() -> float:
    """Add up the CPU time of this process's child, the JVM: nothing else is started here."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may hold anything in its parentheses: state, ppid, …
            fields = path.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:  # gone since
            continue
        if int(fields[1]) == os.getpid():
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main(task: Path, result: Path) -> None:
    """Run the job to its end."""
    told = orjson.loads(task.read_bytes())
    start = time.perf_counter()
    job = Job(told["name"], told["statements"], told["inserts"])
    flink.run(job, folder=Path(told["folder"]), settings=told["settings"])
    wall = time.perf_counter() - start
    result.write_bytes(orjson.dumps({"wall": wall, "cpu": jvm_cpu_seconds()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
