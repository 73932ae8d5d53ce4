"""What a learner is told: which rows, which model, when it publishes and what it scores.

Values only. They are checked when they are made; the pipeline that made them knows the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from headrace.online_learning.challengers import Challenge
from headrace.online_learning.models.model import Kind
from headrace.online_learning.settings import Encoding, LearningError, digest
from headrace.online_learning.verdict import Limits
from headrace.online_learning.watching import Watching
from headrace.operators.errors import UnknownName
from headrace.operators.types import Type

__all__ = ["Learning"]


@dataclass(frozen=True, slots=True)
class Learning:
    """Everything a learner is told; times in ms of event time.

    Parameters
    ----------
    encoding
        How rows become what the model takes.
    model
        The kind of model and its settings.
    publish_every_ms
        A version is made at each multiple of it.
    keep
        How many snapshots and versions stay.
    score_from_ms
        The score counts decisions from then on; None counts all of them.
    within_ms
        A label counts until this long after its decision, which is then forgotten.
    every_ms
        The length of a pane of examples.
    negatives
        The share of negative labels that is learned; which, is a hash of the decision's number.
        What is served is corrected for it.
    negative_after_ms
        A decision without an outcome is learned as negative this long after it; an outcome that
        comes later takes that back. None waits for the outcome.
    score_every_ms
        The length of the windows of event time that are scored each; None is no windows.
    score_by
        The inputs by whose values the windows are scored, too: bools, whole numbers, strings.
    gate
        When a version is not served; None serves each that is finite.
    watching
        What is watched for change, and what is done about it; None is nothing.
    challenge
        Which other models learn beside it, and may take its place; None is none.

    Examples
    --------
    >>> from headrace.online_learning.models.linear import Logistic
    >>> from headrace.online_learning.settings import Token
    >>> from headrace.operators.types import Type
    >>> encoding = Encoding({"a": Type.BOOL}, {}, (Token(("a",)),), slots=8, bias=False)
    >>> one, two = (Learning(encoding, Logistic(), 3_600_000, keep, None, 86_400_000, 300_000)
    ...             for keep in (2, 3))
    >>> one.digest == two.digest  # what is kept changes nothing that is learned
    True
    """

    encoding: Encoding
    model: Kind
    publish_every_ms: int
    keep: int
    score_from_ms: int | None
    within_ms: int
    every_ms: int
    negatives: float = 1.0
    negative_after_ms: int | None = None
    score_every_ms: int | None = None
    score_by: tuple[str, ...] = ()
    gate: Limits | None = field(default_factory=Limits)
    watching: Watching | None = None
    challenge: Challenge | None = None

    def __post_init__(self) -> None:
        for name in ("publish_every_ms", "keep", "within_ms", "every_ms"):
            value: int = getattr(self, name)
            if value < 1:
                asked = f"asked for {name} = {value}"
                raise LearningError(asked, "it is too small", "give 1 or more")
        self._check_windows()
        self._check_provisional()
        self._check_watching()
        self._check_challenge()
        if not 0 < self.negatives <= 1:
            asked = f"asked to learn {self.negatives} of the negatives"
            raise LearningError(asked, "that is no share", "give more than 0, and at most 1")
        if self.negatives < 1 and self.model.task != "probability":
            asked = f"asked for {self.model.name!r} with a share of the negatives"
            raise LearningError(asked, "it has no negatives", "remove the share")

    def _check_provisional(self) -> None:
        after = self.negative_after_ms
        if after is None:
            return
        asked = f"asked to learn a decision as negative after {after} ms"
        if not 0 < after < self.within_ms:
            found = f"an outcome counts within {self.within_ms} ms"
            raise LearningError(asked, found, "give less than that, and more than 0")
        if self.model.task != "probability":
            raise LearningError(asked, f"{self.model.name!r} has no negatives", "remove it")
        for name, other in (("share of negatives", self.negatives < 1), ("weight", self.weighs)):
            if other:
                found = f"there is a {name}, and what was learned could not be taken back"
                raise LearningError(asked, found, "remove one of the two")

    def _check_watching(self) -> None:
        if self.watching is None:
            return
        tokens = [token.name for token in self.encoding.tokens if len(token.parts) == 1]
        for name in self.watching.fields:
            if name not in tokens:
                raise UnknownName(kind="token", name=name, known=tokens)
        kinds = {action.kind for action in self.watching.actions}
        rigid = [kind.name for kind in self.kinds if not kind.refreshes]
        if "reset" in kinds and rigid:
            asked = f"asked to reset a field of a model of the kind {rigid[0]!r}"
            do = "take a kind with a wide part, or another action"
            raise LearningError(asked, "it has no weights of a field's own", do)
        if "raise_rate" in kinds and self.negative_after_ms is not None:
            asked = "asked to raise the rate, and for negatives before their time"
            found = "what is learned at another rate could not be taken back"
            raise LearningError(asked, found, "remove one of the two")
        if self.watching.loss is not None and self.model.task == "number":
            asked = f"asked to watch the loss of a model of the kind {self.model.name!r}"
            raise LearningError(asked, "it gives no probability", "watch its fields alone")

    def _check_challenge(self) -> None:
        if self.challenge is None:
            return
        asked = "asked for challengers"
        if self.model.task != "probability":
            found = f"the model is of the kind {self.model.name!r}, and predicts no single bool"
            raise LearningError(asked, found, "remove them")
        threads = {kind.facts["threads"] for kind in self.kinds if "threads" in kind.facts}
        if len(threads) > 1:
            found = f"nets with {' and '.join(map(str, sorted(threads)))} threads in one process"
            raise LearningError(asked, found, "give all of them the same `threads`")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Give the kinds of model that a version may be of, the declared one first."""
        return (self.model, *(self.challenge.kinds if self.challenge else ()))

    @property
    def deep(self) -> bool:
        """Say whether rows need `ids`."""
        return any(kind.deep for kind in self.kinds)

    def kind_of(self, facts: Mapping[str, Any]) -> Kind:
        """Give the kind of the versions that say this of their model."""
        return next(kind for kind in self.kinds if kind.facts == facts)

    @property
    def weighs(self) -> bool:
        """Say whether an input says how many times a row counts."""
        return self.encoding.weight is not None

    def _check_windows(self) -> None:
        asked = "asked for the scores of windows"
        if self.score_by and self.score_every_ms is None:
            found = f"by {', '.join(self.score_by)}, and not how long they are"
            raise LearningError(asked, found, "give score_every_ms")
        if self.score_every_ms is not None and self.score_every_ms < 1:
            raise LearningError(asked, "of no length", "give 1 ms or more")
        for name in self.score_by:
            if name not in self.encoding.inputs:
                raise UnknownName(kind="input", name=name, known=list(self.encoding.inputs))
            if self.encoding.inputs[name] not in (Type.BOOL, Type.INT64, Type.STRING):
                found = f"{name!r} is {self.encoding.inputs[name].value}"
                raise LearningError(asked, found, "take a bool, a whole number or a string")

    def bare(self, model: Kind) -> Learning:
        """Give the same for another model alone: none looks on, no label is early."""
        return replace(
            self,
            model=model,
            negative_after_ms=None,
            score_every_ms=None,
            score_by=(),
            watching=None,
            challenge=None,
        )

    @property
    def digest(self) -> str:
        """Hash everything that decides what is learned from a log, scored and published."""
        facts = {
            "encoding": self.encoding.digest,
            "model": self.model.facts,
            "publish_every_ms": self.publish_every_ms,
            "score_from_ms": self.score_from_ms,
            "within_ms": self.within_ms,
            "every_ms": self.every_ms,
            "negatives": self.negatives,
            "negative_after_ms": self.negative_after_ms,
            "watching": self.watching and self.watching.facts,
            "windows": [self.score_every_ms, *self.score_by],
            "gate": asdict(self.gate) if self.gate else None,
            **({"challenge": self.challenge.facts} if self.challenge else {}),
            "scores": "operators/evaluation: 5",  # the form of their state, rivals' and gate's
        }
        return digest(facts)
