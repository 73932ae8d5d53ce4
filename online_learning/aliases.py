"""Names of versions, all in one file that is replaced whole: which is served, which stand beside.

    champion      what is served: what the gate chose, unless somebody pinned another
    previous      what was the champion before: a rollback goes there
    challenger    the newest version, where the gate held it back
    shadow        one that somebody wants kept, and asked beside, and that is not served

The learner's gate and a person's command may write at the same time: whoever changes the file has
its lock, and begins from what is there. It carries its own sha256; where it is damaged or gone the
gate writes it anew, and says that what a person named is to be named again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from headrace.online_learning import durable
from headrace.online_learning.lock import waiting
from headrace.operators.errors import CorruptError
from headrace.operators.sealed import sealed, unsealed

__all__ = ["AliasFile", "Aliases"]

_NAME = "ALIASES"
_DO = "keep the version you have, and look at the disk"
_ANEW = "the gate names the champion anew; pin versions, or keep a shadow, again"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Aliases:
    """Which version bears which name; None where none does.

    Parameters
    ----------
    chosen
        The gate's champion.
    pinned
        The champion that a person chose; the gate's is not served meanwhile.
    judged, through_ms
        The newest version that the gate judged, and the event time up to which it has learned.

    Examples
    --------
    >>> aliases = Aliases(chosen=7, previous=6, pinned=3)
    >>> aliases.champion, aliases.names(3), sorted(aliases.kept)
    (3, ['champion', 'pinned'], [3, 6, 7])
    """

    chosen: int | None = None
    previous: int | None = None
    challenger: int | None = None
    shadow: int | None = None
    pinned: int | None = None
    judged: int = 0
    through_ms: int | None = None

    @property
    def champion(self) -> int | None:
        """Give the version to serve."""
        return self.chosen if self.pinned is None else self.pinned

    @property
    def kept(self) -> frozenset[int]:
        """Give the versions that must stay."""
        named = (self.chosen, self.previous, self.challenger, self.shadow, self.pinned)
        return frozenset(number for number in named if number is not None)

    def names(self, number: int) -> list[str]:
        """Name a version."""
        named = {"champion": self.champion, "pinned": self.pinned, "previous": self.previous}
        named |= {"challenger": self.challenger, "shadow": self.shadow}
        return [name for name, each in named.items() if each == number]


class AliasFile:
    """The file of a folder, which need not be there yet.

    >>> import tempfile
    >>> from dataclasses import replace
    >>> file = AliasFile(Path(tempfile.mkdtemp()))
    >>> file.read() == Aliases()
    True
    >>> file.change(lambda aliases: replace(aliases, chosen=2)).champion
    2
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME
        self._seen: tuple[int, int, int] | None = None
        self._read = Aliases()

    def read(self) -> Aliases:
        """Give the names; one `stat` where nothing changed.

        Raises
        ------
        CorruptError
            When the file cannot be read; the next call tries again.
        """
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return Aliases()
        seen = (now.st_ino, now.st_mtime_ns, now.st_size)
        if seen != self._seen:
            self._read = _parsed(self.path, self.path.read_bytes())
            self._seen = seen
        return self._read

    def change(self, changed: Callable[[Aliases], Aliases], *, anew: bool = False) -> Aliases:
        """Replace the file by what becomes of it; another who wants to waits until it is done.

        With `anew` a file that is damaged, or gone, is as one that never was, with a warning.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        was_there = self._lock_path.exists()
        with self.locked():
            before = self._read_anew(was_there) if anew else self.read()
            after = changed(before)
            if after != before:
                told = {"champion": after.champion, **asdict(after)}
                durable.write(self.path, sealed(told))
        return after

    def _read_anew(self, was_there: bool) -> Aliases:
        try:
            if was_there and not self.path.exists():
                _log.warning("%s: it is gone; %s", self.path, _ANEW)
            return self.read()
        except CorruptError as damage:
            _log.warning("%s; %s", damage, _ANEW)
            return Aliases()

    def locked(self) -> AbstractContextManager[None]:
        """Hold the names as they are, for what would be wrong were they others."""
        return waiting(self._lock_path)

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f"{_NAME}.lock")


def _parsed(path: Path, data: bytes) -> Aliases:
    asked = "asked for the names of versions"
    told = unsealed(path, data, _DO)
    try:
        facts = {each.name: told[each.name] for each in fields(Aliases)}
    except KeyError as error:
        raise CorruptError(path, asked, f"it has another form: {error}", _DO) from error
    told_of = {n: v for n, v in facts.items() if v is not None or n == "judged"}
    wrong = {name: value for name, value in told_of.items() if type(value) is not int}
    if wrong:
        raise CorruptError(path, asked, f"it has {wrong}", _DO)
    return Aliases(**facts)
