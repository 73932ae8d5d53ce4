"""A client of `swaps.py`: asks without a pause until its input ends, and checks every answer.

Prints of each request when it began and ended, by the clock that all processes share, and the
version that answered. An answer that is not that version's to the bit ends it.
"""

from __future__ import annotations

import http.client
import random
import sys
import threading
import time
from array import array
from pathlib import Path

import orjson


def main(address: str, users: int, at: int, expected: Path, seed: int) -> None:
    """Ask, each time for another user."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    right = orjson.loads(expected.read_bytes())
    stopped = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stopped.set()

    threading.Thread(target=wait, daemon=True).start()
    connection = http.client.HTTPConnection(address)
    told = array("d")
    while not stopped.is_set():
        body = orjson.dumps({"rows": [{"at": at, "user": chance.randrange(users)}]})
        start = time.monotonic()
        connection.request("POST", "/v1/predict", body)
        answer = connection.getresponse()
        content = answer.read()
        end = time.monotonic()
        if answer.status != http.client.OK:
            sys.exit(f"{answer.status}: {content[:500]!r}")
        said = orjson.loads(content)
        version, (p,) = said["model_version"], said["predictions"]
        if p != right[version]:
            sys.exit(f"version {version} predicts {right[version]}, and {p} was answered")
        told.extend((start, end, version))
    sys.stdout.buffer.write(told.tobytes())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
