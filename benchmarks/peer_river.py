"""River in its own environment: ``peer_river.py DATA RESULT``.

DATA is an .npz of `values`, `numbers` and `labels`; the dictionaries that River learns from are
made before the clock starts. RESULT gets the seconds of CPU and the predictions, as .npz.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from river import linear_model, optim


def main(data: str, result: str) -> None:
    """Predict each row, then learn it."""
    with np.load(data) as made:
        values, numbers, labels = (made[name] for name in ("values", "numbers", "labels"))
    rows = [
        {
            **{f"{i}={value}": 1.0 for i, value in enumerate(row)},
            **{f"x{i}": number for i, number in enumerate(others)},
            "bias": 1.0,
        }
        for row, others in zip(values.tolist(), numbers.tolist(), strict=True)
    ]
    ftrl = optim.FTRLProximal(alpha=0.1, beta=1.0, l1=0.0, l2=1.0)
    model = linear_model.LogisticRegression(ftrl, intercept_lr=0.0)
    predicted = []
    start = time.process_time()
    for row, label in zip(rows, labels.astype(bool).tolist(), strict=True):
        predicted.append(model.predict_proba_one(row).get(True, 0.5))
        model.learn_one(row, label)
    took = time.process_time() - start
    np.savez(result, seconds=np.array([took]), predicted=np.array(predicted))


if __name__ == "__main__":
    main(*sys.argv[1:])
