"""What a search found, with all that made it; and the lines of YAML that say the best settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from headrace.jobs.examples import Examples
from headrace.jobs.tune.parts import HELD_BACK, PARTS
from headrace.jobs.tune.search import Tuned
from headrace.online_learning import durable
from headrace.online_learning.provenance import provenance
from headrace.pipelines.models import KINDS
from headrace.pipelines.pipeline import Pipeline

__all__ = ["lines", "recorded", "write"]

FORM = 1
_MS = {"expire": "ms"}


def recorded(
    pipeline: Pipeline, examples: Examples, found: Tuned, *, trials: int, seed: int
) -> dict[str, Any]:
    """Say it in words of JSON; no clock is in it, so equal searches give equal bytes."""
    tuning = pipeline.tuning
    return {
        "form": FORM,
        "pipeline": pipeline.digest,
        "made_by": {**provenance(pipeline.digest), "optuna": version("optuna")},
        "examples": examples.facts,
        "seed": seed,
        "asked_trials": trials,
        "parts": PARTS,
        "held_back": HELD_BACK,
        "declared": {"kind": pipeline.model.kind.name, **tuning.given},
        "kinds": tuning.kinds,
        "space": {name: asdict(each) for name, each in tuning.space.items()},
        **asdict(found),
        "gain": found.gain,
        "yaml": lines(pipeline, found),
    }


def write(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write a record to `folder`, under a name of its content; give its path."""
    data = orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{durable.sha256(data)[:16]}.json"
    durable.write(path, data)
    return path


def lines(pipeline: Pipeline, found: Tuned) -> list[str]:
    """Write the kind and the settings that it has, as they stand below `model:`."""
    known = KINDS[found.best.kind].settings
    given = {n: value for n, value in pipeline.tuning.given.items() if n in known}
    settings = {**given, **found.best.settings}
    said = {name: f"{value}{_MS.get(name, '')}" for name, value in settings.items()}
    return [f"{n}: {value}" for n, value in {"kind": found.best.kind, **said}.items()]
