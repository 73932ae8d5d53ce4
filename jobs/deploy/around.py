"""What stands around the pods: the pipeline's file, who may reach them, what Prometheus asks."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path

from ruamel.yaml import YAML

from headrace.jobs.deploy import flink_jobs, pods, processes
from headrace.jobs.deploy.pods import CA, Value
from headrace.jobs.deploy.target import SHARD, Target
from headrace.jobs.machine.flink import FLINK_JOBS
from headrace.operators.errors import EnvironmentProblem
from headrace.operators.streams.join import Join
from headrace.pipelines.pipeline import Pipeline

__all__ = ["config_map", "monitors", "policies"]

_INDEX = "__meta_kubernetes_pod_label_apps_kubernetes_io_pod_index"
_MOST_BYTES = 1_000_000
"""Of a ConfigMap Kubernetes takes a MiB, with what stands around it."""


def config_map(pipeline: Pipeline, target: Target) -> Value:
    """Give the pipeline's file as it is, its tables, and by whose certificates Kafka is known.

    Raises
    ------
    EnvironmentProblem
        Where a file is not there, or all of them are too large.

    """
    tables = sorted({step.table.name for step in _joins(pipeline)})
    paths = {name: pipeline.path.parent / name for name in (pipeline.path.name, *tables)}
    authority = pipeline.kafka.properties.get("ssl.ca.location")
    if authority is not None:
        paths[CA] = Path(authority)
    texts: dict[str, str] = {}
    binary: dict[str, str] = {}
    size = 0
    for name, path in paths.items():
        content = _read(path)
        size += len(content)
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError:
            binary[name] = base64.b64encode(content).decode("ascii")
    if size > _MOST_BYTES:
        asked = f"asked for a ConfigMap of {', '.join(paths)}"
        do = "join a smaller table, or send it as a source"
        raise EnvironmentProblem(asked, f"they have {size:,} bytes, and it takes a MiB", do)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": pods.metadata(target, "pipeline"),
        "data": texts,
        **({"binaryData": binary} if binary else {}),
    }


def _joins(pipeline: Pipeline) -> list[Join]:
    steps = (step for stream in pipeline.streams.values() for step in stream.steps)
    return [step for step in steps if isinstance(step, Join)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        asked, do = f"asked for the file {path}", "put it there: pods get it from where it stands"
        raise EnvironmentProblem(asked, str(error.strerror), do) from error


def monitors(pipeline: Pipeline, target: Target) -> list[Value]:
    """Give what Prometheus' operator is told: of each part the port and the token; the alerts."""
    name, key = target.secret, pipeline.serve.tokens["read"].partition(":")[2]
    token = {"authorization": {"credentials": {"name": name, "key": key}}}
    parts: dict[str, Value] = {"store": {"port": "http", **token}}
    if "learner" in pipeline.serve.metrics:
        parts["learner"] = {"port": "metrics", **token}
    if pipeline.store_shards > 1:
        parts[SHARD] = {"port": "metrics", **token}
    parts |= {job: {"port": "metrics"} for job in FLINK_JOBS}
    found = [_monitor(pipeline, target, part, endpoint) for part, endpoint in parts.items()]
    return [*found, _alerts(target)]


def _monitor(pipeline: Pipeline, target: Target, part: str, endpoint: Value) -> Value:
    # The labels that alerts.yaml goes by, as `metrics.json` gives them on one machine.
    known = {"job": "headrace", "pipeline": pipeline.name, "process": part}
    labelled: list[Value] = [
        {"targetLabel": name, "replacement": value} for name, value in known.items()
    ]
    if part == SHARD:  # which of them it is
        labelled[-1] |= {"sourceLabels": [_INDEX], "replacement": f"{SHARD}-$1"}
    asked = {**endpoint, "path": "/metrics", "interval": "15s", "relabelings": labelled}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": pods.metadata(target, part),
        "spec": {
            "selector": {"matchLabels": pods.selector(target, part)},
            "podMetricsEndpoints": [asked],
        },
    }


def _alerts(target: Target) -> Value:
    """Give the rules; they are of all pipelines, so all of a namespace have them together."""
    text = (files("headrace.jobs.deploy") / "alerts.yaml").read_text("utf-8")
    where = {} if target.namespace is None else {"namespace": target.namespace}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "headrace", **where, "labels": {"app.kubernetes.io/name": "headrace"}},
        "spec": YAML(typ="safe", pure=True).load(text),
    }


def policies(pipeline: Pipeline, target: Target) -> list[Value]:
    """Give who may reach the pods: what is served anybody, a job its own pods and the operator.

    What pods themselves ask for, Kafka and the object storage, is not restricted.
    """
    serve = pipeline.serve
    asked = [port for port in (serve.port, serve.flight_port) if port]
    told = serve.metrics.get("learner")
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "flink-kubernetes-operator"}},
    }
    return [
        _policy(target, "store", [{"ports": _ports(*asked)}]),
        _policy(target, "learner", [{"ports": _ports(told)}] if told else []),
        *([_policy(target, SHARD, _of_shards(target))] if pipeline.store_shards > 1 else []),
        *(
            _policy(
                target,
                job,
                [
                    {"from": [{"podSelector": {"matchLabels": pods.selector(target, job)}}]},
                    {"from": [operator], "ports": _ports(flink_jobs.REST_PORT)},
                    {"ports": _ports(flink_jobs.METRICS_PORT)},
                ],
            )
            for job in FLINK_JOBS
        ),
    ]


def _of_shards(target: Target) -> list[Value]:
    head = {"podSelector": {"matchLabels": pods.selector(target, "store")}}
    ports = processes.SHARD_PORTS
    return [
        {"from": [head], "ports": _ports(ports["flight"])},
        {"ports": _ports(ports["metrics"])},
    ]


def _ports(*ports: int) -> list[Value]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _policy(target: Target, part: str, ingress: list[Value]) -> Value:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": pods.metadata(target, part),
        "spec": {
            "podSelector": {"matchLabels": pods.selector(target, part)},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }
