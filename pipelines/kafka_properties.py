"""Which properties of Kafka's clients a pipeline file may set: what TLS and SASL need, no more.

Kafka's own clients take hundreds, and some of them name classes to load or addresses to ask.
"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.operators.errors import PipelineError
from headrace.pipelines import values
from headrace.pipelines.document import Document
from headrace.pipelines.schema import KafkaForm

__all__ = ["IN_THE_CLEAR", "PROPERTIES", "SECRET", "in_the_clear", "properties_of"]

_PROTOCOLS = ("SSL", "SASL_SSL", "SASL_PLAINTEXT")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SECRET = "sasl.password"  # noqa: S105  # the name of a property
"""The one that is given by reference only."""
PROPERTIES = {
    "security.protocol": _PROTOCOLS,
    "sasl.mechanism": _MECHANISMS,
    "sasl.username": (),
    "sasl.password": (),
    "ssl.ca.location": (),
}
"""All there are, each with the values that it may have; any text where there are none."""
_REFUSED = {
    "sasl.jaas.config": (
        "it names a class to load, and headrace writes it itself",
        "give sasl.username and sasl.password",
    ),
    "ssl.endpoint.identification.algorithm": (
        "a certificate's name is always compared with the host's",
        "leave it out, and give the broker a certificate with its name",
    ),
    "ssl.truststore.location": ("certificates are PEM files", "give ssl.ca.location"),
}
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]"))
IN_THE_CLEAR = "the password would cross a network in the clear", "use SASL_SSL"
"""What is found, and what to do, where `in_the_clear` says so."""


def properties_of(form: KafkaForm, document: Document) -> Mapping[str, str]:
    """Check the properties, each alone and with the others.

    Raises
    ------
    PipelineError
        At one that is not known, has no such value, stands without another that it needs, or would
        send a password for all to read.

    """
    given = form.properties
    if given and form.bootstrap is None:
        asked, found = "asked for properties of Kafka's clients", "no Kafka is named"
        do = "add bootstrap: the pipeline's own broker takes none"
        raise document.refuse(("kafka", "properties"), asked, found, do, key=True)
    for name, value in given.items():
        _check(name, value, document)
    protocol = given.get("security.protocol")
    for name in given:
        if name.startswith("sasl.") and not str(protocol).startswith("SASL_"):
            raise _lacks(document, name, "security.protocol", "SASL_SSL")
        if name.startswith("ssl.") and not str(protocol).endswith("SSL"):
            raise _lacks(document, name, "security.protocol", "SASL_SSL or SSL")
    for name in ("sasl.mechanism", "sasl.username", "sasl.password"):
        if str(protocol).startswith("SASL_") and name not in given:
            raise _lacks(document, "security.protocol", name, "a value")
    if in_the_clear(given, form.bootstrap or ""):
        asked = "asked for SASL_PLAINTEXT"
        raise _refuse(document, "security.protocol", asked, *IN_THE_CLEAR)
    return dict(given)


def in_the_clear(properties: Mapping[str, str], bootstrap: str) -> bool:
    """Say whether a password would be sent to this address for others to read.

    >>> sent = {"security.protocol": "SASL_PLAINTEXT"}
    >>> in_the_clear(sent, "127.0.0.1:9092"), in_the_clear(sent, "127.0.0.1:9092,10.0.0.1:9092")
    (False, True)
    """
    hosts = {each.rpartition(":")[0] for each in bootstrap.split(",")}
    return properties.get("security.protocol") == "SASL_PLAINTEXT" and not hosts <= _LOOPBACK


def _check(name: str, value: str, document: Document) -> None:
    asked = f"asked for the property {name!r} of Kafka's clients"
    if name in _REFUSED:
        raise _refuse(document, name, asked, *_REFUSED[name], key=True)
    if name not in PROPERTIES:
        known = ", ".join(PROPERTIES)
        raise _refuse(document, name, asked, f"it is none of {known}", "leave it out", key=True)
    allowed = PROPERTIES[name]
    if allowed and value not in allowed:
        found = f"{value!r} is none of {', '.join(allowed)}"
        raise _refuse(document, name, asked, found, "choose one of them")
    if name == SECRET and not values.is_reference(value):
        found = "it is written there itself, and a pipeline file is no place for a secret"
        raise _refuse(document, name, asked, found, "write env:NAME or file:PATH")
    if not value or not value.isprintable() or "'" in value or "${" in value:
        do = "write it without quotes and without ${"  # which Flink's client would replace
        raise _refuse(document, name, asked, "it is no plain text", do)


def _lacks(document: Document, name: str, needed: str, value: str) -> PipelineError:
    asked = f"asked for the property {name!r} of Kafka's clients"
    return _refuse(document, name, asked, f"it needs {needed} too", f"add {needed}: {value}")


def _refuse(
    document: Document, name: str, asked: str, found: str, do: str, *, key: bool = False
) -> PipelineError:
    return document.refuse(("kafka", "properties", name), asked, found, do, key=key)
