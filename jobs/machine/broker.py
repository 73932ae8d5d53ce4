"""The embedded broker: a real Kafka of one node (KRaft) on this machine only, in one folder.

::

    prepare(folder) ──► ports, cluster id, server.properties, log4j2.properties, formatted storage
        │
        ▼ Broker ── process() ──► Supervisor      a killed broker starts again on the same log

Its folder holds everything: the log, which is what a pipeline is rebuilt from, and the settings,
written anew at each start. Nothing is ever deleted from the log by age.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.jobs.machine.java import jars, java_home
from headrace.jobs.machine.processes import Process, Supervisor
from headrace.operators.errors import EnvironmentProblem

__all__ = ["Broker", "free_ports", "prepare", "running"]

HOST = "127.0.0.1"
_FORMAT_SECONDS = 60.0

# Event times are those of the data: a year of them must not open a segment for each week of it.
_HUNDRED_YEARS_MS = 3_155_760_000_000
# The controller refuses a broker that was killed until the session of its former self has ended:
# it answers again after 12.4 s with Kafka's own 9 s, after 4.2 s with these 3 s.
_SESSION_MS = 3_000
_SETTINGS = f"""\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
log.retention.ms=-1
log.retention.bytes=-1
log.roll.ms={_HUNDRED_YEARS_MS}
log.cleaner.dedupe.buffer.size=16777216
message.max.bytes=16777216
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms={_SESSION_MS}
broker.heartbeat.interval.ms=500
"""
_LOGGING = """\
status=warn
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %-5p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
logger.config.name=org.apache.kafka.common.config
logger.config.level=warn
logger.log.name=kafka.log
logger.log.level=warn
logger.raft.name=org.apache.kafka.raft
logger.raft.level=warn
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker whose folder is prepared; run `process()` under a supervisor.

    >>> Broker(Path("b"), 9092, 9093).address
    '127.0.0.1:9092'
    """

    folder: Path
    port: int
    controller_port: int

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"{HOST}:{self.port}"

    def answers(self) -> bool:
        """Whether something listens on its port; cheaper by seconds than asking it something."""
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1.0):
            return True
        return False

    def process(self, *, name: str = "broker", log: Path | None = None) -> Process:
        """The process for the supervisor; its log lies in the folder unless given."""
        return Process(
            name,
            [
                str(java_home() / "bin" / "java"),
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-XX:+ExitOnOutOfMemoryError",
                f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
                "kafka.Kafka",
                str(self.folder / "server.properties"),
            ],
            log or self.folder / "broker.log",
            env=_class_path(),
            ready=self.answers,
            stop_seconds=20.0,
        )


def standing(folder: Path) -> str:
    """Give the address of the broker that stands in a folder, whether it runs or not.

    Raises
    ------
    EnvironmentProblem
        Where there is none.

    """
    port, _ = _ports_before(folder)
    if port is None:
        asked, found = f"asked for the broker in {folder}", "there is none"
        raise EnvironmentProblem(asked, found, "run the pipeline first, or give its --state")
    return f"{HOST}:{port}"


def prepare(folder: Path, *, port: int | None = None, controller_port: int | None = None) -> Broker:
    """Make the folder of a broker, or take the one that is there, with all that it says.

    Parameters
    ----------
    folder
        Where the broker keeps everything.
    port, controller_port
        Where it listens; if not given those of the last time if they are free, else any free ones.

    Raises
    ------
    EnvironmentProblem
        When a given port is in use, Java or a jar is missing, or the storage cannot be formatted.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for given, what in ((port, "Kafka"), (controller_port, "Kafka's controller")):
        if given is not None:
            _check_free(given, what)
    before = _ports_before(folder)
    chosen = [port or before[0], controller_port or before[1]]
    if None in chosen or not all(_free(one) for one in chosen if one):
        spare = free_ports(2)
        chosen = [port or spare[0], controller_port or spare[1]]
    broker = Broker(folder, chosen[0] or 0, chosen[1] or 0)
    _write_settings(broker)
    _format(broker)
    return broker


@contextmanager
def running(folder: Path, *, port: int | None = None) -> Iterator[Broker]:
    """A broker that is ready, for as long as the context lasts."""
    broker = prepare(folder, port=port)
    with Supervisor() as supervisor:
        supervisor.start(broker.process())
        supervisor.wait_ready()
        yield broker


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on; another process may take them meanwhile.

    >>> len(set(free_ports(3)))
    3
    """
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            held = stack.enter_context(socket.socket())
            held.bind((HOST, 0))
            found.append(int(held.getsockname()[1]))
        return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the broker does
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                asked, do = f"asked for port {port}", "choose one above 1023"
                raise EnvironmentProblem(asked, str(error.strerror), do) from error
            return False
        return True


def _check_free(port: int, what: str) -> None:
    if not _free(port):
        asked, found = f"asked for port {port} for {what}", "another process listens on it"
        raise EnvironmentProblem(asked, found, "stop that process or choose another port")


def _ports_before(folder: Path) -> tuple[int | None, int | None]:
    try:
        text = (folder / "server.properties").read_text("utf-8")
    except FileNotFoundError:
        return None, None
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    ports = [address.rpartition(":")[2] for address in settings.get("listeners", "").split(",")]
    if len(ports) == 2 and all(port.isdecimal() for port in ports):
        return int(ports[0]), int(ports[1])
    return None, None


def _write_settings(broker: Broker) -> None:
    at, controller = broker.address, f"{HOST}:{broker.controller_port}"
    settings = (
        f"{_SETTINGS}"
        f"controller.quorum.voters=1@{controller}\n"
        f"listeners=PLAINTEXT://{at},CONTROLLER://{controller}\n"
        f"advertised.listeners=PLAINTEXT://{at}\n"
        f"log.dirs={broker.folder / 'log'}\n"
    )
    (broker.folder / "server.properties").write_text(settings, "utf-8")
    (broker.folder / "log4j2.properties").write_text(_LOGGING, "utf-8")


def _format(broker: Broker) -> None:
    identity, formatted = broker.folder / "cluster.id", broker.folder / "formatted"
    if formatted.exists():
        return
    if not identity.exists():
        identity.write_text(_cluster_id(), "ascii")
    done = subprocess.run(
        [
            str(java_home() / "bin" / "java"),
            "-Xmx128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={broker.folder / 'log4j2.properties'}",
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",  # of an attempt that was killed before it was noted here
            "-t",
            identity.read_text("ascii"),
            "-c",
            str(broker.folder / "server.properties"),
        ],
        env={**os.environ, **_class_path()},
        capture_output=True,
        text=True,
        timeout=_FORMAT_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        asked = f"asked Kafka to format its storage in {broker.folder}"
        do = "see that the folder can be written and the disk has room"
        raise EnvironmentProblem(asked, lines[-1], do)
    formatted.write_text(identity.read_text("ascii"), "ascii")


def _class_path() -> dict[str, str]:
    return {"CLASSPATH": os.pathsep.join(map(str, jars("broker")))}


def _cluster_id() -> str:
    # Kafka takes 16 bytes in URL-safe base64, and no leading dash: it would look like an option.
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode("ascii").rstrip("=")
