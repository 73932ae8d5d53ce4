"""A peer's job in the peer's environment, and what it took: ``peer_job.py PEER TASK RESULT``.

PEER is a file beside this one that has `run`. TASK is JSON: bootstrap, topic, name, step_ms, last
(the key of the last event), and views, of each the key and the topic of its tiles. RESULT gets the
seconds of wall time and of CPU, the peer's imports included.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path


def main(peer: Path, task: Path, result: Path) -> None:
    """Run the job to the end of the log."""
    start = time.perf_counter()
    spec = importlib.util.spec_from_file_location(peer.stem, peer)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(peer)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.run(json.loads(task.read_bytes()))
    wall = time.perf_counter() - start
    result.write_text(json.dumps({"wall": wall, "cpu": time.process_time()}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
