"""A version shipped: its files in a folder, with what the form costs on examples held back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from headrace.jobs import assembly
from headrace.jobs.examples import Examples
from headrace.online_learning import durable
from headrace.online_learning.models.model import Kind
from headrace.online_learning.scorer import MOMENTS, Scorer
from headrace.online_learning.shipping import Asked, keys, ship, whole
from headrace.online_learning.version import Version
from headrace.operators.errors import EnvironmentProblem, HeadraceError
from headrace.operators.source import AT
from headrace.pipelines.pipeline import Pipeline

if TYPE_CHECKING:
    from headrace.online_learning.deep.price import HeldBack, Price

__all__ = ["Sent", "export"]

MANIFEST = "manifest.json"
_FEWEST = 100


@dataclass(frozen=True)
class Sent:
    """The whole version's price beside that of the form, on so many examples held back."""

    examples: int
    whole: Price
    form: Price


def export(
    pipeline: Pipeline,
    version: Version,
    examples: Callable[[], Examples],
    folder: Path,
    *,
    form: str,
    share: float = 0.5,
    p99_us: float | None = None,
) -> Sent:
    """Write a version in a form into a new folder, unless it is slower than the budget.

    Held back are the examples whose label came after all that the version has learned; a distilled
    model is taught by the decisions before. They are asked for last: they may take long to read.

    Raises
    ------
    EnvironmentProblem
        Where the folder is there already, the version is of another pipeline, or too few examples
        are held back.
    LearningError
        Where the kind has no such form, or the budget is passed.
    """
    from headrace.online_learning.deep.price import Price, within

    encoding = assembly.encoding(pipeline)
    kind = _checked(pipeline, version, folder)
    arrays = dict(version.arrays())
    moments = arrays.pop(MOMENTS, np.zeros((len(encoding.numbers), 3)))
    scorer, rows = Scorer(encoding, kind, version), examples().rows
    held_back = _held_back(rows, version, scorer)
    before = rows.filter(pa.array(rows[AT].to_numpy() < version.through_ms))
    asked = Asked(form, share, scorer.inputs(before) if form == "distilled" else None)
    known = whole(kind, encoding, arrays)
    logits = known(held_back.ids, held_back.numerics)
    aside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        shipped = ship(kind, encoding, arrays, asked, aside)
        prices = [
            Price.of(name, score, size_bytes=size, held_back=held_back, whole=logits)
            for name, score, size in (
                ("whole", known, _size(version)),
                (form, shipped.score, shipped.size_bytes),
            )
        ]
        sent = Sent(len(logits), *prices)
        if p99_us is not None:
            within(sent.form, p99_us=p99_us)
        _seal(pipeline, version, sent, moments, aside)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return sent


def _checked(pipeline: Pipeline, version: Version, folder: Path) -> Kind:
    """Give the kind of a version that can be exported."""
    asked = f"asked to export version {version.number}"
    if folder.exists():
        raise EnvironmentProblem(asked, f"{folder} is there already", "give a new folder")
    kind = version.learned_by(assembly.encoding(pipeline), pipeline.kinds)
    if kind is None:
        found = f"it was learned with other settings than those of {pipeline.path}"
        raise EnvironmentProblem(asked, found, "give the pipeline file that it was learned with")
    if kind.task != "probability":
        found = f"the kind {kind.name!r} predicts no single bool, so it has no AUC"
        raise HeadraceError(asked, found, "export a model of a bool")
    return kind


def _held_back(rows: pa.Table, version: Version, scorer: Scorer) -> HeldBack:
    from headrace.online_learning.deep.price import HeldBack

    came = rows["labelled"].fill_null(-1).to_numpy()
    late = came >= version.through_ms
    held = rows.filter(pa.array(rows["label"].is_valid().to_numpy() & late))
    labels = held["label"].to_numpy().astype(np.float64)
    if len(labels) < _FEWEST or len(np.unique(labels)) == 1:
        asked = f"asked for examples that version {version.number} has not learned"
        found = f"there are {len(labels)}, {int(labels.sum())} of them positive"
        do = f"take an older version, or let the pipeline run on: {_FEWEST} of both kinds"
        raise EnvironmentProblem(asked, found, do)
    inputs = scorer.inputs(held)
    return HeldBack(keys(inputs), inputs.numbers, labels)


def _size(version: Version) -> int:
    return sum((version.folder / name).stat().st_size for name in version.files)


def _seal(
    pipeline: Pipeline, version: Version, sent: Sent, moments: NDArray[np.float64], folder: Path
) -> None:
    """Write what the files are of: how rows become keys, how numbers are scaled, the prices."""
    encoding = assembly.encoding(pipeline)
    facts: dict[str, Any] = {
        "version": version.number,
        "pipeline": pipeline.digest,
        "through_ms": version.through_ms,
        "encoding": encoding.digest,
        "parts": encoding.names,
        "model": dict(version.model),
        "moments": moments.tolist(),
        **asdict(sent),
        "files": {
            path.name: durable.sha256(path.read_bytes()) for path in sorted(folder.iterdir())
        },
    }
    data = orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    durable.write(folder / MANIFEST, data)
