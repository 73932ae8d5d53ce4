"""headrace status: what runs in a state folder, how far it is, how good, how large.

::

    processes.json ─► processes   store ─► views, counts, scores, version, its own lag
    Kafka ─► offsets that the Flink jobs wrote with their last checkpoint ─► lag of the sources
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headrace.jobs import transport
from headrace.jobs.lifecycle.board import Posted, posted, processes
from headrace.jobs.lifecycle.down import STOPS
from headrace.jobs.machine.flink import FLINK_JOBS
from headrace.jobs.machine.lag import CONNECT_SECONDS, waited
from headrace.jobs.machine.processes import Status
from headrace.jobs.machine.session import JobStatus, Session
from headrace.jobs.machine.session_job import noted_job
from headrace.jobs.machine.speaking import speak
from headrace.jobs.machine.state import disk
from headrace.jobs.serving.client import Client
from headrace.jobs.serving.metrics import REPEATED
from headrace.online_learning.rivals import RIVALS, RIVALS_OF_CLASSES, RIVALS_OF_NUMBERS
from headrace.operators.errors import EnvironmentProblem, HeadraceError
from headrace.pipelines.load import load

__all__ = ["Lag", "Standing", "View", "status"]

_COUNTS = ("decisions", "predictions", "examples", "waiting", "late", "dead_letters")
_SCORED = frozenset(("auc", "log_loss", "rmse"))
_RIVALS = {*RIVALS, *RIVALS_OF_CLASSES, *RIVALS_OF_NUMBERS}
_NEWEST = """
    SELECT name, value FROM metrics WHERE starts_with(name, 'window.') AND slice_of IS NULL
    AND "at" = (SELECT MAX("at") FROM metrics WHERE starts_with(name, 'window.')) ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a reader is behind a topic: in records, and since when the first of them waits.

    `seconds` is None where the broker does not stamp the topic's messages itself.
    """

    reader: str
    topic: str
    records: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class View:
    """A view: complete to this time, ms, and how far that is behind the clock; tiles and keys."""

    complete: int
    age_seconds: float
    tiles: int
    keys: int


@dataclass(frozen=True)
class Standing:
    """All of it.

    Parameters
    ----------
    pipeline
        What runs, or ran last; empty where a demo does.
    runs
        What holds the folder, `up` or `demo`; None where nothing does.
    ended
        How the last run ended; None while it runs, and where it was killed.
    kafka, store, flink
        Where they are; `flink` is None where the jobs run in processes of this machine.
    problems
        What could not be asked, in one sentence each.
    processes
        By name.
    lags
        Of each reader of each topic.
    jobs
        By name, as a Flink that is elsewhere says it.
    views, counts
        By name; empty while the store does not answer.
    scores
        The learner's and its rivals', and those of the newest window that is over.
    version, version_through, version_age_seconds
        The version that is served, the event time that it has learned to, and how far that is
        behind the clock.
    disk
        Bytes of each part of the folder, and what is free beside it.

    """

    pipeline: str
    runs: str | None
    ended: str | None
    kafka: str
    store: str | None
    problems: tuple[str, ...]
    processes: Mapping[str, Status]
    disk: Mapping[str, int]
    flink: str | None = None
    lags: tuple[Lag, ...] = ()
    jobs: Mapping[str, JobStatus] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    version: int | None = None
    version_through: int | None = None
    version_age_seconds: float | None = None

    def plain(self) -> dict[str, Any]:
        """Give it for JSON."""
        return asdict(self)


def status(state: Path, *, now: float | None = None) -> Standing:
    """Ask what runs in a state folder, or say what ran there last.

    Parameters
    ----------
    state
        The state folder.
    now
        The clock, seconds since 1970: what is behind it is from there. In a replay of the past it
        is years.

    Raises
    ------
    EnvironmentProblem
        Where nothing ever ran.

    """
    told, held = posted(state)
    if told is None and (held is None or held.what not in STOPS):
        asked, found = f"asked for what runs in {state}", "nothing ever did"
        raise EnvironmentProblem(asked, found, "run it first, or give its --state")
    if told is None or (
        held is not None and held.pid != told.pid
    ):  # a demo, or an `up` that begins
        told = Posted(held.pid if held else 0, "", "", "", {})
    clock = time.time() if now is None else now
    facts: dict[str, Any] = {}
    problems: list[str] = []
    for part in (_of_store, _of_kafka, _of_flink) if held is not None else ():
        try:
            facts |= part(state, told, clock, facts)
        except HeadraceError as error:
            problems.append(str(error))
    return Standing(
        pipeline=told.pipeline,
        runs=None if held is None else held.what,
        ended=told.ended,
        kafka=told.kafka,
        store=told.store,
        flink=told.flink,
        problems=tuple(problems),
        processes=processes(state),
        disk=disk(state),
        **facts,
    )


def _of_store(state: Path, told: Posted, now: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    del told, facts
    with closing(Client(state / "store" / "address.json")) as client:
        found = client.status()
        repeated = client.sql(REPEATED)["n"][0].as_py()
        window = client.sql(_NEWEST).to_pylist()
    through = found["model_through"]
    views = {
        name: View(at := each["complete"], _behind(now, at), each["tiles"], each["keys"])
        for name, each in found["views"].items()
    }
    lag: dict[str, int] = {}
    for each in found["lag"]:
        lag[each["topic"]] = lag.get(each["topic"], 0) + each["messages"]
    return {
        "views": views,
        "counts": {name: found[name] for name in _COUNTS} | {"repeated_decisions": repeated},
        "scores": _scores(found["metrics"], window),
        "version": found["model_version"],
        "version_through": through,
        "version_age_seconds": None if through is None else _behind(now, through),
        "lags": tuple(Lag("store", topic, n, None) for topic, n in lag.items()),
    }


def _scores(
    metrics: Mapping[str, float], window: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Name what was scored: the learner, its rivals, both of the newest window."""
    told = {name: value for name, value in metrics.items() if not name.startswith("window.")}
    told |= {row["name"]: row["value"] for row in window}
    found: dict[str, dict[str, float]] = {}
    for name, value in told.items():
        of, _, what = name.rpartition(".")
        rival = of.partition(".")[0] in _RIVALS
        found.setdefault(f"rival {of}" if rival else of, {})[what] = value
    # The counts of the learner's, of a window, of drift are no scores.
    return {name: score for name, score in found.items() if not _SCORED.isdisjoint(score)}


def _behind(now: float, at: int) -> float:
    return round(now - at / 1000, 3)


def _of_kafka(state: Path, told: Posted, now: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Say how far the Flink jobs are behind, and how many records the sources have."""
    del state
    if not told.topics:
        return {}
    speak(load(Path(told.path)), told.kafka)
    sources = list(told.topics.values())
    name, kafka = told.pipeline, told.kafka
    groups = {
        job: transport.committed(kafka, f"{name}.{job}", connect_seconds=CONNECT_SECONDS)
        for job in FLINK_JOBS
    }
    topics = {*sources, *(topic for done in groups.values() for topic, _ in done)}
    ends = transport.ends(kafka, topics, connect_seconds=CONNECT_SECONDS)
    begins = transport.begins(kafka, sources, connect_seconds=CONNECT_SECONDS)
    lags = []
    for job, done in groups.items():
        for topic in dict.fromkeys(topic for topic, _ in done):
            waits = {p: done[p] for p in done if p[0] == topic and done[p] < ends[p]}
            records = sum(ends[place] - offset for place, offset in waits.items())
            seconds = waited(kafka, waits, now) if topic in sources else None
            lags.append(Lag(job, topic, records, seconds))
    records = sum(ends[place] - begin for place, begin in begins.items())
    counts = {"records": records, **facts.get("counts", {})}
    return {"lags": (*lags, *facts.get("lags", ())), "counts": counts}


def _of_flink(state: Path, told: Posted, now: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a Flink that is elsewhere for the jobs."""
    del now, facts
    if told.flink is None:
        return {}
    session = Session(told.flink)
    noted = {job: noted_job(state / job) for job in FLINK_JOBS}
    return {"jobs": {job: session.status(found) for job, found in noted.items() if found}}
