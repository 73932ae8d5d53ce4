"""What an answer over HTTP takes: four clients of processes of their own, on kept connections.

::

    quiet           the store process only answers
    materialising   beside it, it takes in tiles as fast as it can

20 features, of 1 entity and of 100; 10,000 users with 20 tiles each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from benchmarks.measure import say, store
from headrace.jobs.machine.local import Local, running
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Writer
from headrace.pipelines.load import load

__all__ = ["PANES", "STARTS", "USERS", "Panes", "run"]

USERS, PANES, CLIENTS = 10_000, 200, 4
CASES = {"1 entity": (1, 1_500), "100 entities": (100, 300)}
"""Per case the entities of a request, and the requests of a client."""
_PANE_ROWS = 1_000
_PARTIALS = 5
STARTS = 1_700_000_000_000
_PIPELINE = Path(__file__).with_name("serving.yaml")
_CLIENT = Path(__file__).with_name("serving_client.py")


def run(rounds: int) -> list[str]:
    """Measure both states in turn; store and tell the quantiles."""
    took: dict[str, list[list[float]]] = {}
    committed: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as name,
        running(load(_PIPELINE), Path(name) / "state", ("store",)) as local,
    ):
        panes = Panes(local)
        panes.fill()
        for _ in range(rounds):
            for case, (entities, requests) in CASES.items():
                quiet = _ask(local, entities, requests)
                with panes.flowing() as rate:
                    loaded = _ask(local, entities, requests)
                committed.append(rate[0] / sum(loaded) * CLIENTS)
                took.setdefault(f"{case}, quiet", []).append(quiet)
                took.setdefault(f"{case}, materialising", []).append(loaded)
    quantiles = {case: [_quantiles(each) for each in every] for case, every in took.items()}
    store(
        "serving",
        milliseconds=quantiles,
        clients=CLIENTS,
        tiles_per_second_beside=[round(each) for each in committed],
    )
    lines = [
        f"{case}: p50 {_middle(every, 'p50'):.2f} ms, p99 {_middle(every, 'p99'):.2f} ms"
        for case, every in quantiles.items()
    ]
    lines.append(f"beside it {statistics.median(committed):,.0f} tiles/s were taken in")
    for line in lines:
        say(f"   {line}")
    return lines


class Panes:
    """Writes panes of tiles to the view's topic, as the views job does."""

    def __init__(self, local: Local) -> None:
        self._local, self._sent = local, 0
        self._topic = local.pipeline.view_topic(local.pipeline.views["clicks"])

    def fill(self) -> None:
        """Write what is there before anything is measured."""
        with Writer(self._local.bootstrap) as writer:
            for _ in range(PANES):
                self._send(writer)
        wait_until(lambda: self._taken() == self._sent * _PANE_ROWS, 120.0, "the tiles")

    @contextmanager
    def flowing(self) -> Iterator[list[int]]:
        """Write on for as long as the context lasts; then say how many tiles were taken in."""
        stop, taken, before = threading.Event(), [0], self._taken()

        def flow() -> None:
            with Writer(self._local.bootstrap) as writer:
                while not stop.is_set():
                    for _ in range(20):
                        self._send(writer)
                    writer.flush()

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            yield taken
        finally:
            taken[0] = self._taken() - before
            stop.set()
            thread.join()
            wait_until(lambda: self._taken() == self._sent * _PANE_ROWS, 120.0, "the tiles")

    def _send(self, writer: Writer) -> None:
        first = self._sent * _PANE_ROWS % USERS
        tiles = [
            {"k0": user, **{f"p{i}": user % 7 + 1 for i in range(_PARTIALS)}}
            for user in range(first, first + _PANE_ROWS)
        ]
        self._sent += 1
        pane = {"end": STARTS + self._sent * 1_000, "rows": len(tiles), "unkeyed": 0}
        writer.send(self._topic, orjson.dumps({**pane, "tiles": tiles}), partition=0)

    def _taken(self) -> int:
        return int(self._local.client.status()["views"]["clicks"]["tiles"])


def _ask(local: Local, entities: int, requests: int) -> list[float]:
    """Run the clients; give what each request took."""
    address = local.client.address().removeprefix("http://")
    asked = [address, entities, USERS, requests, STARTS + PANES * 1_000]
    clients = [
        subprocess.Popen(
            [sys.executable, str(_CLIENT), *map(str, asked), str(seed)], stdout=subprocess.PIPE
        )
        for seed in range(CLIENTS)
    ]
    told = [client.communicate()[0] for client in clients]
    if any(client.returncode for client in clients):
        message = "a client failed; see above"
        raise SystemExit(message)
    return [seconds for each in told for seconds in orjson.loads(each)]


def _quantiles(seconds: list[float]) -> dict[str, float]:
    cut = statistics.quantiles(seconds, n=100)
    return {"p50": round(cut[49] * 1_000, 3), "p99": round(cut[98] * 1_000, 3)}


def _middle(every: list[dict[str, float]], which: str) -> float:
    return statistics.median(each[which] for each in every)
