"""The store and the learner as StatefulSets of one pod each, with a volume of its own.

::

    learner ─► volume: snapshots, versions ─┐ read-only, so both are on one node, where a volume
    store   ─► volume: its DuckDB file      │ of any kind may be mounted twice
        └──────────────◄────────────────────┘

Neither may run twice: a store owns its file, a learner its folder. A StatefulSet starts no second
pod before the first is gone, and a volume is mounted on one node.
"""

from __future__ import annotations

from headrace.jobs.deploy import pods
from headrace.jobs.deploy.pods import STATE, Value
from headrace.jobs.deploy.target import Target, keys
from headrace.pipelines.pipeline import Pipeline

__all__ = ["USER", "learner", "store"]

USER = 10001
_THREADS = "2"
_STOP_SECONDS = 60
_RESOURCES: Value = {
    "requests": {"cpu": "500m", "memory": "1Gi"},
    "limits": {"memory": "4Gi"},
}


def store(pipeline: Pipeline, target: Target) -> list[Value]:
    """Give the store's volume, its pod and the Service by which it is asked."""
    serve = pipeline.serve
    ports = {"http": serve.port} | ({"flight": serve.flight_port} if serve.flight_port else {})
    container = _container(pipeline, target, "store")
    container["ports"] = [{"name": name, "containerPort": port} for name, port in ports.items()]
    container["volumeMounts"] = pods.mounts(
        pipeline,
        {"name": "state", "mountPath": str(STATE)},
        {"name": "learner", "mountPath": str(STATE / "learner"), "readOnly": True},
    )
    ready: Value = {"httpGet": {"path": "/readyz", "port": "http"}}
    container |= {**_alive("/healthz", "http"), "readinessProbe": {**ready, "periodSeconds": 5}}
    learners = {"persistentVolumeClaim": {"claimName": f"{target.name}-learner", "readOnly": True}}
    pod = _pod(pipeline, target, container, {"name": "learner", **learners})
    pod["affinity"] = {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": pods.selector(target, "learner")},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        }
    }
    service = _service(target, "store", ports)
    return [_volume(target, "store"), service, _stateful_set(pipeline, target, pod)]


def learner(pipeline: Pipeline, target: Target) -> list[Value]:
    """Give the learner's volume, its pod and the Service that a StatefulSet wants."""
    container = _container(pipeline, target, "learner")
    container["volumeMounts"] = pods.mounts(
        pipeline, {"name": "state", "mountPath": str(STATE / "learner")}
    )
    port = pipeline.serve.metrics.get("learner")
    if port is not None:
        container["ports"] = [{"name": "metrics", "containerPort": port}]
        container |= _alive("/livez", "metrics")
    pod = _pod(pipeline, target, container)
    service = _service(target, "learner", {})
    return [_volume(target, "learner"), service, _stateful_set(pipeline, target, pod)]


def _alive(path: str, port: str) -> Value:
    """Ask whether it lives; one that takes its log in anew answers when it has: within an hour."""
    asked: Value = {"httpGet": {"path": path, "port": port}, "periodSeconds": 10}
    return {
        "startupProbe": {**asked, "failureThreshold": 360},
        "livenessProbe": {**asked, "failureThreshold": 6},
    }


def _container(pipeline: Pipeline, target: Target, role: str) -> Value:
    return {
        "name": role,
        "image": target.image_of("processes"),
        "imagePullPolicy": "IfNotPresent",
        "args": pods.arguments(pipeline, role),
        "env": pods.environment(target, keys(pipeline, role), {"OMP_NUM_THREADS": _THREADS}),
        "resources": _RESOURCES,
        "securityContext": pods.CONFINED,
    }


def _pod(pipeline: Pipeline, target: Target, container: Value, *more: Value) -> Value:
    role = container["name"]
    topics = {
        **_container(pipeline, target, "topics"),
        "volumeMounts": pods.mounts(pipeline, {"name": "state", "mountPath": str(STATE)}),
    }
    claim = {"persistentVolumeClaim": {"claimName": f"{target.name}-{role}"}}
    return {
        "automountServiceAccountToken": False,
        "securityContext": pods.pod_security(USER),
        "terminationGracePeriodSeconds": _STOP_SECONDS,
        "initContainers": [topics],
        "containers": [container],
        "volumes": pods.volumes(target, {"name": "state", **claim}, *more),
    }


def _volume(target: Target, role: str) -> Value:
    chosen = {} if target.storage_class is None else {"storageClassName": target.storage_class}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": pods.metadata(target, role),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **chosen,
            "resources": {"requests": {"storage": target.storage}},
        },
    }


def _service(target: Target, role: str, ports: dict[str, int]) -> Value:
    named = [{"name": name, "port": port, "targetPort": name} for name, port in ports.items()]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": pods.metadata(target, role),
        "spec": {
            "selector": pods.selector(target, role),
            **({"ports": named} if named else {"clusterIP": "None"}),
        },
    }


def _stateful_set(pipeline: Pipeline, target: Target, pod: Value) -> Value:
    role = pod["containers"][0]["name"]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": pods.metadata(target, role),
        "spec": {
            "replicas": 1,
            "serviceName": f"{target.name}-{role}",
            "selector": {"matchLabels": pods.selector(target, role)},
            "template": {"metadata": pods.pod_metadata(pipeline, target, role), "spec": pod},
        },
    }
