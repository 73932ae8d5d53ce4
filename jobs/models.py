"""The versions of a state folder: what there is, what differs, and which one is served.

All of it reads and writes files; a pipeline may run or stand meanwhile. Who serves takes another
champion up at its next look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.jobs.weights import weights_of
from headrace.online_learning.aliases import Aliases
from headrace.online_learning.registry import Registry
from headrace.online_learning.version import WEIGHTS, Version
from headrace.operators.errors import EnvironmentProblem

__all__ = [
    "Difference",
    "Listed",
    "Moved",
    "challengers",
    "diff",
    "differing",
    "listed",
    "promote",
    "registry",
    "rollback",
]

_SCORES = ("n", "auc", "log_loss", "ne", "calibration")
_OTHERS = ("accuracy", "rmse", "mae", "bias", "pinball")


@dataclass(frozen=True)
class Listed:
    """A version: `kept` says whether its weights are there, `size_bytes` how large they are."""

    version: int
    names: list[str]
    kept: bool
    parent: int
    through_ms: int
    size_bytes: int | None
    verdict: str | None
    causes: Mapping[str, str]
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class Moved:
    """A weight in both versions; 0 in one that has it not."""

    name: str
    slot: int
    part: int
    before: float
    after: float


@dataclass(frozen=True)
class Difference:
    """What two versions have not in common: settings and scores as (before, after).

    `same` says whether their weights are; `moved` has the largest changes of `changed` weights, by
    size.
    """

    same: bool
    settings: Mapping[str, tuple[Any, Any]]
    scores: Mapping[str, tuple[Any, Any]]
    changed: int
    moved: list[Moved]


def registry(state: Path) -> Registry:
    """Open the versions of a state folder.

    Raises
    ------
    EnvironmentProblem
        Where no learner ever ran.
    """
    folder = state / "learner" / "versions"
    if not folder.is_dir():
        asked = f"asked for the versions in {state}"
        do = "run a pipeline until a version is published, or give its --state"
        raise EnvironmentProblem(asked, "there are none", do)
    return Registry(folder)


def listed(versions: Registry) -> list[Listed]:
    """List the versions, the newest first, those that were pruned among them."""
    kept = set(versions.numbers())
    names = versions.aliases()
    numbers = sorted(kept.union(versions.pruned()), reverse=True)
    return [_listed(versions.manifest(number), names, number in kept) for number in numbers]


def _listed(version: Version, names: Aliases, kept: bool) -> Listed:
    scores = version.metrics.get("prequential", {})
    return Listed(
        version=version.number,
        names=names.names(version.number),
        kept=kept,
        parent=version.parent,
        through_ms=version.through_ms,
        size_bytes=(version.folder / WEIGHTS).stat().st_size if kept else None,
        verdict=version.gate.get("verdict"),
        causes=version.gate.get("causes", {}),
        scores={
            **{name: scores.get(name) for name in _SCORES},
            **{name: scores[name] for name in _OTHERS if name in scores},
            **{name: value for name, value in scores.items() if "." in name},  # a task's
        },
    )


def challengers(versions: Registry) -> Mapping[str, Mapping[str, Any]]:
    """Give what learned beside the model when the newest version was made, as its manifest says.

    Raises
    ------
    EnvironmentProblem
        Where there is no version, or nothing learned beside its model.
    """
    numbers = versions.numbers()
    found = _challengers(versions.version(numbers[-1])) if numbers else {}
    if not found:
        asked, do = "asked for challengers", "declare them: `model: challengers:`"
        raise EnvironmentProblem(asked, f"{versions.folder} has none", do)
    return found


def _challengers(version: Version) -> Mapping[str, Mapping[str, Any]]:
    told: Mapping[str, Mapping[str, Any]] = version.metrics.get("challengers", {})
    return told


def diff(versions: Registry, before: int, after: int, most: int) -> Difference:
    """Compare two versions; at most so many of the weights that moved are told.

    Raises
    ------
    CorruptError
        Where one of them is not there, or damaged.
    """
    one, two = versions.version(before), versions.version(after)
    old, new = (weights_of(each.number, each.arrays()).drop(["version"]) for each in (one, two))
    place = ["name", "slot", "part"]
    both = old.join(new, place, join_type="full outer", right_suffix="_after")
    was, now = (pc.fill_null(both[name], 0.0).to_numpy() for name in ("value", "value_after"))
    change = np.abs(now - was)
    order = np.argsort(-change, kind="stable")[: min(most, int((change > 0).sum()))]
    rows = both.select(place).take(pa.array(order)).to_pylist()
    ends = zip(was[order].tolist(), now[order].tolist(), strict=True)
    moved = [Moved(**row, before=b, after=a) for row, (b, a) in zip(rows, ends, strict=True)]
    return Difference(
        same=one.files == two.files,
        settings=differing(_settings(one), _settings(two)),
        scores=differing(_flat(one.metrics), _flat(two.metrics)),
        changed=int((change > 0).sum()),
        moved=sorted(
            moved, key=lambda each: (-abs(each.after - each.before), each.name, each.slot)
        ),
    )


def _settings(version: Version) -> dict[str, Any]:
    return {"encoding": version.encoding, **_flat(version.model)}


def _flat(facts: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in facts.items():
        found |= (
            _flat(value, f"{within}{name}.") if isinstance(value, dict) else {within + name: value}
        )
    return found


def differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Give what two mappings have not in common, as (in the one, in the other)."""
    names = sorted({*one, *two})
    return {n: (one.get(n), two.get(n)) for n in names if one.get(n) != two.get(n)}


def promote(versions: Registry, number: int | None, *, shadow: bool = False) -> Aliases:
    """Serve a version whatever the gate says, or with None what the gate says; or name a shadow.

    Raises
    ------
    UnknownName
        Where it is not there.
    EnvironmentProblem
        Where it was learned with other settings than the champion, so that it could not be served.
    CorruptError
        Where it is damaged.
    """
    if number is not None and number in versions.numbers():
        _check_serves(versions, number)
    return versions.shadow(number) if shadow else versions.pin(number)


def _check_serves(versions: Registry, number: int) -> None:
    version = versions.version(number)
    version.arrays()
    chosen = versions.aliases().chosen
    if chosen is None:
        return
    champion = versions.version(chosen)
    found = differing(_settings(champion), _settings(version))
    beside = [each["model"] for each in _challengers(champion).values()]
    if found and not (version.encoding == champion.encoding and version.model in beside):
        asked = f"asked to promote version {number}"
        said = f"it was learned with another {', '.join(found)} than version {chosen}"
        raise EnvironmentProblem(asked, said, "run the pipeline that it was learned with")


def rollback(versions: Registry) -> Aliases:
    """Serve the version that was served before the champion, whatever the gate says.

    Raises
    ------
    EnvironmentProblem
        Where there is none.
    """
    names = versions.aliases()
    before = names.previous if names.pinned is None else None
    older = [n for n in reversed(versions.numbers()) if n < (names.champion or 0)]
    for number in older if before is None else [before]:
        if not versions.version(number).held:
            return promote(versions, number)
    asked, found = "asked to roll back", f"no version before {names.champion} is kept"
    raise EnvironmentProblem(asked, found, "keep more: `keep:` in the pipeline's model")
