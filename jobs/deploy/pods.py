"""What the pods of all processes have alike: who they are, what they may, what they know.

Values are as YAML has them: dicts, lists, texts, numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from headrace.jobs.deploy.target import Target
from headrace.jobs.machine import log_lines
from headrace.pipelines.pipeline import Pipeline

__all__ = [
    "CA",
    "CONFIG",
    "CONFINED",
    "STATE",
    "Value",
    "arguments",
    "environment",
    "metadata",
    "mounts",
    "pod_metadata",
    "pod_security",
    "selector",
    "volumes",
]

Value = dict[str, Any]

CONFIG = PurePosixPath("/etc/headrace")
"""Where a pod has the pipeline's file, and the tables beside it."""
STATE = PurePosixPath("/var/lib/headrace")
"""The state folder of a pod."""
CA = "kafka-ca.pem"
"""The key under which the ConfigMap has the certificates by which Kafka is known."""

CONFINED: Value = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
"""What a container may."""


def _labels(target: Target, part: str) -> dict[str, str]:
    """Say whose a resource is, by the labels that Kubernetes recommends."""
    return {
        **selector(target, part),
        "app.kubernetes.io/name": "headrace",
        "app.kubernetes.io/version": target.tag,
    }


def selector(target: Target, part: str) -> dict[str, str]:
    """Give what the pods of a part are found by."""
    return {"app.kubernetes.io/instance": target.name, "app.kubernetes.io/component": part}


def metadata(target: Target, part: str) -> Value:
    """Name a resource of a part."""
    where = {} if target.namespace is None else {"namespace": target.namespace}
    return {"name": f"{target.name}-{part}", **where, "labels": _labels(target, part)}


def pod_metadata(pipeline: Pipeline, target: Target, part: str) -> Value:
    """Label a pod; where the pipeline's file is another, so is the pod, and it is started anew."""
    digest = hashlib.sha256(pipeline.path.read_bytes()).hexdigest()[:12]
    return {"labels": _labels(target, part), "annotations": {"checksum/pipeline": digest}}


def pod_security(user: int) -> Value:
    """Say as whom a pod runs: nobody's root; volumes are its group's."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def arguments(pipeline: Pipeline, role: str) -> list[str]:
    """Give the arguments of ``headrace`` with which a role runs."""
    path = str(CONFIG / pipeline.path.name)
    bootstrap = str(pipeline.kafka.bootstrap)
    return ["process", role, path, "--bootstrap", bootstrap, "--state", str(STATE)]


def environment(target: Target, keys: Mapping[str, str], more: Value | None = None) -> list[Value]:
    """Give a container's variables: those of `keys` are such keys of the Secret."""
    plain = {log_lines.VARIABLE: "json", "HOME": "/tmp", "NUMBA_CACHE_DIR": "/tmp/numba"}  # noqa: S108
    plain |= more or {}
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": target.secret, "key": key}}}
            for name, key in sorted(keys.items())
        ),
    ]


def mounts(pipeline: Pipeline, *more: Value) -> list[Value]:
    """Give what every container sees: the pipeline, a place for what passes, `more`."""
    found: list[Value] = [
        {"name": "pipeline", "mountPath": str(CONFIG), "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # a volume of the pod's own
        *more,
    ]
    authority = pipeline.kafka.properties.get("ssl.ca.location")
    if authority is not None:
        place = {"mountPath": authority, "subPath": CA, "readOnly": True}
        found.append({"name": "pipeline", **place})
    return found


def volumes(target: Target, *more: Value) -> list[Value]:
    """Give the volumes behind `mounts`."""
    return [
        {"name": "pipeline", "configMap": {"name": f"{target.name}-pipeline"}},
        {"name": "tmp", "emptyDir": {}},
        *more,
    ]
