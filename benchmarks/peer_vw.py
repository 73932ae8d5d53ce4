"""Vowpal Wabbit in its own environment: ``peer_vw.py TASK RESULT``, both JSON.

TASK has `data`, a file of its text; `cache`, where its own binary form of it goes; `runs`, by name
the arguments of each; and `predictions`, a folder. Every run is VW's own driver, in C++, with
no call of Python. Its two threads, which parse and learn, share one core here, and the CPU of both
is counted. RESULT gets of each run the seconds from the text and from the cache, both less those
over a file of one example, and its predictions lie in the folder under its name. Where `cache` is
empty there is one pass over the text, which predicts and is timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from vowpalwabbit.pyvw import Workspace  # type: ignore[import-not-found]  # not in our environment


def _took(arguments: str) -> float:
    start = time.process_time()
    Workspace(f"{arguments} --quiet").finish()
    return time.process_time() - start


def main(task_path: Path, result: Path) -> None:
    """Do all runs, once each."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    task = json.loads(task_path.read_bytes())
    data, cache, one = task["data"], task["cache"], f"{task['data']}.one"
    with Path(data).open() as file:
        Path(one).write_text(file.readline())
    if cache:
        _took(f"-d {data} --cache_file {cache} -k -b {task['bits']}")
    found = {}
    for name, arguments in task["runs"].items():
        said = Path(task["predictions"]) / name
        predicting = _took(f"{arguments} -d {data} -p {said} --link logistic")
        if not cache:
            found[name] = {"text": predicting}
            continue
        nothing = _took(f"{arguments} -d {one}")
        found[name] = {
            "text": _took(f"{arguments} -d {data}") - nothing,
            "cache": _took(f"{arguments} -d {data} --cache_file {cache}") - nothing,
        }
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
