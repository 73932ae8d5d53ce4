"""Versions are swapped while clients ask: every answer is that of one whole version."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Event

import httpx
import numpy as np

from headrace.jobs import assembly
from headrace.jobs.store import StoreProcess
from headrace.online_learning.models.model import Inputs
from tests.chaos_log import publish
from tests.feature_store.made_up import EVERY
from tests.jobs.test_server import processing, serving

SWAPS, CLIENTS = 30, 3


def answer(process: StoreProcess, number: int) -> float:
    """Give what a version of `publish` predicts, whatever it is asked: its weights are alike."""
    encoding = assembly.encoding(process.pipeline)
    ids = np.arange(encoding.slots)
    weights = {"ids": ids, "weights": np.full(len(ids), number / 10)} if number else {}
    served = process.pipeline.model.kind.serves(encoding, weights)
    return float(served.score(Inputs.of(np.zeros((1, encoding.width), np.int32)))[0])


def asked(http: httpx.Client, begun: Barrier, stopped: Event) -> Iterator[tuple[int, float]]:
    """Ask without a pause; give the versions that answer, with what they predict."""
    rows = [{"at": 2 * EVERY, "user": "u", "hour": 7}]
    begun.wait()
    while not stopped.is_set():
        said = http.post("/v1/predict", json={"rows": rows})
        assert said.status_code == 200, said.text
        told = said.json()
        yield told["model_version"], told["predictions"][0]


def test_no_request_fails_and_none_is_answered_by_half_a_model(tmp_path: Path) -> None:
    begun, stopped = Barrier(CLIENTS + 1), Event()
    with (
        processing(tmp_path) as process,
        serving(process) as http,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        models = tmp_path / "store" / "models"
        futures = [
            clients.submit(lambda: list(asked(http, begun, stopped))) for _ in range(CLIENTS)
        ]
        begun.wait()
        for number in range(1, SWAPS + 1):
            publish(models, process.pipeline, number)
            while process.scorer.version != number:
                process.step()
            http.post("/v1/predict", json={"rows": [{"user": "u"}]})
        stopped.set()
        told = [future.result() for future in futures]
        right = [answer(process, number) for number in range(SWAPS + 1)]
        assert len(set(right)) == len(right)
    for each in told:
        assert [p for _, p in each] == [right[version] for version, _ in each]
        versions = [version for version, _ in each]
        assert all(before <= after for before, after in pairwise(versions))
        assert len(set(versions)) > SWAPS / 2
