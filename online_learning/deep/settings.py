"""What a deep model is told: its fields, its net, how rows and layers learn.

Values only, checked when they are made; this file does not import torch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from headrace.online_learning.settings import LearningError
from headrace.operators.errors import UnknownName

__all__ = ["NETS", "ROW_OPTIMIZERS", "Deep", "Field", "RowOptimizer", "Shape"]

NETS = ("dcn_v2", "deep_fm", "dlrm", "mmoe", "wide_and_deep")
ROW_OPTIMIZERS = ("adagrad", "adam", "ftrl")


def positive(name: str, value: float) -> None:
    """Refuse a setting that is not a finite number above 0.

    >>> positive("rate", 0.0)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for rate = 0.0; it is not above 0; giv...
    """
    if not (math.isfinite(value) and value > 0):
        asked = f"asked for {name} = {value}"
        raise LearningError(asked, "it is not above 0", "give a number above 0")


@dataclass(frozen=True, slots=True)
class Field:
    """One column of ids, and when an id of it has a row of its own.

    Parameters
    ----------
    admit
        An id gets its own row in the batch that brings its sightings to this number; before, it
        shares the field's default row.
    expire_ms
        An id not seen for longer than that, in event time, is forgotten with its count; None never.

    Examples
    --------
    >>> Field("user", admit=0)
    Traceback (most recent call last):
    ...
    headrace.online_learning.settings.LearningError: asked for admit = 0 in the field 'user'; it...
    """

    name: str
    admit: int = 1
    expire_ms: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("admit", self.admit), ("expire_ms", self.expire_ms)):
            if value is not None and value < 1:
                asked = f"asked for {name} = {value} in the field {self.name!r}"
                raise LearningError(asked, "it is too small", "give 1 or more")


@dataclass(frozen=True, slots=True)
class RowOptimizer:
    """How a row of the table learns from the sum of its gradients in a batch.

    Parameters
    ----------
    kind
        `adagrad`: one accumulator a row, the mean of squares [^1]. `adam`: two a weight and a step
        count a row; idle rows cost nothing. `ftrl`: one accumulator a row, `z` a weight.
    rate
        The learning rate (alpha of `ftrl`).
    beta, l1, l2
        Of `ftrl` alone, as in `headrace.online_learning.ftrl`.

    Examples
    --------
    >>> RowOptimizer("adagrad").rate
    0.05

    [^1]: Gupta, Bengio, Weston, "Training highly multiclass classifiers", JMLR 2014, section 5.1.
    """

    kind: str = "adagrad"
    rate: float = 0.05
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ROW_OPTIMIZERS:
            raise UnknownName(kind="row optimizer", name=self.kind, known=ROW_OPTIMIZERS)
        positive("rate", self.rate)
        for name, value in (("beta", self.beta), ("l1", self.l1), ("l2", self.l2)):
            if not (math.isfinite(value) and value >= 0):
                asked = f"asked for {name} = {value}"
                raise LearningError(asked, "it cannot be below 0", "give 0 or more")


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a net is; each net reads what it has.

    Parameters
    ----------
    hidden
        The layers of the perceptron above the embeddings, from the input on.
    cross_layers, cross_rank
        Of `dcn_v2`.
    bottom
        The layers of `dlrm` from the numerics up to the width of a row, that last one not named.
    experts, tasks
        Of `mmoe`; any net gives `tasks` logits a row.

    Examples
    --------
    >>> Shape().hidden
    (128, 64)
    """

    hidden: tuple[int, ...] = (128, 64)
    cross_layers: int = 2
    cross_rank: int = 32
    bottom: tuple[int, ...] = (64,)
    experts: int = 4
    tasks: int = 1

    def __post_init__(self) -> None:
        sizes = [("hidden", n) for n in self.hidden] + [("bottom", n) for n in self.bottom]
        counts = ("cross_layers", "cross_rank", "experts", "tasks")
        for name, value in sizes + [(name, getattr(self, name)) for name in counts]:
            if value < 1:
                asked = f"asked for {name} of {value}"
                raise LearningError(asked, "it is too small", "give 1 or more")


@dataclass(frozen=True, slots=True)
class Deep:
    """Everything that decides what a deep model learns from a log.

    Parameters
    ----------
    fields
        The columns of ids, in their order.
    numerics
        How many columns of numbers, which the caller has standardised.
    width
        Weights in a row of the table.
    dense_rate
        Adam's rate for the layers at 256 rows a batch; at B rows it is that times sqrt(B / 256).
    memory_bytes
        What the table may take: above it, ids that were seen least lose their rows, and the
        number of sightings that admits an id rises. None sets no limit.
    device
        `cpu`, `cuda`, or `auto`: an accelerator where there is one.

    Examples
    --------
    >>> Deep((Field("user"), Field("item")), numerics=1).net
    'dcn_v2'
    >>> Deep((Field("user"),), net="dnc")
    Traceback (most recent call last):
    ...
    headrace.operators.errors.UnknownName: asked for the net 'dnc'; known: 'dcn_v2', 'deep_fm'...
    """

    fields: tuple[Field, ...]
    numerics: int = 0
    net: str = "dcn_v2"
    shape: Shape = field(default_factory=Shape)
    width: int = 16
    rows: RowOptimizer = field(default_factory=RowOptimizer)
    dense_rate: float = 2e-3
    memory_bytes: int | None = None
    seed: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.net not in NETS:
            raise UnknownName(kind="net", name=self.net, known=NETS)
        if self.device not in ("auto", "cpu", "cuda"):
            raise UnknownName(kind="device", name=self.device, known=("auto", "cpu", "cuda"))
        names = [one.name for one in self.fields]
        if not names or len(set(names)) < len(names):
            asked = f"asked for a deep model of the fields {names}"
            raise LearningError(asked, "it needs one or more, each once", "mend the list")
        if self.numerics < 0 or self.width < 1:
            asked = f"asked for {self.numerics} numerics and rows of {self.width} weights"
            raise LearningError(asked, "one is too small", "give 0 and 1 or more")
        positive("dense_rate", self.dense_rate)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Give the settings as JSON says them."""
        facts: dict[str, Any] = orjson.loads(orjson.dumps(asdict(self)))
        return facts

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Deep:
        """Read them back.

        >>> settings = Deep((Field("a", expire_ms=5), Field("b")), shape=Shape(hidden=(8,)))
        >>> Deep.of(settings.facts) == settings
        True
        """
        lists = {name: tuple(facts["shape"][name]) for name in ("hidden", "bottom")}
        parts: dict[str, Any] = {
            "fields": tuple(Field(**told) for told in facts["fields"]),
            "shape": Shape(**{**facts["shape"], **lists}),
            "rows": RowOptimizer(**facts["rows"]),
        }
        return cls(**{**facts, **parts})

    @property
    def digest(self) -> str:
        """Hash what decides the weights; the device is not among it.

        >>> one, two = (Deep((Field("a"),), device=device) for device in ("cpu", "cuda"))
        >>> one.digest == two.digest
        True
        """
        facts = {name: value for name, value in self.facts.items() if name != "device"}
        return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()
