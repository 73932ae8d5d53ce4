"""What predicting and learning share: numbers in, blocks of one size, logits out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headrace.online_learning.deep.net import Net
from headrace.online_learning.deep.settings import Deep
from headrace.online_learning.settings import LearningError

__all__ = ["BLOCK", "CUT", "Floats", "given", "measured", "scored"]

Floats = NDArray[np.float64]

BLOCK = 64  # 250 µs for one row, 4 µs a row for many [measured: DCN-v2 of 20 fields]
CUT = 10.0  # deviations: numerics come standardised, and beyond one is no measurement


def measured(numerics: Floats, rows: int, settings: Deep) -> Tensor:
    """Give numerics as a net takes them: NaN as 0, cut to ±10, float32.

    >>> from headrace.online_learning.deep.settings import Field
    >>> settings = Deep((Field("a"),), numerics=3)
    >>> measured(np.array([[0.5, np.nan, -1e308]]), 1, settings).tolist()
    [[0.5, 0.0, -10.0]]
    """
    if numerics.shape != (rows, settings.numerics):
        asked = f"asked for rows with numerics {list(numerics.shape)}"
        found = f"the ids have {rows} rows, the model {settings.numerics} numerics"
        raise LearningError(asked, found, "give an array of (rows, numerics)")
    out = torch.empty(numerics.shape)  # torch's memory is aligned, so sums are added alike
    out.copy_(torch.from_numpy(np.clip(np.nan_to_num(numerics, nan=0.0), -CUT, CUT)))
    return out


def scored(net: Net, rows: Tensor, numerics: Tensor) -> Floats:
    """Give logits in blocks of one size, the last one filled up.

    A product of matrices of another size may be added in another order [measured: below 16 rows],
    so that what is predicted would depend on how many ask at once.
    """
    count = len(rows)
    fill = (0, 0, 0, -count % BLOCK)
    rows, numerics = torch.nn.functional.pad(rows, fill), torch.nn.functional.pad(numerics, fill)
    with torch.no_grad():
        starts = range(0, max(len(rows), 1), BLOCK)
        blocks = ((rows[i : i + BLOCK], numerics[i : i + BLOCK]) for i in starts)
        out = torch.cat([net(*block) for block in blocks])
    return given(out[:count])


def given(out: Tensor) -> Floats:
    """Give logits as numpy has them: (rows,), or (rows, tasks) where there are several.

    Of a net that has run away they may be no numbers: they are 0 then, so that a wide part beside
    it stays whole until its learner begins anew.
    """
    logits = out.detach().squeeze(1) if out.shape[1] == 1 else out.detach()
    array: Floats = logits.cpu().numpy().astype(np.float64)
    return np.nan_to_num(array, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
