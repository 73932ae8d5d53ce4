"""Full disks: the store's folder on a file system that is too small, and then grows.

In a mount namespace of its own, so nothing of it is seen outside. Where the machine allows none
(no root, no user namespaces) it is skipped, and says so.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from headrace.pipelines.pipeline import Pipeline
from tests.chaos_fork import forked
from tests.chaos_log import messages, named, state_of, topic_of
from tests.jobs.in_memory import Log

__all__ = ["main", "run"]

_PANES = 180
_LEAST_KB, _MOST_KB = 600, 2_400
_LARGE = 20_000


def run(count: int, seed: int, folder: Path) -> tuple[int, list[str], str]:
    """Make `count` disks; give how many there were, what is wrong, and how each ended."""
    program = str(Path(__file__).with_name("__main__.py"))
    argv = [sys.executable, program, "chaos_disk", str(count), str(seed), str(folder)]
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0:
            done = subprocess.run([*unshare, *argv], check=False, capture_output=True, text=True)
            lines = done.stdout.splitlines()
            wrong = [line for line in lines if "WRONG" in line]
            if done.returncode:
                wrong.append(f"status {done.returncode}: {done.stderr[-2000:]}")
            kinds = Counter(line.partition(" (")[0] for line in lines)
            return len(lines), wrong, "; ".join(f"{kind} {n}" for kind, n in kinds.items())
    return 0, [], "SKIPPED: no mount namespace here, neither as root nor as a user"


def main(arguments: list[str]) -> int:
    """Be the process in the namespace: print a line for each disk."""
    count, seed, at = int(arguments[0]), int(arguments[1]), arguments[2]
    dice = random.Random(seed)  # noqa: S311 - no secret
    folder = Path(at)
    pipeline, log = named(folder, "small"), Log()
    for each in messages(_PANES, seed):
        topic = topic_of(pipeline, each)
        filler = dice.randbytes(_LARGE if each.topic == "dead" else 0)
        log.send(topic, each.value + filler, partition=each.partition, headers=each.headers)
    run = _Run(pipeline, log)
    truth = forked(lambda: run.through(folder / "calm", folder / "calm.json")).said
    for number in range(count):
        disk = folder / f"disk{number}"
        disk.mkdir()
        size = dice.randint(_LEAST_KB, _MOST_KB)
        _mount(disk, "-t", "tmpfs", "-o", f"size={size}k", "tmpfs")
        said = _filled(run, disk, folder / f"{number}.json", truth)
        sys.stdout.write(f"{said} ({size} kB)\n")
        _call("umount", str(disk))
    return 0


def _mount(disk: Path, *how: str) -> None:
    _call("mount", *how, str(disk))


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True)


@dataclass(frozen=True)
class _Run:
    """A store process on a log in memory, from what is in its folder to the log's end."""

    pipeline: Pipeline
    log: Log

    def through(self, folder: Path, acknowledged: Path) -> str:
        """Go through; note, on another disk, the offsets that were acknowledged after each step."""
        copy = {place: list(said) for place, said in self.log.messages.items()}
        with pytest.MonkeyPatch.context() as patch:
            log = Log(defaultdict(list, copy))
            log.install(patch)
            patch.setattr("headrace.jobs.store._POLL_MESSAGES", 40)
            process = log.process(self.pipeline, folder)
            before = orjson.loads(acknowledged.read_bytes()) if acknowledged.exists() else {}
            now = {f"{topic}/{partition}": n for (topic, partition), n in process.read.items()}
            if lost := {place: n for place, n in before.items() if now[place] < n}:
                return f"acknowledged and lost: {lost}"
            rested = 0
            while rested < 2:
                rested = 0 if process.step() else rested + 1
                now = {f"{topic}/{partition}": n for (topic, partition), n in process.read.items()}
                acknowledged.write_bytes(orjson.dumps(now))
            return str(state_of(process))


def _filled(run: _Run, disk: Path, acknowledged: Path, truth: str) -> str:
    """Fill a disk, let it grow and go on; say what came of it."""

    def through() -> str:
        return run.through(disk / "store", acknowledged)

    first = forked(through)
    if first.broken or first.killed:
        return f"WRONG: {first.said}"
    if first.refused and "the disk is full" not in first.said:
        return f"WRONG: it said {first.said}"
    if not first.refused and first.said != truth:
        return f"WRONG: {first.said}"
    _mount(disk, "-o", "remount,size=256m")
    second = forked(through)
    if second.said != truth:
        return f"WRONG: {second.said}"
    return "full, named, gone on" if first.refused else "large enough"
