"""Predictions with a published version: what the store process serves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.models.model import Inputs, Kind, Served
from headrace.online_learning.moments import Moments
from headrace.online_learning.settings import Encoding, LearningError
from headrace.online_learning.version import Version
from headrace.operators.errors import CorruptError

__all__ = ["MOMENTS", "Scorer", "column"]

MOMENTS = "moments"
"""The array of a version that says how numbers are scaled; all others are the model's."""


def column(predicted: NDArray[np.float64]) -> pa.Array:
    """Give predictions as a column: numbers, or a list of so many each.

    >>> column(np.array([[0.25, 0.75]])).to_pylist(), column(np.array([0.5])).to_pylist()
    ([[0.25, 0.75]], [0.5])
    """
    if predicted.ndim == 1:
        return pa.array(predicted)
    rows, parts = predicted.shape
    ends = np.arange(rows + 1, dtype=np.int32) * parts
    return pa.ListArray.from_arrays(ends, pa.array(predicted.ravel()))


class Scorer:
    """One version, loaded and checked; make another for the next version and swap them.

    Without a version all weights are 0, so every probability is 0.5, or that of one class among
    others, and `version` is 0.

    Parameters
    ----------
    encoding
        What the rows will be encoded with; the version must have been learned with the same.
    model
        The kind of model and its settings; the version must have been learned with the same.
    version
        As `Registry.latest` gives it.

    Raises
    ------
    CorruptError
        When the version's files are not what its manifest says, its weights are not finite, or it
        was learned with another encoding or model. Keep the scorer that you have.

    Examples
    --------
    >>> from headrace.online_learning.models.linear import Logistic
    >>> from headrace.online_learning.settings import Token
    >>> from headrace.operators.types import Type
    >>> encoding = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=64, bias=True)
    >>> scorer = Scorer(encoding, Logistic(), None)
    >>> scorer.version, scorer.through_ms, scorer.score(pa.table({"hour": [7]})).tolist()
    (0, None, [0.5])
    >>> scorer.contributions(pa.table({"hour": [7]}))
    {'hour': 0.0, 'bias': 0.0}
    """

    def __init__(self, encoding: Encoding, model: Kind, version: Version | None) -> None:
        self.version = version.number if version else 0
        self.through_ms = version.through_ms if version else None
        self._deep = model.deep
        self._encoder = Encoder(encoding)
        self._moments, self._served = _load(encoding, model, version)

    @property
    def replaced(self) -> int:
        """Count the numbers that were no finite ones, and the weights out of their range."""
        return self._encoder.replaced

    def score(self, table: pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
        """Give the prediction for each row, a row of several numbers where the kind has parts.

        Errors as in `Encoder.encode`.
        """
        return self._served.score(self.inputs(table))

    def contributions(self, row: pa.Table | pa.RecordBatch) -> dict[str, float]:
        """Give what each part of one row adds: to the log-odds, where a probability is predicted.

        Of a linear model they are all of it. Of classes it is to the sum of the most likely.
        """
        added = self._served.contributions(self.inputs(row)).tolist()
        return dict(zip(self._encoder.encoding.names, added, strict=True))

    def inputs(self, table: pa.Table | pa.RecordBatch) -> Inputs:
        """Encode rows as the version takes them, numbers scaled."""
        read = self._encoder.inputs(table, deep=self._deep)
        return Inputs(read.slots, read.ids, self._moments.scaled(read.numbers), read.weights)


def _load(encoding: Encoding, model: Kind, version: Version | None) -> tuple[Moments, Served]:
    width = len(encoding.numbers)
    if version is None:
        return Moments(width), model.serves(encoding, {})
    if version.learned_by(encoding, [model]) is None:
        found = version.encoding[:12]
        raise CorruptError(
            version.folder,
            f"asked for weights of the encoding {encoding.digest[:12]}, a {model.name!r} model",
            f"version {version.number} was learned with {found}, as {version.model}",
            "publish from the pipeline that serves",
        )
    arrays = dict(version.arrays())
    scales = arrays.pop(MOMENTS, np.zeros((width, 3)))
    try:
        return Moments(width, scales), model.serves(encoding, arrays)
    except LearningError as error:
        path = version.folder / "weights.safetensors"
        raise CorruptError(path, error.asked, error.found, error.do) from error
