"""Predictions with a published version: what the store process serves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.ftrl import score
from headrace.online_learning.registry import Version
from headrace.online_learning.settings import Encoding
from headrace.operators.errors import CorruptError

__all__ = ["Scorer"]


class Scorer:
    """One version, loaded and checked; make another for the next version and swap them.

    Without a version all weights are 0, so every probability is 0.5, and `version` is 0.

    Parameters
    ----------
    encoding
        What the rows will be encoded with; the version must have been learned with the same.
    version
        As `Registry.latest` gives it.

    Raises
    ------
    CorruptError
        When the version's files are not what its manifest says, its weights are not finite, or it
        was learned with another encoding. Keep the scorer that you have.

    Examples
    --------
    >>> from headrace.online_learning.settings import Token
    >>> from headrace.operators.types import Type
    >>> encoding = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=64, bias=True)
    >>> scorer = Scorer(encoding, None)
    >>> scorer.version, scorer.through_ms, scorer.score(pa.table({"hour": [7]})).tolist()
    (0, None, [0.5])
    """

    def __init__(self, encoding: Encoding, version: Version | None) -> None:
        self.version = version.number if version else 0
        self.through_ms = version.through_ms if version else None
        self._encoder = Encoder(encoding)
        self._weights = _load(encoding, version)

    def score(self, table: pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
        """Give the probability of each row; errors as in `Encoder.encode`."""
        return score(self._weights, self._encoder.encode(table))

    def contributions(self, row: pa.Table | pa.RecordBatch) -> dict[str, float]:
        """Give what each token adds to the log-odds of one row; together they are all of it.

        >>> from headrace.online_learning.settings import Token
        >>> from headrace.operators.types import Type
        >>> encoding = Encoding({"hour": Type.INT64}, {}, (Token(("hour",)),), slots=64, bias=True)
        >>> Scorer(encoding, None).contributions(pa.table({"hour": [7]}))
        {'hour': 0.0, 'bias': 0.0}
        """
        slots = self._encoder.encode(row)[0]
        names = [*(token.name for token in self._encoder.encoding.tokens), "bias"]
        return dict(zip(names, self._weights[slots].tolist(), strict=False))


def _load(encoding: Encoding, version: Version | None) -> NDArray[np.float64]:
    if version is None:
        return np.zeros(encoding.slots)
    if version.encoding != encoding.digest or version.slots != encoding.slots:
        raise CorruptError(
            version.folder,
            f"asked for weights of the encoding {encoding.digest[:12]}",
            f"version {version.number} was learned with {version.encoding[:12]}",
            "publish from the pipeline that serves",
        )
    return version.weights()
