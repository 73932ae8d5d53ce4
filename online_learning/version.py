"""A version of a model as its manifest tells of it, and the arrays that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from headrace.online_learning import durable
from headrace.online_learning.models.model import Arrays, Kind
from headrace.online_learning.settings import Encoding
from headrace.operators.errors import CorruptError
from headrace.operators.sealed import unsealed

__all__ = ["MANIFEST", "PROVENANCE", "WEIGHTS", "Version", "fault", "read"]

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
PROVENANCE = "provenance.json"
_OTHER = "keep the version you have, and look at the disk"


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable model; `through_ms` is the event time before which it has learned every label.

    `offsets` are those at which a learner would go on, by topic; `parent` is the version that it
    went on from, 0 for one that began anew. `data` says which messages came between the two, `gate`
    how it was judged.
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
    data: Mapping[str, Any]
    gate: Mapping[str, Any]

    @property
    def held(self) -> bool:
        """Say whether the gate kept it from being served."""
        return bool(self.gate.get("verdict", "promoted") != "promoted")

    def learned_by(self, encoding: Encoding, kinds: Iterable[Kind]) -> Kind | None:
        """Give the kind that learned it, which is one of these; None if it was another learner."""
        if self.encoding != encoding.digest:
            return None
        return next((kind for kind in kinds if kind.facts == self.model), None)

    def provenance(self) -> Mapping[str, Any]:
        """Say which code made it, on what; nothing where that is not known."""
        path = self.folder / PROVENANCE
        return unsealed(path, path.read_bytes(), _OTHER) if path.exists() else {}

    def arrays(self) -> Arrays:
        """Read the arrays of the model.

        Raises
        ------
        CorruptError
            When a file is missing, or not what its sha256 says, or holds what no weights are.
        """
        path = self.folder / WEIGHTS
        data = _bytes(path, f"asked for version {self.number}")
        if (found := durable.sha256(data)) != self.files[WEIGHTS]:
            asked = f"asked for sha256 {self.files[WEIGHTS]}"
            raise CorruptError(path, asked, f"its sha256 is {found}", _OTHER)
        try:
            arrays = safetensors.load(data)
        except SafetensorError as error:
            raise CorruptError(path, "asked for weights", str(error), _OTHER) from error
        if wrong := fault(arrays):
            raise CorruptError(path, "asked for weights", wrong, _OTHER)
        return arrays


def read(path: Path, folder: Path, number: int) -> Version:
    """Read the manifest at `path` of a version in `folder`; a CorruptError where it is none."""
    asked = f"asked for version {number}"
    facts = unsealed(path, _bytes(path, asked), _OTHER)
    if facts.get("version") != number:
        raise CorruptError(path, asked, f"it is of version {facts.get('version')}", _OTHER)
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
            files={WEIGHTS: facts["files"][WEIGHTS]},
            data=facts["data"],
            gate=facts["gate"],
        )
    except (KeyError, TypeError) as error:
        raise CorruptError(path, asked, f"it lacks {error}", _OTHER) from error


def _bytes(path: Path, asked: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorruptError(path, asked, "it is not there", _OTHER) from error


def fault(arrays: Arrays) -> str | None:
    """Say what is wrong with the arrays of a version, if anything is.

    >>> fault({"weights": np.array([0.5, np.inf])})
    "a number in 'weights' is not finite"
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"a number in {name!r} is not finite"
    return None
