"""One Flink job in a process of its own, and what it took: ``flink_job.py TASK RESULT``.

TASK is JSON: name, statements, inserts, settings, folder. RESULT gets the seconds of wall
time and of the JVM's CPU, the JVM's start included, and the highest memory that it had, in bytes.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import orjson

from headrace.jobs.machine import flink
from headrace.jobs.machine.job import Job


def jvm() -> tuple[float, int]:
    """Give CPU seconds and highest memory of this process's child: nothing but the JVM is one."""
    seconds, peak = 0.0, 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything in its parentheses: state, ppid, …
            fields = (path / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            status = (path / "status").read_text("ascii", "replace")
        except OSError:  # gone since
            continue
        if int(fields[1]) == os.getpid():
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            peak += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return seconds, peak


def main(task: Path, result: Path) -> None:
    """Run the job to its end."""
    told = orjson.loads(task.read_bytes())
    start = time.perf_counter()
    job = Job(told["name"], told["statements"], told["inserts"])
    flink.run(job, folder=Path(told["folder"]), settings=told["settings"])
    wall = time.perf_counter() - start
    cpu, peak = jvm()
    result.write_bytes(orjson.dumps({"wall": wall, "cpu": cpu, "peak_bytes": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
