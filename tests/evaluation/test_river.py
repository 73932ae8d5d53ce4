"""River's metrics, row by row, as an oracle for ours."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from headrace.operators.evaluation import METRICS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("river") is None,
    reason="no river found: it comes with the extra 'outliers'",
)
OURS = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "log_loss": "LogLoss",
    "mae": "MAE",
    "rmse": "RMSE",
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("seed", range(2))
def test_a_metric_is_rivers(name: str, seed: int) -> None:
    from river import metrics

    rng = np.random.default_rng(seed)
    p = rng.random(3_000)
    y = (rng.random(3_000) < p).astype(np.float64)
    theirs: Any = getattr(metrics, OURS[name])()
    for predicted, label in zip(p.tolist(), y.tolist(), strict=True):
        if name in ("mae", "rmse", "log_loss"):
            theirs.update(label, predicted)
        else:
            theirs.update(bool(label), predicted >= 0.5)
    ours = METRICS[name]()
    ours.update(p, y)
    assert ours.value() == pytest.approx(theirs.get(), abs=1e-7)
