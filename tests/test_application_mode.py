"""The views job as Flink itself starts it: its PythonDriver, in a cluster of the job's own.

So does Flink's Kubernetes operator. What the deployment sets stands, and the job is left to it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from headrace.jobs import assembly, transport
from headrace.jobs.machine.broker import Broker
from headrace.jobs.machine.session import Session
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Writer
from headrace.pipelines.load import load
from tests import flink_cluster

MASTER = "org.apache.flink.container.entrypoint.StandaloneApplicationClusterEntryPoint"
DRIVER = "org.apache.flink.client.python.PythonDriver"
BEGIN = 1_700_000_000_000
TEXT = """\
pipeline: driven
every: 1s
sources:
  click: {columns: {user: string}, topic: driven-click, partitions: 2}
  ask: {columns: {name: string required, user: string}, topic: driven-ask, partitions: 2}
  done: {columns: {name: string required, x: int64}, topic: driven-done}
views:
  clicks: {source: click, key: user, features: {n: count() over 10s}}
decision: {source: ask, id: name}
outcome: {source: done, id: name, label: x > 0, within: 1h}
model: {kind: ftrl, slots: 1024, tokens: [user], publish_every: 1m}
"""


@pytest.mark.e2e
@pytest.mark.kafka
@pytest.mark.flink
def test_a_job_that_flink_starts_has_the_settings_of_its_deployment(
    tmp_path: Path, broker: Broker
) -> None:
    path, place = tmp_path / "driven.yaml", (tmp_path / "checkpoints").as_uri()
    path.write_text(TEXT, "utf-8")
    pipeline = load(path)
    topics = [*assembly.source_topics(pipeline), *assembly.topics(pipeline)]
    transport.create_topics(broker.address, topics)
    with Writer(broker.address) as writer:
        for topic in ("driven-click", "driven-ask"):
            for n in range(400):
                row = {"at": BEGIN + 100 * n, "user": "u", "name": f"d{n}"}
                writer.send(topic, orjson.dumps(row), partition=n % 2)
    entry = ["-pyclientexec", sys.executable, "-pym", "headrace.jobs.cli.main", "process", "views"]
    entry += [str(path), "--bootstrap", broker.address, "--state", str(tmp_path / "state")]
    settings = {
        "parallelism.default": "2",
        "execution.checkpointing.dir": place,
        "execution.checkpointing.interval": "3 s",
        # As the operator gives it to a job whose SQL is not that of before.
        "execution.state-recovery.path": f"{place}/0123456789ab/savepoints/savepoint-1",
    }
    with flink_cluster.running(
        tmp_path / "flink",
        task_managers=1,
        slots=2,
        settings=settings,
        master=(MASTER, "--job-classname", DRIVER, *entry),
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
    ) as cluster:
        session = Session(cluster.rest)
        panes = [pipeline.view_topic(pipeline.views["clicks"]), pipeline.decisions_topic]

        def made() -> bool:
            cluster.supervisor.check()
            ends = transport.ends(broker.address, panes)
            return all(end >= 39 for end in ends.values())

        wait_until(made, 240, "panes", every_seconds=0.3)
        (job,) = session.jobs()
        assert (job.name, job.state) == ("driven views", "RUNNING")
        assert session.parallelism(job.id) == 2
        told = session.ask(f"/jobs/{job.id}/checkpoints/config")
        assert told["interval"] == 3_000
        assert told["externalization"] == {"enabled": True, "delete_on_cancellation": False}
        checkpoints = f"/jobs/{job.id}/checkpoints"
        wait_until(lambda: session.ask(checkpoints)["latest"]["completed"], 60, "a checkpoint")
        saved = session.ask(checkpoints)["latest"]["completed"]["external_path"]
        assert saved.replace("file:/", "file:///").startswith(place)
        assert not list((tmp_path / "state").rglob("session.json"))
