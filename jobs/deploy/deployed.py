"""What a folder of resources deploys, and what a changed file changes of it.

::

    kubernetes/pipeline.yaml ─► the file as it was, with its tables ─┐
    the file as it is ───────────────────────────────────────────────┴─► what changes, in words

The folder is taken for what runs in the cluster. Where that is not so, ask the cluster for the
ConfigMap, and give that file.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headrace.jobs.evolve import plan
from headrace.jobs.evolve.plan import Change, Plan
from headrace.operators.errors import EnvironmentProblem, HeadraceError
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["CONFIG_MAP", "changed", "checked"]

CONFIG_MAP = "pipeline.yaml"
_FRESH = "deploy it under another name, in `pipeline:` and by --name"
_THERE = {
    "start in a fresh state folder": _FRESH,
    "take it down, then run `headrace store rebuild`": _FRESH,
    "from where all that it makes is complete": "from the beginning of its topics",
}
"""What is said of a state folder, and what is so in a cluster."""


def changed(pipeline: Pipeline, where: Path) -> Plan:
    """Say what changes where this is deployed over what a folder, or a ConfigMap's file, has.

    Raises
    ------
    EnvironmentProblem
        Where nothing of this pipeline is there, or what this headrace cannot read.

    """
    before, now = _facts(pipeline, where), plan.facts(pipeline)
    changes = tuple(_there(change) for change in plan.compared(before, now))
    same = tuple(name for name, view in now["views"].items() if before["views"].get(name) == view)
    return Plan(changes, same)


def checked(pipeline: Pipeline, folder: Path) -> Plan:
    """Give the same for a folder that is to be written, nothing where it has none yet.

    Raises
    ------
    EnvironmentProblem
        As `changed`, and where what is there cannot become what is declared.

    """
    if not (folder / CONFIG_MAP).exists():
        return Plan()
    planned = changed(pipeline, folder)
    for change in planned.changes:
        if change.refused:
            asked = f"asked to deploy {pipeline.path.name} over what is in {folder}"
            said, _, do = change.says.rpartition(": ")
            raise EnvironmentProblem(asked, f"its {change.name} {said}", do)
    return planned


def _there(change: Change) -> Change:
    says = change.says
    for here, there in _THERE.items():
        says = says.replace(here, there)
    return replace(change, says=says)


def _facts(pipeline: Pipeline, where: Path) -> dict[str, Any]:
    """Load what was declared beside the tables that it had, and say what is compared of it."""
    path = where / CONFIG_MAP if where.is_dir() else where
    asked = f"asked what is deployed by {path}"
    do = "give the folder that was written, or the file of its ConfigMap"
    try:
        found = YAML(typ="safe", pure=True).load(path)
    except (OSError, YAMLError) as error:
        raise EnvironmentProblem(asked, " ".join(str(error).split()), do) from error
    match found:
        case {"kind": "ConfigMap", "data": dict(texts)} if name := _file_of(pipeline, texts):
            binary = found.get("binaryData", {})
            files = {str(each): str(text).encode() for each, text in texts.items()}
            files |= {str(each): base64.b64decode(text) for each, text in binary.items()}
        case _:
            raise EnvironmentProblem(asked, "it is no ConfigMap of a pipeline's file", do)
    with tempfile.TemporaryDirectory() as beside:
        for each, content in files.items():
            (Path(beside) / Path(each).name).write_bytes(content)
        try:
            before = load(Path(beside) / Path(name).name)
        except HeadraceError as error:
            what = f"this headrace refuses it: {error}"
            raise EnvironmentProblem(asked, what, "deploy it into another folder") from error
        if before.name != pipeline.name:
            what = f"it is the pipeline {before.name!r}, and the file is that of {pipeline.name!r}"
            raise EnvironmentProblem(asked, what, "deploy it into another folder")
        return plan.facts(before)


def _file_of(pipeline: Pipeline, texts: Mapping[str, str]) -> str | None:
    """Find the pipeline's file: the one of its name, or the only one, where it had another."""
    found = [name for name in texts if name == pipeline.path.name]
    found = found or [name for name in texts if name.endswith((".yaml", ".yml"))]
    return found[0] if len(found) == 1 else None
