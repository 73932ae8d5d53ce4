"""The transforms, one to a file: whatever stands in this folder is found by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.operators.discovery import found_in
from headrace.operators.errors import UnknownName
from headrace.operators.transforms.chain import Chain
from headrace.operators.transforms.transform import (
    ENGINES,
    Rows,
    Sees,
    State,
    Transform,
    TransformError,
)
from headrace.operators.types import Type

__all__ = [
    "ENGINES",
    "TRANSFORMS",
    "Chain",
    "Rows",
    "Sees",
    "State",
    "Transform",
    "TransformError",
    "declared_as",
    "from_state",
]


TRANSFORMS: Mapping[str, type[Transform]] = found_in(__name__, Transform)
"""Every transform by its name."""


def declared_as(facts: Mapping[str, Any]) -> Transform:
    """Make the transform of a declaration (see `Transform.declared`); it has learned nothing.

    >>> facts = {"transform": "clip", "column": "x", "kind": "int64", "high": 0.9}
    >>> declared_as(facts).declared()["high"]
    0.9
    """
    settings = dict(facts)
    name = settings.pop("transform")
    if name not in TRANSFORMS:
        raise UnknownName(kind="transform", name=name, known=list(TRANSFORMS))
    return TRANSFORMS[name](**{key: _read(key, value) for key, value in settings.items()})


def from_state(state: State) -> Transform:
    """Make the transform of a state, which goes on where that one was.

    >>> from headrace.operators.types import Type
    >>> clip = TRANSFORMS["clip"]("x", Type.INT64)
    >>> from_state(clip.state()).declared() == clip.declared()
    True
    """
    made = declared_as(state.facts["declared"])
    made.restore(state)
    return made


def _read(key: str, value: Any) -> Any:
    if key in ("kind", "label_kind"):
        return Type(value)
    if key == "kinds":
        return tuple(map(Type, value))
    return tuple(value) if isinstance(value, list) else value
