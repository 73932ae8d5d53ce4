"""The embedded broker keeps its log over being killed, and says what it lacks."""

from __future__ import annotations

import gc
import logging
import signal
import socket
from pathlib import Path

import pytest

from headrace.jobs.machine.broker import Broker, prepare
from headrace.jobs.machine.processes import Supervisor
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import DeliveryError, Reader, Topic, Writer, create_topics, ends
from headrace.operators.errors import EnvironmentProblem


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=rf"port {port} for Kafka; another process"):
            prepare(tmp_path, port=port)


@pytest.mark.kafka
def test_it_listens_on_this_machine_only(broker: Broker) -> None:
    assert broker.answers()
    settings = (broker.folder / "server.properties").read_text()
    assert f"\nlisteners=PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:" in settings
    # Its log goes to the file, which it does not without a binding of its logger.
    log = broker.folder / "broker.log"  # which says so just after it listens
    wait_until(lambda: "Kafka Server started" in log.read_text(), 20, "its log to say so")


@pytest.mark.kafka
@pytest.mark.usefixtures("java_and_jars")
# The client leaves the socket of each refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_killed_it_starts_again_on_the_same_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "kafka")  # what it logs would keep those sockets
    broker = prepare(tmp_path)
    with Supervisor() as supervisor:
        supervisor.start(broker.process())
        supervisor.wait_ready()
        create_topics(broker.address, [Topic("t", 1)])
        impatient = Writer(broker.address, delivery_seconds=2)
        with (
            Writer(broker.address) as writer,
            Reader(broker.address, {("t", 0): 0}) as reader,
        ):
            impatient.send("t", b"before")
            impatient.flush()
            supervisor.signal("broker", signal.SIGKILL)
            wait_until(lambda: supervisor.status()["broker"].restarts, 10, "the restart")
            # Clients go on, and the log has what was acknowledged.
            writer.send("t", b"after")
            writer.flush()
            values: list[bytes | None] = []

            def both() -> bool:
                values.extend(m.value for batch in reader.poll(100).values() for m in batch)
                return len(values) >= 2

            wait_until(both, 20, "both messages")
            assert values == [b"before", b"after"]
            supervisor.stop("broker")
            assert not broker.answers()
            impatient.send("t", b"lost", partition=0)
            with pytest.raises(DeliveryError, match="'t'; 1 message was not acknowledged"):
                impatient.flush()
            with pytest.raises(DeliveryError):
                impatient.close()
    gc.collect()
    status = supervisor.status()["broker"]
    assert (status.state, status.exit_status) == ("stopped", 143)
    assert status.peak_rss_bytes > 50 << 20


@pytest.mark.kafka
@pytest.mark.usefixtures("java_and_jars")
def test_a_folder_is_formatted_once(tmp_path: Path) -> None:
    first = prepare(tmp_path)
    identity = (tmp_path / "cluster.id").read_text()
    formatted = (tmp_path / "formatted").stat().st_mtime_ns
    assert (first, identity, formatted) == (
        prepare(tmp_path),
        (tmp_path / "cluster.id").read_text(),
        (tmp_path / "formatted").stat().st_mtime_ns,
    )
    # Killed after the tool and before its work was noted.
    (tmp_path / "formatted").unlink()
    assert prepare(tmp_path) == first
    assert (tmp_path / "formatted").exists()
    # Ports of the last time that were taken meanwhile are left to who has them.
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first.port))
        taken.listen()
        assert prepare(tmp_path).port != first.port


@pytest.mark.kafka
@pytest.mark.usefixtures("java_and_jars")
def test_storage_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match=r"format its storage in .*see that the folder"):
        prepare(tmp_path)


@pytest.mark.kafka
def test_the_run_has_one_broker(broker: Broker) -> None:
    create_topics(broker.address, [Topic("one", 1)])
    assert ends(broker.address, ["one"]) == {("one", 0): 0}
