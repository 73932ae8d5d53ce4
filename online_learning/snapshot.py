"""All of a learner's state in one file: it is there whole, or not at all.

    000041-<sha256>.safetensors    arrays; in its metadata the facts as JSON
    LATEST                         {"file": …, "sha256": …, "parent": …}, for people and alarms

A file is named after its own sha256, so each can be verified alone, whatever happened to the
others.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from headrace.online_learning import durable
from headrace.operators.errors import CorruptError

__all__ = ["FOLDER", "Saved", "Snapshot", "Snapshots", "whole"]

FOLDER = "snapshots"
"""Below that of a learner."""
_LATEST = "LATEST"
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{64})\.safetensors")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State as arrays and as facts that JSON can say."""

    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Saved:
    """When a snapshot was saved, in seconds since 1970, how long that took, how large it is."""

    at: float
    seconds: float
    size_bytes: int


class Snapshots:
    """The newest few snapshots in a folder, all made under the same settings.

    Parameters
    ----------
    folder
        It need not exist yet. One process writes.
    digest
        The hash of the settings; a snapshot made under others is not taken.
    keep
        How many stay.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> snapshots = Snapshots(Path(tempfile.mkdtemp()), digest="settings", keep=2)
    >>> snapshots.restore() is None
    True
    >>> _ = snapshots.save(Snapshot({"z": np.array([0.5])}, {"through": 60_000}))
    >>> snapshots.restore().facts["through"], snapshots.restore().arrays["z"].tolist()
    (60000, [0.5])
    """

    def __init__(self, folder: Path, *, digest: str, keep: int) -> None:
        self.folder = folder
        self.digest = digest
        self.keep = keep
        self.saved: Saved | None = None
        """The last of this process."""

    def save(self, snapshot: Snapshot) -> Path:
        """Write a snapshot, durable when this returns; then drop those beyond `keep`."""
        began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {"digest": self.digest, "facts": snapshot.facts}
        metadata = {"headrace": orjson.dumps(header, option=orjson.OPT_SORT_KEYS).decode()}
        # safetensors writes the memory as it lies, whatever its order.
        lying = {name: np.asarray(array, order="C") for name, array in snapshot.arrays.items()}
        data = safetensors.save(lying, metadata)
        sha256 = durable.sha256(data)
        # Above every number that is there: what does not verify grows old, and is dropped.
        newest, parent = max(((n, path.name) for n, _, path in self._files()), default=(0, None))
        path = self.folder / f"{newest + 1:06d}-{sha256}.safetensors"
        durable.write(path, data)
        latest = {
            "file": path.name,
            "sha256": sha256,
            "digest": self.digest,
            "parent": parent,
            "facts": snapshot.facts,
        }
        durable.write(self.folder / _LATEST, orjson.dumps(latest, option=orjson.OPT_INDENT_2))
        self._prune()
        self.saved = Saved(time.time(), time.monotonic() - began, len(data))
        return path

    def restore(self) -> Snapshot | None:
        """Give the newest snapshot that verifies, with a warning for each newer one that does not.

        None only when nothing was ever saved here.

        Raises
        ------
        CorruptError
            When there were snapshots and none verifies: starting from nothing is for you to decide.
        """
        causes: list[str] = []
        if (lost := _lost(self.folder)) is not None:
            causes.append(lost)
            _log.warning("%s: %s; trying the snapshots that are there", self.folder, lost)
        for _, sha256, path in self._files():
            read = self._read(path, sha256)
            if isinstance(read, Snapshot):
                return read
            causes.append(f"{path.name[:13]}…: {read}")
            _log.warning("%s: %s; falling back to the snapshot before it", path, read)
        if not causes:
            return None
        raise CorruptError(
            self.folder,
            "asked to go on from a snapshot",
            f"none verifies ({'; '.join(causes)})",
            "restore the folder from a backup, or give an empty one to learn anew",
        )

    def _read(self, path: Path, sha256: str) -> Snapshot | str:
        """Read a file, or say what is wrong with it."""
        data = path.read_bytes()
        if (found := durable.sha256(data)) != sha256:
            return f"its sha256 is {found[:12]}, not {sha256[:12]}"
        try:
            size = int.from_bytes(data[:8], "little")
            header = orjson.loads(orjson.loads(data[8 : 8 + size])["__metadata__"]["headrace"])
            if header["digest"] != self.digest:
                return (
                    f"it was made under other settings ({header['digest'][:12]}, "
                    f"now {self.digest[:12]})"
                )
            arrays = safetensors.load(data)
            return Snapshot(arrays, header["facts"])
        except (SafetensorError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            return f"it has another form: {error}"

    def _files(self) -> list[tuple[int, str, Path]]:
        """List the snapshots with the number and the sha256 in their names, the newest first."""
        named = ((_NAME.fullmatch(path.name), path) for path in self.folder.glob("*.safetensors"))
        found = [(int(match[1]), match[2], path) for match, path in named if match]
        return sorted(found, reverse=True)

    def _prune(self) -> None:
        for aside in self.folder.glob(".*.tmp"):  # of a writer that died
            aside.unlink()
        for *_, path in self._files()[self.keep :]:
            path.unlink()


def whole(folder: Path) -> int:
    """Count the snapshots in a folder whose learner may write and drop some meanwhile.

    Raises
    ------
    CorruptError
        For one that is not what its name says, or where LATEST cannot be read or names none.
    """
    found = 0
    for path in folder.glob("*.safetensors"):
        match = _NAME.fullmatch(path.name)
        with contextlib.suppress(FileNotFoundError):  # dropped since
            if match is None or durable.sha256(path.read_bytes()) != match[2]:
                do = "remove it while the learner is stopped: it goes on from the one before it"
                says = "its sha256 is not the one in its name"
                raise CorruptError(path, "asked for a snapshot", says, do)
            found += 1
    latest = folder / _LATEST
    name = _named(latest)
    gone = latest.exists() and (name is None or not (folder / name).is_file())
    if gone and _named(latest) == name:  # and nothing newer was saved since
        asked = f"asked for {name or 'what it names'}"
        says = "it cannot be read" if name is None else "it is not there"
        do = "restore it from a backup, or let the learner go on from an older one"
        raise CorruptError(latest, asked, says, do)
    return found


def _named(latest: Path) -> str | None:
    """Read which file LATEST names; None where it is not there or cannot be read."""
    try:
        return str(orjson.loads(latest.read_bytes())["file"])
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _lost(folder: Path) -> str | None:
    """Say whether the file that LATEST names is gone."""
    path = folder / _LATEST
    if not path.exists():
        return None
    if (name := _named(path)) is None:
        return f"{_LATEST} cannot be read"
    return None if (folder / name).is_file() else f"{_LATEST} names {name}, gone"
