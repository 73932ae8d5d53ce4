"""How clients speak to a Kafka that wants a password: settings, and where the password is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.jobs import labels, transport, views
from headrace.jobs.machine.job import digest_of
from headrace.jobs.machine.speaking import for_flink, speak
from headrace.jobs.serving.access import AccessError
from headrace.operators.engines.flink import Kafka
from headrace.pipelines.load import load
from tests.feature_store.made_up import TEXT, pipeline

CANARY = 'a"canary\\of-20-chars'
PROPERTIES = """\
kafka:
  bootstrap: k.example.com:9093
  properties:
    security.protocol: SASL_SSL
    sasl.mechanism: {mechanism}
    sasl.username: shop
    sasl.password: env:CANARY
    ssl.ca.location: /etc/ca.pem
"""


def declared(folder: Path, mechanism: str = "PLAIN") -> Path:
    path = folder / "secured.yaml"
    path.write_text(TEXT + PROPERTIES.format(mechanism=mechanism))
    return path


def test_python_has_the_password_and_no_one_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    secured = load(declared(tmp_path))
    monkeypatch.setattr(transport, "_SECURED", {})
    speak(pipeline(tmp_path), "k.example.com:9093")
    assert transport._SECURED == {}
    speak(secured, "k.example.com:9093")
    assert transport._SECURED == {
        "k.example.com:9093": {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "shop",
            "sasl_plain_password": CANARY,
            "ssl_cafile": "/etc/ca.pem",
        }
    }
    assert CANARY not in repr(secured)


@pytest.mark.parametrize(
    ("mechanism", "module"),
    [("PLAIN", "plain.PlainLoginModule"), ("SCRAM-SHA-512", "scram.ScramLoginModule")],
)
def test_flinks_sql_says_where_the_password_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mechanism: str, module: str
) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    monkeypatch.setenv("HEADRACE_KAFKA_PASSWORD", "")
    secured = load(declared(tmp_path, mechanism))
    found = for_flink(secured.kafka)
    jaas = found["sasl.jaas.config"]
    assert jaas.endswith(
        f'.{module} required username="shop" password="${{env:HEADRACE_KAFKA_PASSWORD}}";'
    )
    assert found["ssl.truststore.location"] == "/etc/ca.pem"
    written = os.environ["HEADRACE_KAFKA_PASSWORD"]
    assert written == 'a\\"canary\\\\of-20-chars'
    kafka = Kafka("k.example.com:9093", views.group(secured), found)
    statements, inserts = views.sql(secured, kafka)
    assert any("properties.sasl.jaas.config" in text for text in statements)
    assert "canary" not in "".join([*statements, *inserts])


def test_how_it_is_spoken_to_is_no_part_of_what_a_job_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint is taken up when the address or the password has changed."""
    monkeypatch.setenv("CANARY", CANARY)
    secured, plain = load(declared(tmp_path)), pipeline(tmp_path)
    for job in (views, labels):
        assert job.digest(secured) == job.digest(plain)
        group = f"small.{job.__name__.rpartition('.')[2]}"
        kafka = Kafka("k.example.com:9093", group, for_flink(secured.kafka))
        statements, inserts = job.sql(secured, kafka)
        assert digest_of(statements, inserts, kafka) == job.digest(plain)
    assert secured.digest == plain.digest


def test_a_password_is_not_sent_in_the_clear_to_another_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's is this machine; `--kafka` may name any."""
    monkeypatch.setenv("CANARY", CANARY)
    monkeypatch.setattr(transport, "_SECURED", {})
    text = TEXT + PROPERTIES.format(mechanism="PLAIN").replace("SASL_SSL", "SASL_PLAINTEXT")
    text = text.replace("k.example.com", "127.0.0.1").replace(
        "    ssl.ca.location: /etc/ca.pem", ""
    )
    (tmp_path / "clear.yaml").write_text(text)
    here = load(tmp_path / "clear.yaml")
    speak(here, "127.0.0.1:9093")
    for address in ("k.example.com:9092", "127.0.0.1:9093,10.0.0.1:9093"):
        with pytest.raises(AccessError, match=r"Kafka at .*would cross a network in the clear"):
            speak(here, address)
    assert list(transport._SECURED) == ["127.0.0.1:9093"]


def test_a_password_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANARY", raising=False)
    with pytest.raises(AccessError, match="the secret in env:CANARY; there is no such variable"):
        speak(load(declared(tmp_path)), "k.example.com:9093")
