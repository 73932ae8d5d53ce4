"""Versions of a model: folders that never change, and names for some of them.

    v000122/ v000123/          staged aside, synced, renamed: whole or not there
        manifest.json          what it is, of which data, how it was judged; sha256s, its own too
        weights.safetensors    the arrays of its kind of model, under their names
        provenance.json        which code on which machine made it: no part of what it is
    .pruned/v000007.json       the manifest of a version that is not kept any more
    ALIASES                    champion, challenger, …: see `aliases`

One process publishes, any number read. Nothing in a manifest or in weights depends on the clock or
the machine: the same log gives the same bytes, so a publisher that died may publish again, and one
that comes by a damaged version again writes it anew.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors import numpy as safetensors

from headrace.online_learning import durable, version
from headrace.online_learning.aliases import Aliases, AliasFile
from headrace.online_learning.models.model import Arrays
from headrace.online_learning.settings import LearningError
from headrace.online_learning.version import MANIFEST, PROVENANCE, WEIGHTS, Version, fault
from headrace.operators.errors import CorruptError, UnknownName
from headrace.operators.sealed import sealed

__all__ = ["Registry"]

_PRUNED = ".pruned"
_STAGING = ".staging-"
_log = logging.getLogger(__name__)


class Registry:
    """The versions in one folder, which need not exist yet.

    >>> import tempfile
    >>> registry = Registry(Path(tempfile.mkdtemp()))
    >>> registry.champion() is None
    True
    >>> registry.publish(1, {"weights": np.array([0.5])}, encoding="e", model={"kind": "ftrl"},
    ...                  through_ms=60_000, offsets={"predictions": 7}, metrics={"n": 0})
    1
    >>> registry.judged(1, champion=1)
    >>> registry.champion().arrays()["weights"].tolist()
    [0.5]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = AliasFile(folder)
        self._champion: Version | None = None

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
        parent: int | None = None,
        data: Mapping[str, Any] | None = None,
        gate: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> int:
        """Add version `number`; it is served when it is the champion.

        Publishing what is there already does nothing more; what is there and damaged is replaced,
        and warned of.

        Parameters
        ----------
        arrays
            What the model's kind predicts with.
        encoding
            The digest of the encoding.
        model
            The kind of model and its settings.
        parent
            The version before it, unless given.
        data, gate, provenance
            As in `Version`; the last may differ where the version is published again.

        Raises
        ------
        LearningError
            When a weight is not finite, or the version is there, whole, with other content.
        """
        asked = f"asked to publish version {number}"
        if wrong := fault(arrays):
            raise LearningError(asked, wrong, "lower alpha, and go back a version")
        weights = safetensors.save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
        facts = {
            "version": number,
            "parent": number - 1 if parent is None else parent,
            "encoding": encoding,
            "model": dict(model),
            "through_ms": through_ms,
            "offsets": dict(offsets),
            "data": dict(data or {}),
            "metrics": dict(metrics),
            "gate": dict(gate or {}),
            "files": {WEIGHTS: durable.sha256(weights)},
        }
        files = {WEIGHTS: weights, MANIFEST: _sealed(facts)}
        folder = self.folder / _name(number)
        if folder.exists() and not _holds(folder, files):
            self._check_damaged(asked, number)
            self._remove(number)
        if not folder.exists():
            self._stage(folder, {**files, PROVENANCE: _sealed(provenance or {})})
        return number

    def _check_damaged(self, asked: str, number: int) -> None:
        """Refuse to replace a version that is whole."""
        try:
            self.version(number).arrays()
        except CorruptError as damage:
            _log.warning("%s; it is published anew", damage)
            return
        found = f"{_name(number)!r} is there with other content"
        raise LearningError(asked, found, "versions never change: publish to an empty folder")

    def judged(
        self,
        number: int,
        *,
        champion: int | None,
        previous: int | None = None,
        through_ms: int | None = None,
    ) -> None:
        """Say what the gate chose when version `number` was made; nothing where it is further."""

        def chosen(names: Aliases) -> Aliases:
            if number <= names.judged:
                return names  # the log is learned again, after a crash
            return replace(
                names,
                chosen=champion,
                previous=previous,
                challenger=None if number == champion else number,
                judged=number,
                through_ms=through_ms,
            )

        self._names.change(chosen, anew=True)

    def pin(self, number: int | None) -> Aliases:
        """Serve this version whatever the gate says, or what the gate says again."""
        return self._named(number, lambda names: replace(names, pinned=number))

    def shadow(self, number: int | None) -> Aliases:
        """Keep this version as the shadow, or none."""
        return self._named(number, lambda names: replace(names, shadow=number))

    def _named(self, number: int | None, named: Callable[[Aliases], Aliases]) -> Aliases:
        def checked(names: Aliases) -> Aliases:
            if number is not None and number not in (known := self.numbers()):
                raise UnknownName(kind="version", name=str(number), known=list(map(str, known)))
            return named(names)

        return self._names.change(checked)

    def aliases(self) -> Aliases:
        """Give the names of versions; one `stat` where nothing changed."""
        return self._names.read()

    def prune(self, keep: int, also: Collection[int] = ()) -> list[int]:
        """Remove all but the newest `keep`, those `also` and those with a name; give the removed.

        What a version was stays known: see `pruned`.
        """
        if not self.folder.exists():
            return []
        with self._names.locked():  # a name that is given now is seen, or finds its version gone
            kept = self._names.read().kept.union(also)
            gone = [number for number in self.numbers()[: -keep or None] if number not in kept]
            for number in gone:
                self._keep_manifest(number)
                self._remove(number)
        for aside in self.folder.glob(f"{_STAGING}*"):  # of a publisher that died
            shutil.rmtree(aside)
        return gone

    def _keep_manifest(self, number: int) -> None:
        pruned = self.folder / _PRUNED
        pruned.mkdir(exist_ok=True)
        manifest = self.folder / _name(number) / MANIFEST
        if manifest.is_file():
            durable.write(pruned / f"{_name(number)}.json", manifest.read_bytes())

    def _remove(self, number: int) -> None:
        """Rename it first: a reader sees a version whole or not at all."""
        folder, aside = self.folder / _name(number), self.folder / f"{_STAGING}{_name(number)}"
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        shutil.rmtree(aside)

    def numbers(self) -> list[int]:
        """List the versions that are there, the oldest first."""
        return sorted(int(path.name[1:]) for path in self.folder.glob("v[0-9]*"))

    def pruned(self) -> list[int]:
        """List the versions of which the manifest alone is left, the oldest first."""
        return sorted(int(path.stem[1:]) for path in (self.folder / _PRUNED).glob("v[0-9]*.json"))

    def champion(self) -> Version | None:
        """Give the version to serve, or None before the first; one `stat` when nothing changed.

        Raises
        ------
        CorruptError
            When the names or the manifest cannot be read; the next call tries again.
        """
        number = self._names.read().champion
        if number is None:
            return None
        if self._champion is None or self._champion.number != number:
            self._champion = self.version(number)
        return self._champion

    def version(self, number: int) -> Version:
        """Give the version of that number.

        Raises
        ------
        CorruptError
            When it is not there or its manifest cannot be read.
        """
        folder = self.folder / _name(number)
        path = folder / MANIFEST
        return version.read(path, folder, number)

    def manifest(self, number: int) -> Version:
        """Give what a version is, or was before it was pruned: its arrays may be gone."""
        path = self.folder / _PRUNED / f"{_name(number)}.json"
        if number in self.numbers() or not path.is_file():
            return self.version(number)
        return version.read(path, self.folder / _name(number), number)

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


def _sealed(facts: Mapping[str, Any]) -> bytes:
    """Write facts in one order, whichever it was: the same facts are the same bytes."""
    return sealed(orjson.loads(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)))


def _name(number: int) -> str:
    return f"v{number:06d}"


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    return all(
        (folder / name).is_file() and (folder / name).read_bytes() == data
        for name, data in files.items()
    )
