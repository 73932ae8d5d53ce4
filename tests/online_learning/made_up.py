"""A small made-up log with what real ones have: ties, nulls, doubled, late and early labels."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import orjson

from headrace.online_learning.learning import Learning
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.settings import Encoding, Ftrl, Token
from headrace.online_learning.verdict import Limits
from headrace.operators.types import Type

EVERY = 1_000
WITHIN = 20_000
STARTS = 1_000_000_500

ENCODING = Encoding(
    inputs={"city": Type.STRING, "hour": Type.INT64, "delay": Type.FLOAT64, "wet": Type.BOOL},
    buckets={"delay": (0.0, 5.0, 15.0)},
    tokens=(
        Token(("city",)),
        Token(("hour",)),
        Token(("delay",)),
        Token(("city", "wet")),
        Token(("hour", "delay")),
    ),
    slots=97,  # few, so that tokens of one row meet in one slot
    bias=True,
)

FTRL = Ftrl(alpha=0.1, beta=1.0, l1=0.05, l2=0.5)

SETTINGS = Learning(
    encoding=ENCODING,
    model=Logistic(FTRL),
    publish_every_ms=7_250,  # within a pane, so that panes are partly done
    keep=3,
    score_from_ms=STARTS + 10_000,
    within_ms=WITHIN,
    every_ms=EVERY,
    gate=Limits(least=20, alpha=0.2),  # the log is short
)


@dataclass(frozen=True)
class Log:
    """The messages of both topics, and the events they were made of."""

    predictions: list[bytes]
    examples: list[bytes]
    decided: list[dict[str, Any]]
    labelled: list[dict[str, Any]]


def log(seed: int = 7, decisions: int = 400, seconds: int = 50) -> Log:
    """Make a log; its times are few, so that many events share one."""
    rng = random.Random(seed)  # noqa: S311 - a seeded log, no secret
    times = sorted(STARTS + 250 * rng.randrange(seconds * 4) for _ in range(decisions))
    decided: list[dict[str, Any]] = [
        {
            "seq": seq,
            "id": f"d{seq}",
            "at": at,
            "x": {
                "city": rng.choice(["Oslo", "Bergen", "", None]),
                "hour": rng.choice([1, 2, -3, None]),
                "delay": rng.choice([-1.5, 0.0, 4.25, 20.0, None]),
                "wet": rng.choice([True, False, None]),
            },
            "p": rng.random(),
            "version": 0,
        }
        for seq, at in enumerate(times)
    ]
    labelled: list[dict[str, Any]] = []
    for prediction in decided:
        for _ in range(rng.choice([0, 1, 1, 1, 1, 2])):
            after = rng.choice([-250, 0, 250, 1_000, 5_000, 9_750, WITHIN, WITHIN + 250])
            labelled.append(
                {
                    "at": prediction["at"] + after,
                    "partition": rng.randrange(3),
                    "offset": len(labelled),
                    "label": rng.random() < (0.7 if prediction["x"]["wet"] else 0.2),
                    "prediction": prediction,
                }
            )
    return Log(_predictions(rng, decided), _examples(rng, labelled), decided, labelled)


def _predictions(rng: random.Random, decided: list[dict[str, Any]]) -> list[bytes]:
    messages: list[dict[str, Any]] = []
    for i, prediction in enumerate(decided):
        messages.append(prediction)
        following = decided[i + 1]["at"] if i + 1 < len(decided) else prediction["at"] + 100_000
        if rng.random() < 0.2 or i + 1 == len(decided):
            messages.append({"seq": i, "through": following})
    return [orjson.dumps(message) for message in messages]


def _examples(rng: random.Random, labelled: list[dict[str, Any]]) -> list[bytes]:
    panes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for label in labelled:
        panes[label["at"] // EVERY].append(label)
    first, last = min(panes), max(panes) + 100
    messages = []
    for pane in range(first, last):
        if pane in panes or rng.random() < 0.5:
            rng.shuffle(panes[pane])
            messages.append({"end": (pane + 1) * EVERY, "examples": panes[pane]})
        if messages and rng.random() < 0.1:
            messages.append(messages[-1])  # sent again
    return [orjson.dumps(message) for message in messages]
