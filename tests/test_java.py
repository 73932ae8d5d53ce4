"""Jars are the ones of the lock or an error; what is cached and verified is not touched again."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

from headrace.jobs.machine import java
from headrace.jobs.machine.java import Jar, jars, locked_jars, verify_jars
from headrace.operators.errors import CorruptError, EnvironmentProblem


def jar(name: str, content: bytes) -> Jar:
    """A jar of the lock whose file has `content`."""
    sha256 = hashlib.sha256(content).hexdigest()
    return Jar(f"org.example:{name}:1.0", "broker", sha256=sha256, size_bytes=len(content))


class Repository:
    """A repository with the contents given by file name; it remembers what was asked of it."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.asked: list[str] = []

    def __call__(self, jar: Jar, folder: Path) -> Path:
        """Put the file of `jar` into `folder`."""
        name = jar.coordinates.split(":")[1]
        self.asked.append(name)
        path = folder / "fetched.jar"
        path.write_bytes(self.contents[name])
        return path


def no_network(jar: Jar, folder: Path) -> Path:
    asked, found = f"asked for the jar {jar.coordinates}", f"nobody gave it to {folder.name}"
    raise EnvironmentProblem(asked, found, "connect")


def test_the_lock_is_well_formed() -> None:
    locked = locked_jars()
    assert Counter(jar.role for jar in locked) == {"broker": 46, "flink": 1}
    assert len({jar.coordinates for jar in locked}) == len({jar.path for jar in locked}) == 47
    for one in locked:
        assert re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+", one.coordinates)
        assert re.fullmatch(r"[0-9a-f]{64}", one.sha256)
        assert one.size_bytes > 0
    # Without a binding the broker logs nothing.
    assert any(":log4j-slf4j-impl:" in jar.coordinates for jar in locked)


def test_a_jar_is_fetched_once(tmp_path: Path) -> None:
    locked = [jar("a", b"aa"), jar("b", b"bb")]
    repository, seen = Repository(a=b"aa", b=b"bb"), list[str]()
    paths = jars(
        "broker",
        cache=tmp_path,
        fetch=repository,
        locked=locked,
        done=lambda jar: seen.append(jar.coordinates),
    )
    assert [path.read_bytes() for path in paths] == [b"aa", b"bb"]
    assert sorted(seen) == ["org.example:a:1.0", "org.example:b:1.0"]
    again = jars("broker", cache=tmp_path, fetch=no_network, locked=locked)
    assert again == paths
    assert sorted(repository.asked) == ["a", "b"]
    assert list((tmp_path / "jars").glob(".fetch-*")) == []


def test_a_verified_jar_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = [jar("a", b"aa")]
    jars("broker", cache=tmp_path, fetch=Repository(a=b"aa"), locked=locked)

    def read(jar: Jar, path: Path) -> None:
        pytest.fail(f"read {path} for {jar}")

    monkeypatch.setattr(java, "_check", read)
    jars("broker", cache=tmp_path, fetch=no_network, locked=locked)


def test_a_role_gets_its_own_jars_only(tmp_path: Path) -> None:
    assert jars("flink", cache=tmp_path, fetch=no_network, locked=[jar("a", b"aa")]) == []


def test_a_fetched_jar_with_another_sha256_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match=r"asked for org\.example:a:1\.0 with sha256 .*; its 3"):
        jars("broker", cache=tmp_path, fetch=Repository(a=b"bad"), locked=[jar("a", b"good")])
    assert list((tmp_path / "jars").rglob("*.jar")) == []


def test_a_cached_jar_that_changed_is_refused(tmp_path: Path) -> None:
    locked = [jar("a", b"good")]
    [path] = jars("broker", cache=tmp_path, fetch=Repository(a=b"good"), locked=locked)
    path.write_bytes(b"evil")
    with pytest.raises(CorruptError) as refused:
        jars("broker", cache=tmp_path, fetch=no_network, locked=locked)
    assert refused.value.path == path
    assert hashlib.sha256(b"evil").hexdigest() in refused.value.found


def test_a_copied_cache_is_verified_and_used(tmp_path: Path) -> None:
    locked = [jar("a", b"good")]
    [path] = jars("broker", cache=tmp_path / "x", fetch=Repository(a=b"good"), locked=locked)
    copy = tmp_path / "y" / path.relative_to(tmp_path / "x")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"good")
    assert jars("broker", cache=tmp_path / "y", fetch=no_network, locked=locked) == [copy]


def test_a_missing_jar_without_a_network_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A port that nothing listens on, on this machine: as good as no network, and it answers fast.
    monkeypatch.setenv("HEADRACE_MAVEN", "http://127.0.0.1:1")
    with pytest.raises(EnvironmentProblem) as missing:
        jars("broker", cache=tmp_path, locked=[jar("a", b"aa")])
    assert str(missing.value) == (
        "asked for the jar org.example:a:1.0; it is not cached, and http://127.0.0.1:1 did not"
        " give it (ConnectionError); connect to the network once, or set HEADRACE_CACHE to a folder"
        " that has it, or HEADRACE_MAVEN to a mirror"
    )


def test_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    assert java.cache_folder() == tmp_path
    monkeypatch.delenv("HEADRACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert java.cache_folder() == tmp_path / "headrace"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert java.cache_folder() == tmp_path / ".cache" / "headrace"


def test_verify_names_every_jar_that_is_missing_or_wrong(tmp_path: Path) -> None:
    first = locked_jars()[0]
    path = tmp_path / "jars" / first.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"wrong")
    problems = verify_jars(cache=tmp_path)
    assert len(problems) == len(locked_jars())
    assert isinstance(problems[0], CorruptError)
    assert all(isinstance(problem, EnvironmentProblem) for problem in problems[1:])


def test_the_command_prints_one_line_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    monkeypatch.setenv("HEADRACE_MAVEN", "http://127.0.0.1:1")
    assert java.main() == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("headrace: asked for the jar ")
