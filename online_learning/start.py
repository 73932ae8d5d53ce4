"""What a learner begins with instead of a blank model: one that was fitted to history.

::

    decisions with labels ─► learned once, in the order of the labels' times ─► start/ ─► Learner

It has all of the model's state, the optimizer's too, and how numbers are scaled; so the learner
goes on as if it had learned the history itself, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning import snapshot
from headrace.online_learning.encoding import Encoder
from headrace.online_learning.learning import Learning
from headrace.online_learning.lock import Lock
from headrace.online_learning.models.model import State, under, within
from headrace.online_learning.moments import Moments
from headrace.online_learning.settings import LearningError, digest
from headrace.online_learning.snapshot import Snapshot, Snapshots
from headrace.online_learning.stepping import columns, step
from headrace.operators.errors import EnvironmentProblem

__all__ = ["FOLDER", "Start", "fitted", "restored", "save"]

FOLDER = "start"


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A fitted model.

    Parameters
    ----------
    state
        The model's.
    moments
        How numbers are scaled.
    facts
        What it has learned: `labels`, `from_ms`, and `until_ms`, after the last of them, from which
        on a learner that begins with it may predict; and the caller's own.
    """

    state: State
    moments: NDArray[np.float64]
    facts: Mapping[str, Any]

    @property
    def until_ms(self) -> int:
        """Give the time before which all was learned."""
        return int(self.facts["until_ms"])


def fitted(settings: Learning, rows: pa.Table, **facts: Any) -> Start:
    """Learn every label once, those of one instant in the order of their rows.

    Parameters
    ----------
    settings
        Those of the learner that will begin with it.
    rows
        As `Prequential.add` takes them.

    Raises
    ------
    LearningError
        Where there is no label, or a weight became no number.

    Examples
    --------
    >>> from headrace.online_learning.models.linear import Logistic
    >>> from headrace.online_learning.settings import Encoding, Token
    >>> from headrace.operators.types import Type
    >>> encoding = Encoding({"wet": Type.BOOL}, {}, (Token(("wet",)),), slots=64, bias=False)
    >>> rows = {"seq": [0, 1], "at": [10, 15], "wet": [True, False]}
    >>> rows |= {"labelled": [12, None], "label": [True, None]}
    >>> settings = Learning(encoding, Logistic(), 1_000, 1, 20, 1_000, 1_000)
    >>> fitted(settings, pa.table(rows)).facts
    {'labels': 1, 'from_ms': 12, 'until_ms': 13}
    """
    told = rows.filter(rows["labelled"].is_valid())
    asked = "asked to begin with what history says"
    if settings.model.task == "bools":
        found = "a decision has several labels, and a row of history has one"
        raise LearningError(asked, found, "let the learner begin from blank")
    if not told.num_rows:
        raise LearningError(asked, "it has no label", "give decisions with their labels")
    at = told["labelled"].to_numpy()
    order = np.argsort(at, kind="stable")
    inputs = Encoder(settings.encoding).inputs(told, deep=settings.model.deep)
    labels = {
        "at": at[order],
        "seq": told["seq"].to_numpy()[order],
        "label": settings.model.codes(told["label"])[order],
        **columns(inputs, order),
    }
    none = {"at": np.empty(0, np.int64), **columns(inputs, order[:0])}
    model, moments = (
        settings.model.blank(settings.encoding),
        Moments(len(settings.encoding.numbers)),
    )
    step(settings, model, moments, none, labels)
    if not all(np.isfinite(array).all() for array in model.weights().values()):
        raise LearningError(asked, "a weight became no number", "lower the rates")
    learned = {"labels": len(at), "from_ms": int(at.min()), "until_ms": int(at.max()) + 1}
    return Start(model.state(), moments.state, {**learned, **facts})


def save(settings: Learning, folder: Path, start: Start) -> str:
    """Let the learner of `folder` begin with it; give the name under which that is known.

    Raises
    ------
    EnvironmentProblem
        Where a learner is at work there, or has begun already.
    """
    lock = Lock(folder)
    try:
        if any((folder / snapshot.FOLDER).glob("*.safetensors")):
            asked, found = f"asked to begin the learner in {folder}", "it has begun already"
            raise EnvironmentProblem(asked, found, "give the --state of a pipeline that never ran")
        arrays = within("model/", start.state.arrays)
        arrays["moments"] = start.moments
        facts = {"model": dict(start.state.facts), "learned": dict(start.facts)}
        return _starts(settings, folder).save(Snapshot(arrays, facts)).name
    finally:
        lock.release()


def restored(settings: Learning, folder: Path) -> Start | None:
    """Give what the learner of `folder` begins with; None where that is a blank model.

    Raises
    ------
    CorruptError
        Where it is damaged, or was fitted with another model or encoding.
    """
    read = _starts(settings, folder).restore()
    if read is None:
        return None
    arrays = under("model/", read.arrays)
    return Start(State(arrays, read.facts["model"]), read.arrays["moments"], read.facts["learned"])


def _starts(settings: Learning, folder: Path) -> Snapshots:
    facts = {"encoding": settings.encoding.digest, "model": settings.model.facts}
    whole = digest({**facts, "negatives": settings.negatives})
    return Snapshots(folder / FOLDER, digest=whole, keep=1)
