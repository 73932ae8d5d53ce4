"""A store of several processes answers as one: the same bits, and nothing while a shard is away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from headrace.feature_store.shards import Unreachable
from headrace.jobs.evolve.rebuild import rebuild
from headrace.jobs.serving import shard_client
from headrace.jobs.serving.access import Access
from headrace.jobs.serving.metrics import Counts
from headrace.jobs.serving.server import told_of
from headrace.jobs.serving.shard_client import ShardClient
from headrace.jobs.serving.shard_server import ShardServer
from headrace.jobs.shard import ShardProcess, folder_of, folders
from headrace.jobs.store import StoreProcess
from headrace.online_learning import durable
from headrace.operators.errors import CorruptError, StoreError
from headrace.operators.sealed import sealed
from headrace.operators.shards import shard_of, shards_of
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import EVERY, TEXT, clicks, pages
from tests.jobs.in_memory import Log

COUNT = 2
STEPS = 8
USERS = [f"u{number}" for number in range(9)]
PAGES = [f"p{number}" for number in range(7)]
WIDER = TEXT.replace("    key: user\n", "    key: user\n    shards: 3\n")


def declared(folder: Path, count: int) -> Pipeline:
    path = folder / f"small{count}.yaml"
    path.write_text(WIDER + (f"store: {{shards: {count}}}\n" if count > 1 else ""))
    return load(path)


def panes(small: Pipeline) -> Iterator[tuple[str, int, bytes]]:
    """Say what the stream writes, each key in its partition."""
    click, page = (small.view_topic(small.views[name]) for name in ("clicks", "pages"))
    for step in range(1, STEPS + 1):
        end, offset = step * EVERY, (step - 1) * len(USERS)
        came = {user: step * 10 + n for n, user in enumerate(USERS) if (step + n) % 3}
        seen = {each: step * 100 + n for n, each in enumerate(PAGES) if (step + n) % 2}
        for shard in range(3):
            yield click, shard, clicks(end, **_own(came, 3, shard))
        for shard in range(2):
            yield page, shard, pages(end, **_own(seen, 2, shard))
        rows = [
            {"partition": 0, "offset": offset + n, "at": end + n, "name": f"d{offset + n}"}
            | {"user": None if n == 4 else user, "page": PAGES[(step + n) % len(PAGES)], "hour": n}
            for n, user in enumerate(USERS)
        ]
        message = {"end": end + EVERY, "rows": len(rows), "unkeyed": 0, "decisions": rows}
        yield small.decisions_topic, 0, orjson.dumps(message)


def _own(values: dict[str, int], shards: int, shard: int) -> dict[str, int]:
    return {key: value for key, value in values.items() if shard_of([key], shards) == shard}


@dataclass
class Sharded:
    """A head, its shards, and their servers."""

    head: StoreProcess
    shards: list[ShardProcess]
    servers: list[ShardServer]

    def step(self) -> None:
        """Let each take what there is."""
        parts: list[ShardProcess | StoreProcess] = [*self.shards, self.head]
        for each in parts:
            while each.step():
                pass

    def away(self, number: int) -> None:
        """Take a shard's server away."""
        self.servers[number].shutdown()


@contextmanager
def sharded(small: Pipeline, folder: Path) -> Iterator[Sharded]:
    with ExitStack() as opened:
        processes, servers = [], []
        folder.mkdir(exist_ok=True)
        for number in range(COUNT):
            process = ShardProcess(small, number, bootstrap="memory", folder=folder)
            processes.append(opened.enter_context(closing(process)))
            servers.append(serving(small, process, folder))
            opened.callback(servers[-1].shutdown)
        clients = [ShardClient(n, folder_of(folder, n) / "address.json") for n in range(COUNT)]
        head = StoreProcess(
            small, bootstrap="memory", folder=folder, models=folder / "models", shards=clients
        )
        yield Sharded(opened.enter_context(closing(head)), processes, servers)


def serving(small: Pipeline, process: ShardProcess, folder: Path) -> ShardServer:
    server = ShardServer(process.held, Access.of(small.serve), Counts(), host="127.0.0.1")
    told = told_of(small.serve, "", f"127.0.0.1:{server.port}")
    durable.write(folder_of(folder, process.number) / "address.json", sealed(told))
    return server


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    log.install(monkeypatch)
    return log


def fill(log: Log, small: Pipeline, some: slice = slice(None)) -> None:
    for topic, partition, value in list(panes(small))[some]:
        log.put(topic, value, partition=partition)


def published(log: Log, small: Pipeline) -> list[dict[str, Any]]:
    said = (each.value for each in log.messages[small.predictions_topic, 0])
    return [row for row in map(orjson.loads, filter(None, said)) if "id" in row]


QUESTIONS = [
    "SELECT * FROM predictions ORDER BY seq",
    "SELECT * FROM views.clicks ORDER BY ALL",
    "SELECT * FROM views.pages ORDER BY ALL",
    f"SELECT * FROM features.clicks({5 * EVERY}) ORDER BY ALL",
    f"SELECT last_x, COUNT(*) AS n FROM features.pages({9 * EVERY}) GROUP BY ALL ORDER BY ALL",
    "SELECT * FROM panes ORDER BY ALL",
    "SELECT topic, partition, next FROM offsets ORDER BY ALL",
]


def answers(process: StoreProcess) -> list[object]:
    """Give what a store says to everybody who asks."""
    store = process.store
    found: list[object] = [store.catalogue.select(question).to_pylist() for question in QUESTIONS]
    people = [{"user": user, "page": each} for user in [*USERS, None, "?"] for each in PAGES]
    for at in (None, 0, 3 * EVERY + 5, [EVERY * n for n in range(len(people))]):
        answer = store.reader().read(people, at)
        found.append((answer.values, answer.complete, answer.stale_ms))
    found.append(store.reader(["last_x"]).read(people[:1]).rows())
    found.append(store.reader(["n"]).read([]).values)
    rows = pa.table({"user": USERS, "page": USERS, "at": [EVERY * n for n in range(len(USERS))]})
    found.append(store.reader().read_table(rows, status=True).to_pylist())
    found.append(store.status()["views"])
    return found


def test_it_answers_as_one_process_would(tmp_path: Path, log: Log) -> None:
    whole = declared(tmp_path, 1)
    fill(log, whole)
    with closing(log.process(whole, tmp_path / "whole")) as process:
        while process.step():
            pass
        alone, told = answers(process), published(log, whole)
    assert len(told) == STEPS * len(USERS)
    log.messages[whole.predictions_topic, 0].clear()
    with sharded(declared(tmp_path, COUNT), tmp_path / "sharded") as parts:
        parts.step()
        assert published(log, whole) == told
        assert answers(parts.head) == alone
        held = [each.store.views for each in parts.shards]
        assert min(views["clicks"]["tiles"] for views in held) > 0


def test_nothing_is_predicted_while_a_shard_is_away(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = declared(tmp_path, COUNT)
    half = STEPS // 2 * 6
    fill(log, small, slice(half))
    with sharded(small, tmp_path / "store") as parts:
        parts.step()
        before = len(published(log, small))
        assert before > 0
        fill(log, small, slice(half, None))
        for each in parts.shards:
            each.step()
        monkeypatch.setattr(shard_client, "_READ_SECONDS", 1.0)  # nobody will answer
        parts.away(1)
        parts.head.step()
        parts.head.step()
        assert len(published(log, small)) == before
        assert parts.head.store.waiting > 0
        with pytest.raises(
            Unreachable, match=r"asked shard 1 of the store for .* not answer.*later"
        ):
            parts.head.store.reader().read([{"user": user, "page": "p1"} for user in USERS])
        seen = parts.head.store.shards
        assert seen is not None
        assert "shard 1" in seen.silent[1]
        monkeypatch.setattr(shard_client, "_READ_SECONDS", 10.0)
        parts.servers[1] = serving(small, parts.shards[1], tmp_path / "store")  # another port
        parts.step()
        rows = published(log, small)
        assert [row["seq"] for row in rows] == list(range(len(rows)))
        assert len(rows) == STEPS * len(USERS)
        parts.away(1)


def test_a_shard_that_lost_its_file_is_waited_for(tmp_path: Path, log: Log) -> None:
    """What it has less of than it had would be another feature: it is read again first."""
    small = declared(tmp_path, COUNT)
    fill(log, small)
    with sharded(small, tmp_path / "store") as parts:
        parts.step()
        right = parts.head.store.reader().read([{"user": "u1", "page": "p1"}], 3 * EVERY).values
        parts.away(0)
        parts.shards[0].close()
        folder = tmp_path / "store"
        for path in folder_of(folder, 0).glob("store.duckdb*"):
            path.unlink()
        again = ShardProcess(small, 0, bootstrap="memory", folder=folder)
        server = serving(small, again, folder)
        people = [{"user": user, "page": "p1"} for user in USERS]
        with pytest.raises(Unreachable):
            parts.head.store.reader().read(people)
        with pytest.raises(Unreachable, match="its file is being made anew"):
            parts.head.store.reader().read(people)
        while again.step():
            pass
        assert (
            parts.head.store.reader().read([{"user": "u1", "page": "p1"}], 3 * EVERY).values
            == right
        )
        server.shutdown()
        again.close()
        parts.shards[0] = ShardProcess(small, 0, bootstrap="memory", folder=folder)


def test_a_key_in_another_partition_than_its_own_is_refused(tmp_path: Path, log: Log) -> None:
    small = declared(tmp_path, COUNT)
    view = small.views["clicks"]
    wrong = (shard_of(["u1"], 3) + 2) % 3
    log.put(small.view_topic(view), clicks(EVERY, u1=1), partition=wrong)
    with (
        closing(ShardProcess(small, wrong % 2, bootstrap="memory", folder=tmp_path)) as process,
        pytest.raises(CorruptError, match=r"\['u1'\] belongs to partition"),
    ):
        process.step()


def test_a_file_of_another_part_is_refused_and_rebuilt(tmp_path: Path, log: Log) -> None:
    whole, small, folder = declared(tmp_path, 1), declared(tmp_path, COUNT), tmp_path / "store"
    fill(log, whole)
    with closing(log.process(whole, folder)) as process:
        while process.step():
            pass
        alone = answers(process)
    clients = [ShardClient(n, folder_of(folder, n) / "address.json") for n in range(COUNT)]
    asked: Any = {"bootstrap": "memory", "folder": folder, "models": folder / "models"}
    with pytest.raises(
        StoreError, match=r"as the head of 2 shards; it is a whole store; run .*rebu"
    ):
        StoreProcess(small, **asked, shards=clients)
    made = rebuild(small, **asked)
    assert {each.table for each in made} >= {"predictions", "panes of shard 1"}
    with sharded(small, folder) as parts:
        parts.step()
        assert answers(parts.head) == alone
    with pytest.raises(StoreError, match="as a whole store; it is the head of 2 shards"):
        log.process(whole, folder)
    rebuild(whole, **asked)
    assert folders(folder) == []
    with closing(log.process(whole, folder)) as process:
        while process.step():
            pass
        assert answers(process) == alone


def test_a_key_has_a_shard_whatever_it_is_made_of() -> None:
    columns: Sequence[Sequence[object]] = (
        ["a", None, "b|c", "ü"],
        [1, 2, -3, 4],
        [True, False, None, True],
    )
    arrays = [pa.array(column) for column in columns]
    found = shards_of(arrays, 1024)
    right = [0 if None in key else shard_of(key, 1024) for key in zip(*columns, strict=True)]
    assert found.tolist() == right
    assert len(np.unique(found)) == 3
