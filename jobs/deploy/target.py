"""Where a pipeline is to run in Kubernetes; what cannot run there is refused before it is written.

What is secret is named and never written: a pipeline's `env:NAME` is the key NAME of one Secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from importlib import metadata
from urllib.parse import urlsplit

from headrace.jobs.serving.access import is_loopback
from headrace.operators.errors import EnvironmentProblem, UnknownName
from headrace.pipelines.kafka_properties import SECRET
from headrace.pipelines.pipeline import Pipeline, Serve

__all__ = ["SHARD", "Target", "checked", "keys"]

SHARD = "shard"
"""What the pods of the store's shards are called by."""

_PLUGINS = {
    "abfss": "flink-azure-fs-hadoop",
    "gs": "flink-gs-fs-hadoop",
    "oss": "flink-oss-fs-hadoop",
    "s3": "flink-s3-fs-presto",
}
"""By the scheme of an object storage, the plugin of Flink's that writes checkpoints to it."""

_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9]([-a-z0-9._]*)(:[0-9]+)?(/[a-z0-9][-a-z0-9._]*)*")
_SIZE = re.compile(r"[1-9][0-9]*[MGT]i")
# Flink's operator takes names up to 45 characters, and the longest of ours ends in "-learner".
_MOST_CHARACTERS = 45 - len("-learner")


@dataclass(frozen=True)
class Target:
    """Where, and as what.

    Parameters
    ----------
    image
        Registry and name of the images, without a tag: ``-jobs`` or ``-processes`` follows it, and
        headrace's version is their tag.
    checkpoints
        The URI on object storage below which Flink keeps checkpoints, savepoints and leaders.
    name
        What the resources' names begin with.
    secret
        The Secret that has what the pipeline refers to by ``env:``.
    namespace
        None is that of the client.
    parallelism
        Of the views job.
    storage, storage_class
        Of the volume of the store, and of the learner; None is the cluster's default class.

    """

    image: str
    checkpoints: str
    name: str
    secret: str
    namespace: str | None = None
    parallelism: int = 1
    storage: str = "20Gi"
    storage_class: str | None = None
    version: str = field(default_factory=lambda: metadata.version("headrace"))

    @property
    def plugin(self) -> str:
        """Name the plugin for the object storage."""
        return _PLUGINS[urlsplit(self.checkpoints).scheme]

    @property
    def tag(self) -> str:
        """Give headrace's version as tags and labels may have it."""
        return self.version.replace("+", "-")

    def image_of(self, what: str) -> str:
        """Give the whole name of an image: of ``jobs`` or of ``processes``.

        >>> Target("hub/shop", "s3://b/c", "shop", "shop", version="1.0").image_of("jobs")
        'hub/shop-jobs:1.0'
        """
        return f"{self.image}-{what}:{self.tag}"


def checked(pipeline: Pipeline, target: Target) -> None:
    """Refuse what cannot run in pods.

    Raises
    ------
    EnvironmentProblem, UnknownName
        With what is asked for, what was found and what to do.

    """
    _names(target)
    _storage(target)
    _kafka(pipeline)
    _serve(pipeline, target)
    if pipeline.flink.rest is not None:
        found = f"its jobs run on a Flink that is there, at {pipeline.flink.rest}"
        raise _refused(pipeline, found, "leave `rest` out: each job has a Flink of its own there")
    for name, source in pipeline.sources.items():
        if source.files is not None:
            found = f"the source {name!r} has files, and a pod has none"
            raise _refused(pipeline, found, "send them to its topic, and leave `files` out")
    for reference in _references(pipeline):
        if not reference.startswith("env:"):
            found = f"it refers to {reference}, a file that pods do not have"
            raise _refused(pipeline, found, "write env:NAME, the key NAME of the Secret")


def _refused(pipeline: Pipeline, found: str, do: str) -> EnvironmentProblem:
    return EnvironmentProblem(f"asked for {pipeline.path.name} in Kubernetes", found, do)


def _names(target: Target) -> None:
    most = {"name": _MOST_CHARACTERS, "secret": 63, "namespace": 63, "storage_class": 63}
    for what, length in most.items():
        value = getattr(target, what)
        if value is None or (_LABEL.fullmatch(value) and len(value) <= length):
            continue
        asked = f"asked for the {what.replace('_', ' ')} {value!r} in Kubernetes"
        found = f"that is no DNS label (a-z, 0-9, -) of at most {length} characters"
        raise EnvironmentProblem(asked, found, f"give another by --{what.replace('_', '-')}")
    if not _IMAGE.fullmatch(target.image):
        asked = f"asked for the image {target.image!r}"
        found = "it has a tag, or is no image's name"
        do = "write it like registry.example.com/shop: its tag is headrace's version"
        raise EnvironmentProblem(asked, found, do)


def _storage(target: Target) -> None:
    if not _SIZE.fullmatch(target.storage):
        asked, found = f"asked for volumes of {target.storage!r}", "that is no size"
        raise EnvironmentProblem(asked, found, "write it like 20Gi")
    scheme, place = urlsplit(target.checkpoints)[:2]
    if scheme and scheme not in _PLUGINS:
        raise UnknownName(kind="object storage", name=scheme, known=_PLUGINS)
    if not scheme or not place:
        asked = f"asked for Flink's checkpoints at {target.checkpoints!r}"
        found = "that is no object storage, and a pod's disk is gone with it"
        raise EnvironmentProblem(asked, found, "give --checkpoints s3://bucket/folder")


def _kafka(pipeline: Pipeline) -> None:
    bootstrap = pipeline.kafka.bootstrap
    if bootstrap is None:
        found = "it has a broker of its own, and a cluster's is there already"
        raise _refused(pipeline, found, "add kafka: {bootstrap: host:9092}")
    if any(is_loopback(each.rpartition(":")[0].strip("[]")) for each in bootstrap.split(",")):
        found = f"its Kafka is at {bootstrap}, which in a pod is the pod itself"
        raise _refused(pipeline, found, "give the address that the cluster knows it by")


def _serve(pipeline: Pipeline, target: Target) -> None:
    serve, host = pipeline.serve, f"{target.name}-store"
    lines = (
        f"serve: {{host: 0.0.0.0, port: 8000, hosts: [{host}], tokens: {{read: env:READ_TOKEN}}}}"
    )
    if serve.host != "0.0.0.0" or not serve.port:  # noqa: S104  # compared with, not bound to
        found = f"its store answers at {serve.host}, port {serve.port}: no other pod reaches that"
        raise _refused(pipeline, found, f"add {lines}")
    if host not in serve.hosts:
        found = f"its store is asked as {host}, and does not answer to that name"
        raise _refused(pipeline, found, f"add {host} to serve: hosts:")
    if serve.metrics.get("learner") == 0:
        found = "its learner tells its metrics at any port that is free, and a pod has one"
        raise _refused(pipeline, found, "choose one, as in serve: {metrics: {learner: 9102}}")
    if "read" not in serve.tokens:
        found = "nobody has a token to read its metrics"
        raise _refused(pipeline, found, "add read: env:READ_TOKEN to serve: tokens:")


def _references(pipeline: Pipeline) -> list[str]:
    given = pipeline.kafka.properties.get(SECRET)
    return [*pipeline.serve.tokens.values(), *([] if given is None else [given])]


def keys(pipeline: Pipeline, role: str) -> dict[str, str]:
    """Give the variables that a role needs, each the Secret's key of its name: Kafka's for all.

    Tokens are for the store and its shards, and for whom `serve: metrics:` has tell its own.
    """
    answers = role in ("store", SHARD) or role in pipeline.serve.metrics
    asked = pipeline if answers else replace(pipeline, serve=Serve())
    names = (reference.partition(":")[2] for reference in _references(asked))
    return {name: name for name in names}
