"""A client of `serving.py`: asks on one kept connection, and prints what each request took."""

from __future__ import annotations

import http.client
import random
import sys
import time

import orjson


def main(address: str, entities: int, users: int, requests: int, at: int, seed: int) -> None:
    """Ask, after some requests that are not timed."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    connection = http.client.HTTPConnection(address)
    took = []
    for i in range(requests + requests // 10):
        rows = [{"at": at, "user": chance.randrange(users)} for _ in range(entities)]
        body = orjson.dumps({"rows": rows})
        start = time.perf_counter()
        connection.request("POST", "/v1/features", body)
        answer = connection.getresponse()
        content = answer.read()
        if i >= requests // 10:
            took.append(time.perf_counter() - start)
        if answer.status != http.client.OK:
            sys.exit(f"{answer.status}: {content[:500]!r}")
    sys.stdout.write(orjson.dumps(took).decode())


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
