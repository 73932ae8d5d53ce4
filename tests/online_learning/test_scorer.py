"""A prediction is the sum of what its tokens add, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.registry import Registry
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.settings import Encoding, Token
from headrace.operators.types import Type

INPUTS = {"hour": Type.INT64, "origin": Type.STRING}


@pytest.mark.parametrize("bias", [True, False])
def test_contributions_are_the_log_odds(tmp_path: Path, bias: bool) -> None:
    tokens = (Token(("hour",)), Token(("origin",)), Token(("hour", "origin")))
    encoding = Encoding(INPUTS, {}, tokens, slots=64, bias=bias)
    registry = Registry(tmp_path)
    weights = np.random.default_rng(5).normal(size=64)
    registry.publish(
        1,
        {"ids": np.arange(64), "weights": weights},
        encoding=encoding.digest,
        model=Logistic().facts,
        through_ms=0,
        offsets={},
        metrics={},
    )
    scorer = Scorer(encoding, Logistic(), registry.version(1))
    for hour, origin in ((7, "JFK"), (None, "LGA"), (23, None)):
        row = pa.table({"hour": pa.array([hour], pa.int64()), "origin": pa.array([origin], "str")})
        added = scorer.contributions(row)
        assert list(added) == ["hour", "origin", "hour*origin", *["bias"] * bias]
        total = 0.0
        for weight in added.values():
            total += weight
        assert 1 / (1 + math.exp(-total)) == scorer.score(row)[0]
