"""The store and the learner as StatefulSets of one pod each, with a volume of its own.

::

    learner ─► volume: snapshots, versions ─┐ read-only, so both are on one node, where a volume
    store   ─► volume: its DuckDB file      │ of any kind may be mounted twice
        └──────────────◄────────────────────┘

Neither may run twice: a store owns its file, a learner its folder. A StatefulSet starts no second
pod before the first is gone, and a volume is mounted on one node.
"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.jobs.deploy import pods
from headrace.jobs.deploy.pods import STATE, Value
from headrace.jobs.deploy.target import Target, kafka_keys, keys
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
    container = _container(pipeline, target, "store", keys(pipeline))
    container["ports"] = [{"name": name, "containerPort": port} for name, port in ports.items()]
    container["volumeMounts"] = pods.mounts(
        pipeline,
        {"name": "state", "mountPath": str(STATE)},
        {"name": "learner", "mountPath": str(STATE / "learner"), "readOnly": True},
    )
    live: Value = {"httpGet": {"path": "/healthz", "port": "http"}}
    # A store that takes its log in anew answers when it has: it is given an hour.
    container["startupProbe"] = {**live, "periodSeconds": 10, "failureThreshold": 360}
    container["livenessProbe"] = {**live, "periodSeconds": 10, "failureThreshold": 6}
    ready: Value = {"httpGet": {"path": "/readyz", "port": "http"}}
    container["readinessProbe"] = {**ready, "periodSeconds": 5}
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
    container = _container(pipeline, target, "learner", kafka_keys(pipeline))
    container["volumeMounts"] = pods.mounts(
        pipeline, {"name": "state", "mountPath": str(STATE / "learner")}
    )
    pod = _pod(pipeline, target, container)
    service = _service(target, "learner", {})
    return [_volume(target, "learner"), service, _stateful_set(pipeline, target, pod)]


def _container(pipeline: Pipeline, target: Target, role: str, known: Mapping[str, str]) -> Value:
    return {
        "name": role,
        "image": target.image_of("processes"),
        "imagePullPolicy": "IfNotPresent",
        "args": pods.arguments(pipeline, role),
        "env": pods.environment(target, known, {"OMP_NUM_THREADS": _THREADS}),
        "resources": _RESOURCES,
        "securityContext": pods.CONFINED,
    }


def _pod(pipeline: Pipeline, target: Target, container: Value, *more: Value) -> Value:
    role = container["name"]
    topics = {
        **_container(pipeline, target, "topics", kafka_keys(pipeline)),
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
        "metadata": pods.metadata(target, f"{target.name}-{role}", role),
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
        "metadata": pods.metadata(target, f"{target.name}-{role}", role),
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
        "metadata": pods.metadata(target, f"{target.name}-{role}", role),
        "spec": {
            "replicas": 1,
            "serviceName": f"{target.name}-{role}",
            "selector": {"matchLabels": pods.selector(target, role)},
            "template": {"metadata": pods.pod_metadata(pipeline, target, role), "spec": pod},
        },
    }
