"""How clients speak to a Kafka that wants TLS, or a name and a password.

::

    kafka: {properties: …} ─┬─► kafka-python's settings, in this process only
                            └─► Flink's SQL: paths and names, and ${env:…} where a secret stands,
                                which Kafka's own client replaces when it reads its settings

So a secret is in memory and in the environment of the JVM, and in no statement, plan, log or file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from headrace.jobs import transport
from headrace.jobs.serving.access import AccessError, Secret
from headrace.pipelines.kafka_properties import IN_THE_CLEAR, SECRET, in_the_clear
from headrace.pipelines.pipeline import Cluster, Pipeline

__all__ = ["PASSWORD", "for_flink", "speak"]

_SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common"
_PYTHON = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
}
PASSWORD = "HEADRACE_KAFKA_PASSWORD"  # noqa: S105  # the name of a variable
"""In the environment of Flink's JVMs."""


def speak(pipeline: Pipeline, bootstrap: str) -> None:
    """Let this process' clients speak to the Kafka at this address as the file says.

    Raises
    ------
    AccessError
        Where a secret is not where its reference says, or would be sent in the clear: the address
        may be another than the file's.
    """
    given = pipeline.kafka.properties
    if not given:
        return
    if in_the_clear(given, bootstrap):
        asked = f"asked for SASL_PLAINTEXT with Kafka at {bootstrap}"
        raise AccessError(asked, *IN_THE_CLEAR)
    settings = {
        _PYTHON[name]: Secret.of(value, fewest=1).reveal() if name == SECRET else value
        for name, value in given.items()
    }
    transport.secure(bootstrap, settings)


def for_flink(cluster: Cluster) -> Mapping[str, str]:
    """Give the properties for Flink's connector, and put secrets where its JVM finds them.

    >>> for_flink(Cluster("kafka:9092"))
    {}
    """
    given = cluster.properties
    if not given:
        return {}
    found = {"security.protocol": given["security.protocol"]}
    if "ssl.ca.location" in given:
        found |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": given["ssl.ca.location"]}
    if SECRET in given:
        os.environ[PASSWORD] = _quoted(Secret.of(given[SECRET], fewest=1).reveal())
        provider = f"{_SHADED}.config.provider.EnvVarConfigProvider"
        found |= {"config.providers": "env", "config.providers.env.class": provider}
        found |= {"sasl.mechanism": given["sasl.mechanism"], "sasl.jaas.config": _jaas(given)}
    return found


def _jaas(given: Mapping[str, str]) -> str:
    kind = "plain.Plain" if given["sasl.mechanism"] == "PLAIN" else "scram.Scram"
    user, password = _quoted(given["sasl.username"]), f"${{env:{PASSWORD}}}"
    module = f"{_SHADED}.security.{kind}LoginModule"
    return f'{module} required username="{user}" password="{password}";'


def _quoted(text: str) -> str:
    """Write a text as it stands between the quotes of a JAAS line."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
