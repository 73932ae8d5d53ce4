"""A version in another form, written and at work: fewer bytes, or for others to run.

::

    keys     ids of the deep part │ slots of the linear part   int64 (rows, …) ─┐
    numbers  scaled by the version's moments                 float64 (rows, m) ──┴─► logits

What is measured is what was written, read as its consumer reads it: numpy for the linear part,
torch or ONNX Runtime for the deep one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from headrace.online_learning import durable
from headrace.online_learning.linear_export import export_linear
from headrace.online_learning.models.batched import Batched
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.models.model import Arrays, Inputs, Kind, under
from headrace.online_learning.models.sparse import dense, visited
from headrace.online_learning.settings import Encoding, LearningError
from headrace.operators.errors import UnknownName

if TYPE_CHECKING:
    from headrace.online_learning.deep.price import Scores

__all__ = ["FORMS", "Asked", "Shipped", "keys", "ship", "whole"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FORMS = ("onnx", "torch", "int8", "fp16", "pruned", "distilled")
LINEAR, DEEP = "linear.safetensors", "deep.safetensors"


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of a version: a form, and what some forms need.

    Parameters
    ----------
    share
        Of the weights, that are pruned.
    teach
        Rows that a distilled model learns what the whole one says of; numbers scaled.
    """

    form: str
    share: float = 0.5
    teach: Inputs | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UnknownName(kind="form of a version", name=self.form, known=FORMS)
        if not 0 <= self.share < 1:
            asked = f"asked to prune {self.share} of the weights"
            raise LearningError(asked, "it is no share", "give 0 up to below 1")


@dataclass(frozen=True, eq=False)
class Shipped:
    """A form at work: `score` gives logits of `keys` and numbers; `size_bytes` is of its files."""

    size_bytes: int
    score: Scores


def keys(inputs: Inputs) -> Ints:
    """Put ids and slots side by side.

    >>> keys(Inputs.of(np.array([[3, 5]], np.int32))).tolist()
    [[3, 5]]
    """
    return np.concatenate([inputs.ids, inputs.slots.astype(np.int64)], axis=1)


def whole(kind: Kind, encoding: Encoding, arrays: Arrays) -> Scores:
    """Give what scores as the version itself does, whatever its kind."""
    served, fields = kind.serves(encoding, arrays), _fields(kind, encoding)

    def score(given: Ints, numbers: Floats) -> Floats:
        ids, slots = given[:, :fields], given[:, fields:].astype(np.int32)
        p = served.score(Inputs(slots, ids, numbers, np.ones(len(given))))
        logits: Floats = np.log(p) - np.log1p(-p)
        return logits

    return score


def ship(kind: Kind, encoding: Encoding, arrays: Arrays, asked: Asked, folder: Path) -> Shipped:
    """Write a version in a form into `folder`, and give it at work.

    Raises
    ------
    LearningError
        Where the kind has no such form, or a weight does not fit.
    EnvironmentProblem
        Where the extra `export` is not installed.
    """
    if asked.form == "distilled":
        return _linear(_distilled(kind, encoding, arrays, asked), encoding, folder)
    if isinstance(kind, Logistic):
        weights = dense(arrays, "weights", encoding.weights)
        if asked.form == "torch":
            raise _refused(kind, asked, "there is no net in it", "take onnx")
        if asked.form == "onnx":
            size_bytes, score = export_linear(weights, len(encoding.numbers), folder)
            return Shipped(size_bytes, score)
        return _linear(_smaller(weights, asked), encoding, folder)
    if not isinstance(kind, Batched) or (kind.wide and not isinstance(kind.row_wise, Logistic)):
        do = "take distilled, or another kind"
        raise _refused(kind, asked, "vectors of pairs have it not yet", do)
    return _with_net(kind, encoding, arrays, asked, folder)


def _with_net(
    kind: Batched, encoding: Encoding, arrays: Arrays, asked: Asked, folder: Path
) -> Shipped:
    size_bytes, net = _net(kind, encoding, under("deep/", arrays), asked, folder)
    fields = _fields(kind, encoding)
    linear: Shipped | None = None
    if kind.wide:
        weights = dense(under("wide/", arrays), "weights", encoding.weights)
        linear = _linear(_smaller(weights, asked), encoding, folder)

    def score(given: Ints, numbers: Floats) -> Floats:
        logits = net(given[:, :fields], numbers)
        return logits if linear is None else logits + linear.score(given[:, fields:], numbers)

    return Shipped(size_bytes + (linear.size_bytes if linear else 0), score)


def _net(
    kind: Batched, encoding: Encoding, arrays: Arrays, asked: Asked, folder: Path
) -> tuple[int, Scores]:
    from headrace.online_learning.deep import export, packing, pruning
    from headrace.online_learning.deep.serving import Serving

    settings = kind.net(encoding)
    if asked.form in ("onnx", "torch"):
        write = export.export_onnx if asked.form == "onnx" else export.export_program
        exported = write(Serving(settings, arrays), folder)
        return exported.size_bytes, exported.score
    form = asked.form if asked.form in packing.FORMS else "fp32"
    files: dict[str, NDArray[Any]] = dict(arrays)
    if asked.form == "pruned":
        small = pruning.pruned(settings, arrays["dense"], asked.share)
        files |= {f"dense.{name}": each for name, each in pruning.packed(small).items()}
        arrays = {**arrays, "dense": small}
        del files["dense"]
    for name in ("rows.rows", "rows.defaults"):
        packed = packing.pack(arrays[name], form)
        files |= {name: packed["rows"]}
        if "scale" in packed:
            files[f"{name}.scale"] = packed["scale"]
    return _written(folder / DEEP, files), Serving(settings, arrays, form=form).score


def _linear(weights: NDArray[Any], encoding: Encoding, folder: Path) -> Shipped:
    """Write the weights that are not 0, and score with them; any kind of float."""
    ids = np.arange(len(weights))
    found = visited(ids, weights.astype(np.float64))
    kept = {"ids": found["ids"].astype(np.int32), "weights": weights[found["ids"]]}
    read, slots = weights.astype(np.float64), encoding.slots

    def score(given: Ints, numbers: Floats) -> Floats:
        fields = given.shape[1] - encoding.width
        logits: Floats = read[given[:, fields:]].sum(axis=1) + numbers @ read[slots:]
        return logits

    return Shipped(_written(folder / LINEAR, kept), score)


def _smaller(weights: Floats, asked: Asked) -> NDArray[Any]:
    """Give linear weights in the form: half floats also where a net's rows are int8."""
    from headrace.online_learning.deep.packing import pack

    if asked.form in ("fp16", "int8"):
        return pack(weights[:, None].astype(np.float32), "fp16")["rows"][:, 0]
    if asked.form == "pruned":
        there = np.flatnonzero(weights)
        order = np.argsort(np.abs(weights[there]), kind="stable")
        weights = weights.copy()
        weights[there[order[: int(asked.share * len(there))]]] = 0.0
    return weights.astype(np.float32)


def _distilled(kind: Kind, encoding: Encoding, arrays: Arrays, asked: Asked) -> NDArray[Any]:
    from headrace.online_learning.deep.distillation import distilled

    if isinstance(kind, Logistic) or asked.teach is None or not len(asked.teach):
        what = "it is linear already" if isinstance(kind, Logistic) else "there are no rows for it"
        raise _refused(kind, asked, what, "take another form")
    teach = asked.teach
    logits = whole(kind, encoding, arrays)(keys(teach), teach.numbers)
    learned = distilled(
        *(logits, teach.slots, teach.numbers),
        size=encoding.slots,
        settings=getattr(kind, "ftrl", Logistic().ftrl),
    )
    return learned.astype(np.float32)


def _fields(kind: Kind, encoding: Encoding) -> int:
    return len(encoding.tokens) if kind.deep else 0


def _written(path: Path, arrays: Mapping[str, NDArray[Any]]) -> int:
    data = safetensors.save({name: np.ascontiguousarray(each) for name, each in arrays.items()})
    durable.write(path, data)
    return len(data)


def _refused(kind: Kind, asked: Asked, found: str, do: str) -> LearningError:
    what = f"asked for a model of the kind {kind.name!r} as {asked.form}"
    return LearningError(what, found, do)
