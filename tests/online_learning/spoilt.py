"""A made-up log of which the truth is known, and ways to spoil it."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from headrace.online_learning.learning import Learning
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.registry import Registry
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.settings import Encoding, Ftrl, Token
from headrace.online_learning.verdict import Limits
from headrace.operators.types import Type
from tests.online_learning.made_up import Log

BEGINS = 1_000_000_000
EVERY = 1_000
VERSION = 10_000
PER_SECOND = 60
SECONDS = 200
INPUTS = {"city": Type.STRING, "load": Type.FLOAT64}
ENCODING = Encoding(
    INPUTS, {"load": (0.0, 1.0)}, (Token(("city",)), Token(("load",))), 256, True, ("load",)
)
TOLD = Learning(
    encoding=ENCODING,
    model=Logistic(Ftrl(alpha=0.3)),
    publish_every_ms=VERSION,
    keep=3,
    score_from_ms=None,
    within_ms=60_000,
    every_ms=EVERY,
    gate=Limits(),
)
_RATES = {"Oslo": 0.05, "Bergen": 0.2, "Roros": 0.5}

Row = dict[str, Any]
Spoil = Callable[[int, Row, bool], tuple[Row, bool]]
"""Takes a second since the beginning, a decision's inputs and its label; gives what is logged."""


def rate(x: Row) -> float:
    """Give the true probability."""
    return _RATES[x["city"]] + (0.3 if (x["load"] or 0.0) > 0.5 else 0.0)


def drawn(rng: random.Random) -> Row:
    """Draw a decision's inputs."""
    return {"city": rng.choice(list(_RATES)), "load": round(rng.gauss(0.0, 1.0), 3)}


def log(spoil: Spoil | None = None, seed: int = 1, seconds: int = SECONDS) -> Log:
    """Make a log: decisions all the time, a label half a second after each, panes of a second."""
    rng = random.Random(seed)  # noqa: S311 - a seeded log, no secret
    predictions: list[bytes] = []
    examples: list[bytes] = []
    for second in range(seconds):
        start, told = BEGINS + second * EVERY, []
        for i in range(PER_SECOND):
            x = drawn(rng)
            label = rng.random() < rate(x)
            if spoil is not None:
                x, label = spoil(second, x, label)
            seq, at = second * PER_SECOND + i, start + i * 400 // PER_SECOND
            one = {"seq": seq, "id": f"d{seq}", "at": at, "x": x, "p": 0.5, "version": 0}
            predictions.append(orjson.dumps(one))
            place = {"partition": 0, "offset": seq}
            told.append({"at": at + 500, **place, "label": label, "prediction": one})
        through = {"seq": second * PER_SECOND + PER_SECOND - 1, "through": start + EVERY}
        predictions.append(orjson.dumps(through))
        examples.append(orjson.dumps({"end": start + EVERY, "examples": told}))
    return Log(predictions, examples, [], [])


@cache
def _clean() -> tuple[pa.Table, NDArray[np.float64]]:
    rng = random.Random(99)  # noqa: S311 - a seeded log, no secret
    rows = [drawn(rng) for _ in range(3_000)]
    schema = pa.schema([(name, kind.arrow) for name, kind in INPUTS.items()])
    return pa.Table.from_pylist(rows, schema=schema), np.array([rate(x) for x in rows])


def true_loss(registry: Registry, number: int, told: Learning = TOLD) -> float:
    """Give a version's expected log loss on rows that nobody spoilt."""
    table, pi = _clean()
    p = Scorer(told.encoding, told.model, registry.version(number)).score(table)
    return float(-(pi * np.log(p) + (1 - pi) * np.log(1 - p)).mean())


def flipped(begin: int, end: int) -> Spoil:
    """Turn the labels of some seconds."""
    return lambda second, x, label: (x, label != (begin <= second < end))


def negative(begin: int, end: int) -> Spoil:
    """Make the labels of some seconds negative."""
    return lambda second, x, label: (x, label and not begin <= second < end)


def vanished(begin: int) -> Spoil:
    """Let a feature be null from then on."""
    return lambda second, x, label: ({**x, "load": None if second >= begin else x["load"]}, label)


def odd(begin: int, end: int) -> Spoil:
    """Let a feature have values that no measurement has."""
    values = [1e308, -1e308, 5e-324, None, 1.7976931348623157e308]

    def spoil(second: int, x: Row, label: bool) -> tuple[Row, bool]:
        if not begin <= second < end:
            return x, label
        return {**x, "load": values[(second * 7 + len(x["city"])) % len(values)]}, label

    return spoil
