"""The online half of `feast.py`: reads in process, and two servers under four clients."""

from __future__ import annotations

import http.client
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.environment import python_of
from benchmarks.feast_process import ran
from benchmarks.measure import Ratio, alternate, equal, say
from headrace.jobs.machine.local import Local, running
from headrace.jobs.machine.processes import Process
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Writer
from headrace.pipelines.load import load

__all__ = ["in_process", "over_http"]

KEYS, ROWS = 10_000, 200_000
CASES = {"1 entity x 5 features": (1, 5, 2_000), "100 entities x 20 features": (100, 20, 200)}
"""Per case the entities of a read, the features, and how many reads are timed."""
CLIENTS, REQUESTS = 4, 500
_DAY, _STARTS = 86_400_000, 1_700_006_400_000
_ENDS = _STARTS + 2 * _DAY
_PIPELINE = Path(__file__).with_name("feast.yaml")
_PANE_KEYS = 500
_FOREVER = 365 * _DAY


def _write(folder: Path, features: int) -> pa.Table:
    """Write feature rows in order, no two of one key and time."""
    rng = np.random.default_rng(20130101)
    at = _STARTS + np.arange(ROWS) * (_DAY // ROWS) + 1
    times = pa.array(at * 1_000, pa.timestamp("us", tz="UTC"))
    columns = {f"f{i}": rng.normal(size=ROWS) for i in range(features)}
    rows = {"user_id": rng.integers(0, KEYS, ROWS), "event_timestamp": times}
    table = pa.table({**rows, **columns})
    pq.write_table(table, folder / "rows.parquet")
    return table


def _task(folder: Path, features: int, questions: list[list[int]]) -> dict[str, object]:
    return {
        "what": "online",
        "features": [f"f{i}" for i in range(features)],
        "ttl_ms": _FOREVER,
        "threads": 2,
        "rows": str(folder / "rows.parquet"),
        "repository": str(folder / "feast"),
        "between_ms": [_STARTS, _ENDS],
        "questions": questions,
    }


def in_process(rounds: int) -> dict[str, Any]:
    """Time reads of a store that is open in the process that asks."""
    found: dict[str, Any] = {}
    for case, (entities, features, reads) in CASES.items():
        rng = np.random.default_rng(7)
        questions = rng.integers(0, KEYS + KEYS // 100, (reads, entities)).tolist()
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
            folder = Path(name)
            _write(folder, features)
            task = _task(folder, features, questions)
            ways = {way: partial(ran, way, task, folder) for way in ("feast", "ours")}
            took = alternate(ways, rounds)
        ours, theirs = ([each["answers"] for each in took[way]] for way in ("ours", "feast"))
        names = [f"f{i}" for i in range(features)]
        same = [[{n: a[n] for n in names} for a in one] for one in theirs] == ours
        equal(f"{case}, in process", same)
        mine = [_quantiles(each["called"]) for each in took["ours"]]
        ratios = {
            f"{what} / ours, {which}": Ratio.of(
                [_quantiles(each[key])[which] for each in took["feast"]],
                [each[which] for each in mine],
            )
            for what, key in (("get_online_features", "called"), ("online_read", "bare"))
            for which in ("p50", "p99")
        }
        found[case] = {"ratios": ratios, "ours_seconds": mine}
        for what, ratio in ratios.items():
            say(f"   {case}: {what} {ratio}")
    return found


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    cut = statistics.quantiles(seconds, n=100)
    return {"p50": cut[49], "p99": cut[98]}


def over_http(rounds: int) -> dict[str, Any]:
    """Time requests of four clients at once that keep their connections."""
    questions = np.random.default_rng(8).integers(0, KEYS, (CLIENTS, REQUESTS)).tolist()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        rows = _write(folder, 5)
        ran("feast", _task(folder, 5, [[0]] * 3), folder)  # fills its online store
        with (
            running(load(_PIPELINE), folder / "state", ("store",)) as local,
            _feast_serves(local, folder) as feast,
        ):
            _fill(local, rows)
            ours = local.client.address().removeprefix("http://")
            ways = {
                "feast": partial(_load, feast, "/get-online-features", _theirs, questions),
                "ours": partial(_load, ours, "/v1/features", _ours, questions),
            }
            _compare(feast, ours, questions[0][:50])
            took = alternate(ways, rounds)
    quantiles = {way: [_quantiles(each) for each in took[way]] for way in took}
    ratios = {
        f"ours / feast, {which}": Ratio.of(
            *([each[which] for each in quantiles[way]] for way in ("ours", "feast"))
        )
        for which in ("p50", "p99")
    }
    return {"ratios": ratios, "seconds": quantiles, "clients": CLIENTS, "requests": REQUESTS}


def _theirs(user: int) -> dict[str, object]:
    return {"features": [f"stats:f{i}" for i in range(5)], "entities": {"user_id": [user]}}


def _ours(user: int) -> dict[str, object]:
    return {"rows": [{"user_id": user}]}


def _compare(feast: str, ours: str, users: list[int]) -> None:
    for user in users:
        told = _asked(http.client.HTTPConnection(feast), "/get-online-features", _theirs(user))
        named = dict(zip(told["metadata"]["feature_names"], told["results"], strict=True))
        mine = _asked(http.client.HTTPConnection(ours), "/v1/features", _ours(user))["features"][0]
        theirs = [named[f"f{i}"]["values"][0] for i in range(5)]
        if theirs != [mine[f"s{i}"] for i in range(5)]:
            equal("over HTTP", same=False)
    equal(f"over HTTP, {len(users)} entities", same=True)


def _asked(connection: http.client.HTTPConnection, path: str, body: object) -> Any:
    headers = {"content-type": "application/json"}
    connection.request("POST", path, orjson.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.client.OK:
        message = f"{path}: {answer.status} {content[:500]!r}"
        raise SystemExit(message)
    return orjson.loads(content)


def _load(
    address: str, path: str, body: Callable[[int], object], questions: list[list[int]]
) -> list[float]:
    """Ask from one thread for each list of questions; give what each request took."""
    took: list[float] = []

    def client(users: list[int]) -> None:
        connection = http.client.HTTPConnection(address)
        for user in users[:20]:
            _asked(connection, path, body(user))
        mine = []
        for user in users:
            start = time.perf_counter()
            _asked(connection, path, body(user))
            mine.append(time.perf_counter() - start)
        took.extend(mine)
        connection.close()

    threads = [threading.Thread(target=client, args=(users,)) for users in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(took) != sum(map(len, questions)):
        message = f"{path}: a client failed; see above"
        raise SystemExit(message)
    return took


@contextmanager
def _feast_serves(local: Local, folder: Path) -> Iterator[str]:
    """Run Feast's own server; one that does not start its worker anew while it is measured."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    argv = [str(python_of("feast").with_name("feast")), "-c", str(folder / "feast"), "serve"]
    argv += ["--port", str(port), "--no-access-log", "--max-requests", "10000000"]

    def ready() -> bool:
        try:
            connection = http.client.HTTPConnection(address, timeout=2)
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False

    env = {"FEAST_USAGE": "False", "OMP_NUM_THREADS": "2"}
    local.supervisor.start(Process("feast", argv, folder / "feast.log", env=env, ready=ready))
    local.supervisor.wait_ready("feast")
    yield address


def _fill(local: Local, rows: pa.Table) -> None:
    """Write the newest row of each user to the view's topic, as the views job does."""
    newest = {row["user_id"]: (place, row) for place, row in enumerate(rows.to_pylist())}
    tiles = [_tile(user, place, row) for user, (place, row) in newest.items()]
    topic = local.pipeline.view_topic(local.pipeline.views["stats"])
    with Writer(local.bootstrap) as writer:
        for start in range(0, len(tiles), _PANE_KEYS):
            some = tiles[start : start + _PANE_KEYS]
            pane = {"end": _ENDS + start * 1_000 // _PANE_KEYS, "rows": len(some), "unkeyed": 0}
            writer.send(topic, orjson.dumps({**pane, "tiles": some}), partition=0)
    wait_until(
        lambda: local.client.status()["views"]["stats"]["tiles"] == len(tiles), 60.0, "the tiles"
    )


def _tile(user: int, place: int, row: dict[str, Any]) -> dict[str, object]:
    at = int(row["event_timestamp"].timestamp() * 1_000)
    values = orjson.dumps({f"v{i}": row[f"f{i}"] for i in range(5)}).decode()
    return {"k0": user, "newest": f"{at:015}{0:05}{place:019}{values}"}
