"""Versions of a model: folders that never change, and a pointer to the one to serve.

    v000122/ v000123/          staged aside, synced, renamed: whole or not there
        manifest.json          what it is, and the sha256 of each file
        weights.safetensors    the arrays of its kind of model, under their names
    CHAMPION                   {"version": 123}, replaced by a rename

One process publishes, any number read. Nothing in a version depends on the clock or the machine:
the same log gives the same bytes, so a publisher that died may publish again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from headrace.online_learning import durable
from headrace.online_learning.models.model import Arrays
from headrace.online_learning.settings import LearningError
from headrace.operators.errors import CorruptError

__all__ = ["Registry", "Version"]

_MANIFEST = "manifest.json"
_WEIGHTS = "weights.safetensors"
_POINTER = "CHAMPION"
_STAGING = ".staging-"
_OTHER = "keep the version you have, and look at the disk"


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable model; `through_ms` is the event time before which it has learned every label.

    `offsets` are those at which a learner would go on, by topic; `parent` is 0 for the first.
    """

    number: int
    folder: Path
    encoding: str
    model: Mapping[str, Any]
    through_ms: int
    parent: int
    offsets: Mapping[str, int]
    metrics: Mapping[str, Any]
    files: Mapping[str, str]

    def arrays(self) -> Arrays:
        """Read the arrays of the model.

        Raises
        ------
        CorruptError
            When a file is missing, or not what its sha256 says, or holds what no weights are.
        """
        path = self.folder / _WEIGHTS
        data = _read(path, f"asked for version {self.number}")
        if (found := durable.sha256(data)) != self.files[_WEIGHTS]:
            asked = f"asked for sha256 {self.files[_WEIGHTS]}"
            raise CorruptError(path, asked, f"its sha256 is {found}", _OTHER)
        try:
            arrays = safetensors.load(data)
        except SafetensorError as error:
            raise CorruptError(path, "asked for weights", str(error), _OTHER) from error
        if fault := _fault(arrays):
            raise CorruptError(path, "asked for weights", fault, _OTHER)
        return arrays


class Registry:
    """The versions in one folder, which need not exist yet.

    >>> import tempfile
    >>> registry = Registry(Path(tempfile.mkdtemp()))
    >>> registry.latest() is None
    True
    >>> registry.publish(1, {"weights": np.array([0.5])}, encoding="e", model={"kind": "ftrl"},
    ...                  through_ms=60_000, offsets={"predictions": 7}, metrics={"n": 0})
    1
    >>> registry.latest().arrays()["weights"].tolist()
    [0.5]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: tuple[int, int, int] | None = None
        self._latest: Version | None = None

    def publish(
        self,
        number: int,
        arrays: Arrays,
        *,
        encoding: str,
        model: Mapping[str, Any],
        through_ms: int,
        offsets: Mapping[str, int],
        metrics: Mapping[str, Any],
    ) -> int:
        """Add version `number` and point to it, unless the pointer is beyond it already.

        Publishing what is there already does nothing more.

        Parameters
        ----------
        arrays
            What the model's kind predicts with.
        encoding
            The digest of the encoding.
        model
            The kind of model and its settings.

        Raises
        ------
        LearningError
            When a weight is not finite, or the version is there with other content.
        """
        asked = f"asked to publish version {number}"
        if fault := _fault(arrays):
            raise LearningError(asked, fault, "lower alpha, and go back a version")
        data = safetensors.save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
        facts = {
            "version": number,
            "parent": number - 1,
            "encoding": encoding,
            "model": dict(model),
            "through_ms": through_ms,
            "offsets": dict(offsets),
            "metrics": dict(metrics),
            "files": {_WEIGHTS: durable.sha256(data)},
        }
        manifest = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
        folder = self.folder / _name(number)
        if not folder.exists():
            self._stage(folder, {_WEIGHTS: data, _MANIFEST: manifest})
        elif not _holds(folder, {_WEIGHTS: data, _MANIFEST: manifest}):
            found = f"{folder.name!r} is there with other content"
            raise LearningError(asked, found, "versions never change: publish to an empty folder")
        if number > self._pointed():
            durable.write(self.folder / _POINTER, orjson.dumps({"version": number}))
        return number

    def prune(self, keep: int) -> list[int]:
        """Remove all but the newest `keep` versions, never the one pointed to; give the removed."""
        pointed = self._pointed()
        numbers = self.numbers()
        gone = [number for number in numbers[: -keep or None] if number != pointed]
        for number in gone:
            # Renamed first: a reader sees a version whole or not at all.
            aside = self.folder / f"{_STAGING}{_name(number)}"
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / _name(number)).rename(aside)
            shutil.rmtree(aside)
        return gone

    def numbers(self) -> list[int]:
        """List the versions that are there, the oldest first."""
        return sorted(int(path.name[1:]) for path in self.folder.glob("v[0-9]*"))

    def latest(self) -> Version | None:
        """Give the version pointed to, or None before the first; one `stat` when nothing changed.

        Raises
        ------
        CorruptError
            When the pointer or the manifest cannot be read; the next call tries again.
        """
        try:
            now = (self.folder / _POINTER).stat()
        except FileNotFoundError:
            return None
        seen = (now.st_ino, now.st_mtime_ns, now.st_size)
        if seen != self._seen:
            self._latest = self.version(self._pointed())
            self._seen = seen
        return self._latest

    def version(self, number: int) -> Version:
        """Give the version of that number.

        Raises
        ------
        CorruptError
            When it is not there or its manifest cannot be read.
        """
        folder = self.folder / _name(number)
        path = folder / _MANIFEST
        asked = f"asked for version {number}"
        facts = _object(path, _read(path, asked))
        try:
            return Version(
                number=facts["version"],
                folder=folder,
                encoding=facts["encoding"],
                model=facts["model"],
                through_ms=facts["through_ms"],
                parent=facts["parent"],
                offsets=facts["offsets"],
                metrics=facts["metrics"],
                files={_WEIGHTS: facts["files"][_WEIGHTS]},
            )
        except (KeyError, TypeError) as error:
            raise CorruptError(path, asked, f"it lacks {error}", _OTHER) from error

    def _pointed(self) -> int:
        """Read the number that the pointer names; 0 without a pointer."""
        path = self.folder / _POINTER
        if not path.exists():
            return 0
        number = _object(path, path.read_bytes()).get("version")
        if not isinstance(number, int):
            raise CorruptError(path, "asked for a version", f"it names {number!r}", _OTHER)
        return number

    def _stage(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Write the files aside, sync them, and rename the whole into its place."""
        staging = self.folder / f"{_STAGING}{folder.name}"
        shutil.rmtree(staging, ignore_errors=True)  # of a publisher that died
        staging.mkdir(parents=True)
        for name, data in files.items():
            durable.write_and_sync(staging / name, data)
        durable.sync_folder(staging)
        staging.rename(folder)
        durable.sync_folder(self.folder)


def _name(number: int) -> str:
    return f"v{number:06d}"


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    return all(
        (folder / name).is_file() and (folder / name).read_bytes() == data
        for name, data in files.items()
    )


def _read(path: Path, asked: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorruptError(path, asked, "it is not there", _OTHER) from error


def _object(path: Path, data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CorruptError(path, "asked for JSON", str(error), _OTHER) from error
    if not isinstance(value, dict):
        raise CorruptError(path, "asked for a JSON object", f"it is a {type(value)}", _OTHER)
    return value


def _fault(arrays: Arrays) -> str | None:
    """Say what is wrong with the arrays of a version, if anything is."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"a number in {name!r} is not finite"
    return None
