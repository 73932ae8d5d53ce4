"""The store, its shards and the learner as StatefulSets, each pod with a volume of its own.

::

    learner ─► volume: snapshots, versions ─┐ read-only, so both are on one node, where a volume
    store   ─► volume: its DuckDB file      │ of any kind may be mounted twice
     │  └──────────────◄────────────────────┘
     └─ asks shard-0, shard-1, … by name ─► of each a volume: its DuckDB file

None may run twice: a store owns its file, a learner its folder. A StatefulSet starts no second pod
of a number before the first is gone, and a volume is mounted on one node.
"""

from __future__ import annotations

from headrace.jobs.deploy import pods
from headrace.jobs.deploy.pods import STATE, Value
from headrace.jobs.deploy.target import SHARD, Target, keys
from headrace.online_learning.models.batched import Batched
from headrace.pipelines.pipeline import Pipeline

__all__ = ["SHARD_PORTS", "USER", "learner", "shards", "store"]

USER = 10001
SHARD_PORTS = {"flight": 8002, "metrics": 9103}
"""Of a shard's pod, which nobody else is in: what its head asks, and what Prometheus does."""
_THREADS = "2"
_STOP_SECONDS = 60
_NUMBER: Value = {
    "name": "SHARD_NUMBER",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
}
"""A pod's number in its StatefulSet."""
_ROLE_OF_HISTORY = {"store": "history", SHARD: f"history-$({_NUMBER['name']})"}
"""What computes, before each opens, the history of views that are new to it."""
_RESOURCES: Value = {
    "requests": {"cpu": "500m", "memory": "1Gi"},
    "limits": {"memory": "4Gi"},
}


def store(pipeline: Pipeline, target: Target) -> list[Value]:
    """Give the store's volume, its pod and the Service by which it is asked."""
    serve = pipeline.serve
    ports = {"http": serve.port} | ({"flight": serve.flight_port} if serve.flight_port else {})
    container = _container(pipeline, target, "store")
    container["args"] += _shards_at(pipeline, target)
    container["ports"] = [{"name": name, "containerPort": port} for name, port in ports.items()]
    container["volumeMounts"] = pods.mounts(
        pipeline,
        {"name": "state", "mountPath": str(STATE)},
        {"name": "learner", "mountPath": str(STATE / "learner"), "readOnly": True},
    )
    ready: Value = {"httpGet": {"path": "/readyz", "port": "http"}}
    container |= {**_alive("/healthz", "http"), "readinessProbe": {**ready, "periodSeconds": 5}}
    learners = {"persistentVolumeClaim": {"claimName": f"{target.name}-learner", "readOnly": True}}
    pod = _pod(
        pipeline, target, container, _claim(target, "store"), {"name": "learner", **learners}
    )
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


def _shards_at(pipeline: Pipeline, target: Target) -> list[str]:
    """Say where each shard answers: a pod of a StatefulSet has a name of its own in its Service."""
    name, port = f"{target.name}-{SHARD}", SHARD_PORTS["flight"]
    count = pipeline.store_shards if pipeline.store_shards > 1 else 0
    places = [f"{name}-{number}.{name}:{port}" for number in range(count)]
    return [word for place in places for word in ("--shard", place)]


def shards(pipeline: Pipeline, target: Target) -> list[Value]:
    """Give the Service in which shards have names, and their pods, each with a volume."""
    container = _container(pipeline, target, SHARD)
    container["env"].append(_NUMBER)
    container["args"] = pods.arguments(pipeline, f"{SHARD}-$({_NUMBER['name']})")
    container["args"] += ["--flight", f"0.0.0.0:{SHARD_PORTS['flight']}"]
    container["args"] += ["--metrics", str(SHARD_PORTS["metrics"])]
    container["ports"] = [{"name": n, "containerPort": port} for n, port in SHARD_PORTS.items()]
    container["volumeMounts"] = pods.mounts(pipeline, {"name": "state", "mountPath": str(STATE)})
    ready: Value = {"tcpSocket": {"port": "flight"}, "periodSeconds": 5}
    container |= {**_alive("/livez", "metrics"), "readinessProbe": ready}
    made = _stateful_set(pipeline, target, _pod(pipeline, target, container))
    claimed = {"metadata": {"name": "state"}, "spec": _volume(target, SHARD)["spec"]}
    made["spec"] |= {
        "replicas": pipeline.store_shards,
        "podManagementPolicy": "Parallel",
        "volumeClaimTemplates": [claimed],
    }
    service = _service(target, SHARD, SHARD_PORTS)
    # The head looks one up as soon as it is there, not when Kubernetes has called it ready.
    service["spec"] |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return [service, made]


def learner(pipeline: Pipeline, target: Target) -> list[Value]:
    """Give the learner's volume, its pod and the Service that a StatefulSet wants."""
    container = _container(pipeline, target, "learner")
    container["resources"] = _learning(pipeline)
    container["volumeMounts"] = pods.mounts(
        pipeline, {"name": "state", "mountPath": str(STATE / "learner")}
    )
    port = pipeline.serve.metrics.get("learner")
    if port is not None:
        container["ports"] = [{"name": "metrics", "containerPort": port}]
        container |= _alive("/livez", "metrics")
    pod = _pod(pipeline, target, container, _claim(target, "learner"))
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


def _learning(pipeline: Pipeline) -> Value:
    """Say what the learner's pod takes: each of its ranks is a process of so many threads."""
    kind = pipeline.model.kind
    if not isinstance(kind, Batched) or kind.ranks * kind.threads == 1:
        return _RESOURCES
    more = kind.ranks - 1
    return {
        "requests": {"cpu": str(kind.ranks * kind.threads), "memory": f"{1 + more}Gi"},
        "limits": {"memory": f"{4 + more}Gi"},
    }


def _pod(pipeline: Pipeline, target: Target, container: Value, *more: Value) -> Value:
    state = pods.mounts(pipeline, {"name": "state", "mountPath": str(STATE)})
    first = [{**_container(pipeline, target, "topics"), "volumeMounts": state}]
    if container["name"] in _ROLE_OF_HISTORY:
        history = _container(pipeline, target, "history")
        history["args"] = pods.arguments(pipeline, _ROLE_OF_HISTORY[container["name"]])
        history["env"] += [each for each in container["env"] if each == _NUMBER]
        first.append({**history, "volumeMounts": state})
    return {
        "automountServiceAccountToken": False,
        "securityContext": pods.pod_security(USER),
        "terminationGracePeriodSeconds": _STOP_SECONDS,
        "initContainers": first,
        "containers": [container],
        "volumes": pods.volumes(target, *more),
    }


def _claim(target: Target, role: str) -> Value:
    claimed = {"persistentVolumeClaim": {"claimName": f"{target.name}-{role}"}}
    return {"name": "state", **claimed}


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
