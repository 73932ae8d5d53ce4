"""A process that tells its metrics: `/metrics` at an address, and where that is.

::

    serve: {metrics: {learner: 9102}} ──► there, at `host`, to who has a token to read
    nothing of it                     ──► 127.0.0.1, any port that is free, to this machine
                                            └─► <state>/<process>/metrics.json, as Prometheus'
                                                file_sd_configs reads it
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.registry import Collector

from headrace.jobs import telemetry
from headrace.jobs.machine.state import write_json
from headrace.jobs.serving.access import ANYBODY, READ, Access
from headrace.jobs.serving.endpoint import Answer, Asked, Endpoint, Room, json
from headrace.jobs.serving.gate import Gate
from headrace.jobs.serving.listening import Listening, reached_at
from headrace.jobs.serving.metrics import CONTENT_TYPE, Counts
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.pipeline import Pipeline, Serve

__all__ = ["TARGETS", "post", "telling"]

TARGETS = "metrics.json"
"""In a process' folder: where it is asked."""
_log = logging.getLogger(__name__)


@contextmanager
def telling(
    pipeline: Pipeline, state: Path, process: str, *facts: Collector, counts: Counts | None = None
) -> Iterator[Listening]:
    """Tell what a process counts, and these facts of it, for as long as the context lasts.

    Where it answers more than this, `counts` are what it counts that by, with facts of their own.

    Raises
    ------
    AccessError
        Where its port is declared, and anybody could ask, or a token is not there.
    EnvironmentProblem
        Where its port is taken.

    """
    serve = pipeline.serve
    # One that is nowhere declared is this machine's, whatever the store wants.
    serve = serve if process in serve.metrics else Serve()
    told = counts or Counts(*facts)

    def metrics(asked: Asked) -> Answer:
        del asked
        return Answer(told.told(), CONTENT_TYPE)

    about = "Give Prometheus' metrics.", "Say that the process runs."
    endpoints = [
        Endpoint("GET", "/metrics", about[0], metrics, READ, room=Room.METRICS),
        Endpoint("GET", "/livez", about[1], lambda _: json({"status": "ok"}), ANYBODY),
    ]
    gate = Gate(endpoints, Access.of(serve), told)
    listening = Listening(gate, serve.host, serve.metrics.get(process, 0))
    listening.start()
    post(pipeline, state, process, f"{reached_at(serve.host)}:{listening.port}")
    try:
        with telemetry.sending(pipeline.name, process, told.collected):
            yield listening
    finally:
        listening.ask_to_stop()


def post(pipeline: Pipeline, state: Path, process: str, address: str) -> None:
    """Write where a process tells its metrics."""
    labels = {"job": "headrace", "pipeline": pipeline.name, "process": process}
    try:
        (state / process).mkdir(parents=True, exist_ok=True)
        write_json(state / process / TARGETS, [{"targets": [address], "labels": labels}])
    except (OSError, EnvironmentProblem) as error:  # a folder of a pod's that is for reading only
        _log.warning("metrics are told at %s, and nobody is: %s", address, error)
