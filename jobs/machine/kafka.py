"""Which Kafka a pipeline has: the broker in its state folder, or one that was there before.

::

    --kafka, `kafka:` of the file, kafka.json of the last run ──► that one; checked, never started
    none of these                                             ──► the embedded broker is started

A state folder stays with its log: numbers of decisions and offsets mean nothing in another.
"""

from __future__ import annotations

from pathlib import Path

from headrace.jobs import assembly, transport
from headrace.jobs.machine import broker
from headrace.jobs.machine.state import read_json, write_json
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.pipeline import Pipeline

__all__ = ["check_cluster", "elsewhere", "has_log", "join", "make_topics", "standing"]

_FACTS = "kafka.json"
_MOST_NAMED = 5


def elsewhere(pipeline: Pipeline, state: Path, given: str | None = None) -> str | None:
    """Give the address of the Kafka that is not in the state folder; None where it is.

    What is given comes before what the file says, and that before what was used last.

    Raises
    ------
    EnvironmentProblem
        Where one is wanted, and the folder has a log of its own.
    """
    wanted = given or pipeline.kafka.bootstrap
    if wanted is None:
        return _noted(state)
    if _embedded(state):
        asked, found = f"asked for Kafka at {wanted}", f"the log of {state} is in its own broker"
        raise EnvironmentProblem(asked, found, "choose another state folder, or leave it out")
    return wanted


def join(bootstrap: str, state: Path) -> None:
    """Note the cluster that a state folder goes with, by its id: its address may change.

    Raises
    ------
    EnvironmentProblem
        Where nobody answers, or it is another cluster than before.
    """
    cluster = transport.cluster_id(bootstrap)
    check_cluster(bootstrap, state, cluster)
    write_json(state / _FACTS, {"bootstrap": bootstrap, "cluster": cluster})


def check_cluster(bootstrap: str, state: Path, cluster: str) -> None:
    """Refuse another cluster than the one that a state folder goes with.

    >>> check_cluster("127.0.0.1:9092", Path("/nowhere"), "id")
    """
    own, noted = state / "broker" / "cluster.id", state / _FACTS
    before = str(read_json(noted)["cluster"]) if noted.exists() else None
    before = own.read_text("ascii") if own.exists() else before
    if before not in (None, cluster):
        asked = f"asked for Kafka at {bootstrap}, for the state in {state}"
        found = f"that is the cluster {cluster}, and the state is of {before}"
        do = "give the address of that one, or choose another state folder"
        raise EnvironmentProblem(asked, found, do)


def make_topics(pipeline: Pipeline, bootstrap: str, *, own: bool, create_sources: bool) -> None:
    """Make the topics that are not there: those of sources where the broker is the pipeline's own.

    In another Kafka a source's topic is made only where that is asked, and one that is there may
    have any number of partitions.

    Raises
    ------
    EnvironmentProblem
        Where a source's topic is missing, and is not to be made: its producer has another name for
        it, or another cluster.
    """
    if own:
        topics = [*assembly.source_topics(pipeline), *assembly.topics(pipeline)]
        transport.create_topics(bootstrap, topics)
        return
    there = transport.topics(bootstrap)
    missing = [topic for topic in assembly.source_topics(pipeline) if topic.name not in there]
    if missing and not create_sources:
        named = ", ".join(topic.name for topic in missing[:_MOST_NAMED])
        named += " …" if len(missing) > _MOST_NAMED else ""
        asked = f"asked for the sources' topics at {bootstrap}"
        do = "start what writes them, set `topic:` of the source, or use --create-topics"
        raise EnvironmentProblem(asked, f"there is no topic {named}", do)
    transport.create_topics(bootstrap, [*missing, *assembly.topics(pipeline)])


def standing(state: Path) -> str:
    """Give the address of the Kafka that a state folder goes with, whether it runs or not.

    Raises
    ------
    EnvironmentProblem
        Where nothing ever ran there.
    """
    return _noted(state) or broker.standing(state / "broker")


def has_log(state: Path) -> bool:
    """Say whether there is a log that the folder goes with.

    >>> has_log(Path("/nowhere"))
    False
    """
    return _embedded(state) or _noted(state) is not None


def _embedded(state: Path) -> bool:
    return (state / "broker" / "formatted").exists()


def _noted(state: Path) -> str | None:
    if not (state / _FACTS).exists():
        return None
    return str(read_json(state / _FACTS)["bootstrap"])
