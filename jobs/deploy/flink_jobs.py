"""The views and the labels job as Flink's operator runs them: a cluster of its own for each.

::

    FlinkDeployment ─► JobManager ─ PythonDriver ─ headrace process views ─► SQL ─► TaskManagers
                           └─ leaders, checkpoints, savepoints ─► object storage

The pods run what Flink's own image has, and headrace beside it; the SQL runs in the JVMs alone. A
changed job is stopped with a savepoint and started with it; one of another SQL begins anew.
"""

from __future__ import annotations

import pyflink.version

from headrace.jobs import labels, views
from headrace.jobs.deploy import pods
from headrace.jobs.deploy.pods import Value
from headrace.jobs.deploy.target import Target, keys
from headrace.jobs.machine.speaking import PASSWORD
from headrace.pipelines.pipeline import Pipeline

__all__ = ["FLINK", "METRICS_PORT", "REST_PORT", "USER", "flink_job"]

FLINK: str = pyflink.version.__version__
_PYTHON = "/opt/headrace/bin/python"
USER = 9999
"""Flink's, in its own image, too."""
METRICS_PORT = 9249
REST_PORT = 8081
_MEMORY = {"jobManager": "1600m", "taskManager": "2048m"}
_DIGESTS = {"views": views.digest, "labels": labels.digest}
_FOLDERS = {"logs": "/opt/flink/log", "state": str(pods.STATE)}
"""What may be written, and is gone with the pod: all that is kept is in the object storage."""


def flink_job(pipeline: Pipeline, target: Target, job: str) -> Value:
    """Give the FlinkDeployment of a job."""
    topics: Value = {
        **_container(pipeline, target, "topics", "topics"),
        "image": target.image_of("jobs"),
        "command": ["/opt/headrace/bin/headrace"],
        "args": pods.arguments(pipeline, "topics"),
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
    }
    first = {"apiVersion": "v1", "kind": "Pod", "spec": {"initContainers": [topics]}}
    return {
        "apiVersion": "flink.apache.org/v1beta1",
        "kind": "FlinkDeployment",
        "metadata": pods.metadata(target, job),
        "spec": {
            "image": target.image_of("jobs"),
            "imagePullPolicy": "IfNotPresent",
            "flinkVersion": "v" + "_".join(FLINK.split(".")[:2]),
            "mode": "native",
            "serviceAccount": "flink",
            "flinkConfiguration": _settings(pipeline, target, job),
            "podTemplate": _pod(pipeline, target, job),
            "jobManager": {**_of("jobManager"), "replicas": 1, "podTemplate": first},
            "taskManager": _of("taskManager"),
            "job": _job(pipeline, target, job),
        },
    }


def _of(part: str) -> Value:
    return {"resource": {"cpu": 1, "memory": _MEMORY[part]}}


def _job(pipeline: Pipeline, target: Target, job: str) -> Value:
    driver = ["-pyclientexec", _PYTHON, "-pym", "headrace.jobs.cli.main"]
    return {
        "jarURI": f"local:///opt/flink/opt/flink-python-{FLINK}.jar",
        "entryClass": "org.apache.flink.client.python.PythonDriver",
        "args": [*driver, *pods.arguments(pipeline, job)],
        # The labels job keeps the order of one partition of predictions.
        "parallelism": target.parallelism if job == "views" else 1,
        "upgradeMode": "savepoint",
        "state": "running",
    }


def _settings(pipeline: Pipeline, target: Target, job: str) -> dict[str, str]:
    place = f"{target.checkpoints.rstrip('/')}/{target.name}/{job}"
    # By its SQL: the job knows a savepoint of another by its place, and does not take it up.
    own = f"{place}/{_DIGESTS[job](pipeline)}"
    return {
        "execution.checkpointing.dir": f"{own}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{own}/savepoints",
        "high-availability.type": "kubernetes",
        "high-availability.storageDir": f"{place}/leaders",
        "metrics.reporter.prom.factory.class": (
            "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"
        ),
        "metrics.reporter.prom.port": str(METRICS_PORT),
        "taskmanager.numberOfTaskSlots": "1",
        "web.submit.enable": "false",
    }


def _pod(pipeline: Pipeline, target: Target, job: str) -> Value:
    main = _container(pipeline, target, "flink-main-container", job)
    main["ports"] = [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": pods.pod_metadata(pipeline, target, job),
        "spec": {
            "securityContext": pods.pod_security(USER),
            "containers": [main],
            "volumes": pods.volumes(target, *({"name": name, "emptyDir": {}} for name in _FOLDERS)),
        },
    }


def _container(pipeline: Pipeline, target: Target, name: str, role: str) -> Value:
    known = keys(pipeline, role)
    for password in keys(pipeline, "topics"):
        known[PASSWORD] = password
    folders = ({"name": name, "mountPath": place} for name, place in _FOLDERS.items())
    return {
        "name": name,
        "env": pods.environment(target, known),
        "volumeMounts": pods.mounts(pipeline, *folders),
        "securityContext": pods.CONFINED,
    }
