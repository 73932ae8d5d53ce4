"""A head and its shards as in a cluster: a folder each, asked by addresses and a token."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import orjson
import pyarrow.flight as flight
import pytest

from headrace.feature_store.catalogue import Catalogue
from headrace.jobs import assembly
from headrace.jobs.machine.broker import Broker, free_ports
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.serving.client import Client
from headrace.jobs.shard import folder_of
from headrace.jobs.source_rows import read_log
from headrace.jobs.transport import Writer, create_topics
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.jobs.in_memory import Log
from tests.jobs.test_shards import COUNT, STEPS, USERS, WIDER, fill, panes, published

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

HEAD = "serve: {port: PORT, tokens: {read: env:TO_READ}}\nstore: {shards: 2}\n"
TOKEN = "token-of-a-reader-0123456789"  # noqa: S105  # made up
HALF = STEPS // 2 * 6


def declared(folder: Path, more: str = "") -> Pipeline:
    path = folder / "away.yaml"
    text = WIDER.replace("pipeline: small", "pipeline: away")
    for source in ("click", "ask", "done"):  # the broker is the whole run's
        text = text.replace(f"  {source}: {{", f"  {source}: {{topic: away-{source}, ", 1)
    path.write_text(text + more)
    return load(path)


def send(broker: str, small: Pipeline, some: slice) -> None:
    with Writer(broker) as writer:
        for topic, partition, value in list(panes(small))[some]:
            writer.send(topic, value, partition=partition)


def process(
    small: Pipeline, broker: str, state: Path, role: str, ready: Callable[[], object], *more: str
) -> Process:
    argv = [sys.executable, "-m", "headrace.jobs.cli.main", "process", role, str(small.path)]
    argv += ["--bootstrap", broker, "--state", str(state), *more]
    return Process(role, argv, state.with_suffix(".log"), ready=ready, ready_seconds=120.0)


def looks(place: str, token: str) -> bool:
    """Ask a shard how far it is, as its head does."""
    with flight.FlightClient(f"grpc://{place}") as client:
        headers = [(b"authorization", f"Bearer {token}".encode())]
        options = flight.FlightCallOptions(timeout=2.0, headers=headers)
        try:
            return bool(list(client.do_action(flight.Action("look", b""), options)))
        except (flight.FlightUnavailableError, flight.FlightTimedOutError):
            return False


@pytest.mark.usefixtures("java_and_jars")
def test_a_head_asks_shards_that_share_no_folder_with_it(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TO_READ", TOKEN)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    port, *free = free_ports(1 + 2 * COUNT)
    small = declared(tmp_path, HEAD.replace("PORT", str(port)))
    create_topics(broker.address, [*assembly.source_topics(small), *assembly.topics(small)])
    places = [f"127.0.0.1:{each}" for each in free[:COUNT]]
    with Supervisor() as supervisor:
        for number, place in enumerate(places):
            more = ["--flight", place, "--metrics", str(free[COUNT + number])]
            ready = lambda place=place: looks(place, TOKEN)  # noqa: E731
            state, role = tmp_path / f"pod-{number}", f"shard-{number}"
            supervisor.start(process(small, broker.address, state, role, ready, *more))
        state = tmp_path / "pod-store"
        asked = [word for place in places for word in ("--shard", place)]
        with closing(Client(state / "store" / "address.json")) as client:
            one = process(small, broker.address, state, "store", client.healthy, *asked)
            supervisor.start(one)
            supervisor.wait_ready()
            send(broker.address, small, slice(HALF))
            _predicts(supervisor, client, HALF // 6 * len(USERS))
            supervisor.signal("shard-1", signal.SIGKILL)
            send(broker.address, small, slice(HALF, None))
            _predicts(supervisor, client, STEPS * len(USERS))
            tiles = client.sql("SELECT COUNT(*) AS n FROM views.clicks")["n"][0].as_py()
        for number, place in enumerate(places):
            with pytest.raises(flight.FlightUnauthenticatedError):
                looks(place, "another-token-0123456789")
            url = f"http://127.0.0.1:{free[COUNT + number]}/metrics"
            assert httpx.get(url, trust_env=False).status_code == 401
            headers = {"authorization": f"Bearer {TOKEN}"}
            told = httpx.get(url, trust_env=False, headers=headers)
            assert "headrace_" in told.text, told.text
    held = [_tiles(tmp_path / f"pod-{number}" / "store", number) for number in range(COUNT)]
    assert min(held) > 0
    assert sum(held) == tiles
    assert not (tmp_path / "pod-store" / "store" / "shards").exists()
    rows = read_log(broker.address, small.predictions_topic)["payload"].to_pylist()
    _as_one(
        monkeypatch, tmp_path, [row for row in map(orjson.loads, filter(None, rows)) if "id" in row]
    )


def _predicts(supervisor: Supervisor, client: Client, count: int) -> None:
    def all_of_them() -> bool:
        supervisor.check()
        return bool(client.status()["predictions"] == count)

    wait_until(all_of_them, 120.0, f"{count} predictions", every_seconds=0.1)


def _tiles(store: Path, number: int) -> int:
    with closing(Catalogue(folder_of(store, number) / "store.duckdb")) as catalogue:
        return int(catalogue.read("SELECT COUNT(*) AS n FROM views.clicks")["n"][0].as_py())


def _as_one(monkeypatch: pytest.MonkeyPatch, folder: Path, told: list[object]) -> None:
    """One process says the same of the same messages."""
    log = Log()
    log.install(monkeypatch)
    whole = declared(folder)
    fill(log, whole)
    with closing(log.process(whole, folder / "whole")) as alone:
        while alone.step():
            pass
    assert told == published(log, whole)
    assert len(told) == STEPS * len(USERS)
