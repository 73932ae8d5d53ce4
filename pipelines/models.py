"""What a pipeline's `model` means: each kind, the settings that it has, and its label.

Every setting stands at the top of the section; one that another kind has is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.feature_store.worth import Worth
from headrace.online_learning.models.batched import (
    Batched,
    DcnV2,
    DeepFm,
    Dlrm,
    Hybrid,
    WideAndDeep,
)
from headrace.online_learning.models.factorised import Ffm, Fm
from headrace.online_learning.models.linear import Logistic, Poisson, Quantile, Squared
from headrace.online_learning.models.model import Kind, Task
from headrace.online_learning.models.multitask import Mmoe
from headrace.online_learning.models.softmax import Softmax
from headrace.online_learning.settings import Ftrl
from headrace.online_learning.verdict import Limits
from headrace.operators.types import Type
from headrace.pipelines.document import Document, Place
from headrace.pipelines.pipeline import Model, Pipeline, Token
from headrace.pipelines.schema import GateForm, ModelForm, PipelineForm, SettingsForm

__all__ = ["KINDS", "Settings", "check_model", "check_settings", "given", "made", "model_of"]

_FTRL = ("alpha", "beta", "l1", "l2")
_ROWS = ("width", "rate", "admit", "expire", "memory_mib")
_FACTORS = ("width", "rate", "seed")
_LAYERS = ("hidden", "cross_layers", "cross_rank")
_RANKS = ("ranks", "rank_timeout")
_WANTED = {
    Type.FLOAT64: ("a number", "give a number"),
    Type.INT64: ("classes by their numbers", "give an int64 from 0 on"),
    Type.STRING: ("classes by their names", "give a text"),
}
"""What kinds other than those of a bool learn, and what to do where the label is none."""
_DEEP = ("batch", *_ROWS, "dense_rate", *_LAYERS, "seed", "device", "threads", *_RANKS)

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class _Known:
    """A kind: the settings that it has, and what makes it of those that are given."""

    settings: tuple[str, ...]
    make: Callable[[Settings], Kind]
    task: Task = "probability"


def _ftrl(given: Settings) -> Ftrl:
    return Ftrl(**{name: float(given[name]) for name in _FTRL if name in given})


def _deep(given: Settings) -> dict[str, Any]:
    """Give the settings of a deep part, under the names and in the units that it has."""
    renamed = {"net": "deep_net", "expire": "expire_ms", "memory_mib": "memory_bytes"}
    renamed["rank_timeout"] = "rank_timeout_ms"
    found = {renamed.get(name, name): given[name] for name in ("net", *_DEEP) if name in given}
    if "memory_mib" in given:
        found["memory_bytes"] = given["memory_mib"] << 20
    if "hidden" in given:
        found["hidden"] = tuple(given["hidden"])
    return found


def _tasks(given: Settings) -> dict[str, Any]:
    return {name: given[name] for name in ("experts", "tasks") if name in given}


def _alone(kind: type[Batched]) -> _Known:
    return _Known((*_DEEP, "negatives"), lambda given: kind(**_deep(given)))


def _factorised(kind: type[Fm]) -> _Known:
    def make(given: Settings) -> Kind:
        return kind(_ftrl(given), **{name: given[name] for name in _FACTORS if name in given})

    return _Known((*_FTRL, *_FACTORS, "negatives"), make)


KINDS = {
    "ftrl": _Known((*_FTRL, "negatives"), lambda given: Logistic(_ftrl(given))),
    "hybrid": _Known(
        (*_FTRL, "pairs", "net", *_DEEP, "negatives"),
        lambda given: Hybrid(ftrl=_ftrl(given), pairs=given.get("pairs"), **_deep(given)),
    ),
    **{kind.name: _factorised(kind) for kind in (Fm, Ffm)},
    "linear": _Known(_FTRL, lambda given: Squared(_ftrl(given)), "number"),
    "poisson": _Known(_FTRL, lambda given: Poisson(_ftrl(given)), "number"),
    "quantile": _Known(
        (*_FTRL, "level"),
        lambda given: Quantile(_ftrl(given), tau=float(given.get("level", 0.5))),
        "number",
    ),
    "softmax": _Known(
        (*_FTRL, "classes"),
        lambda given: Softmax.of(given.get("classes", 2), _ftrl(given)),  # which the file must have
        "class",
    ),
    "mmoe": _Known(
        (*(name for name in _DEEP if not name.startswith("cross")), "experts"),
        lambda given: Mmoe(**_deep(given), **_tasks(given)),
        "bools",
    ),
    **{kind.name: _alone(kind) for kind in (DcnV2, DeepFm, Dlrm, WideAndDeep)},
}
_SETTINGS = {name for known in KINDS.values() for name in known.settings}


def given(model: SettingsForm) -> Settings:
    """Give the settings of a model that the file has."""
    values = {name: getattr(model, name, None) for name in sorted(_SETTINGS)}
    return {name: value for name, value in values.items() if value is not None}


def made(kind: str, settings: Settings) -> Kind:
    """Make a kind of the settings that it has; others are passed over.

    >>> made("ftrl", {"alpha": 0.1, "batch": 64}).facts["ftrl"]["alpha"]
    0.1
    """
    known = KINDS[kind]
    return known.make({n: value for n, value in settings.items() if n in known.settings})


def check_settings(kind: str, settings: Settings, place: Place, document: Document) -> None:
    """Refuse settings at `place` that the kind does not have."""
    known = KINDS[kind].settings
    for name in settings:
        if name not in known:
            asked = f"asked for the setting {name!r} of a model of the kind {kind!r}"
            found = f"it has {', '.join(map(repr, known))}"
            raise document.refuse((*place, name), asked, found, "remove it", key=True)


def model_of(form: PipelineForm, document: Document) -> Model:
    """Give the declared model.

    Raises
    ------
    PipelineError
        For a setting that the kind does not have.

    """
    model = form.model
    document.require("kind of model", model.kind, KINDS, "model", "kind")
    known = KINDS[model.kind]
    settings = given(model)
    _check_tasks(form, known, document)
    check_settings(model.kind, settings, ("model",), document)
    if "classes" in known.settings and "classes" not in settings:
        asked, found = f"asked for a model of the kind {model.kind!r}", "its classes are not said"
        do = "give them: `classes: 3`, or their names"
        raise document.refuse(("model", "kind"), asked, found, do)
    with document.at("model", "kind"):
        tasks = {"tasks": tuple(form.outcome.label)} if known.task == "bools" else {}
        kind = known.make({**settings, **tasks})
    return Model(
        kind=kind,
        slots=model.slots,
        bias=model.bias,
        buckets=dict(model.buckets),
        tokens=tuple(map(Token, model.tokens)),
        numbers=model.numbers,
        weight=model.weight,
        negatives=float(settings.get("negatives", 1.0)),
        publish_every_ms=model.publish_every,
        keep=model.keep,
        score_from_ms=model.score_from,
        score_every_ms=model.score_every,
        score_by=model.score_by,
        max_delay_ms=model.max_delay,
        gate=_gate(model.gate),
        bad_cases=_cases(model, kind, document),
    )


def _check_tasks(form: PipelineForm, known: _Known, document: Document) -> None:
    """Refuse several labels of a kind that learns one, and one of a kind that learns several."""
    several, place = isinstance(form.outcome.label, dict), ("outcome", "label")
    if several == (known.task == "bools"):
        return
    if several:
        asked = f"asked for the labels of {len(form.outcome.label)} tasks"
        found, do = f"the model's kind {form.model.kind!r} learns one", "give one, or take 'mmoe'"
        raise document.refuse(place, asked, found, do, key=True)
    asked = f"asked for the label {form.outcome.label!r}"
    found = f"the model's kind {form.model.kind!r} learns several tasks"
    do = "name each: `label: {click: …, buy: …}`, or take another kind"
    raise document.refuse(place, asked, found, do)


def _cases(model: ModelForm, kind: Kind, document: Document) -> Worth | None:
    told, place = model.bad_cases, ("model", "bad_cases")
    if told is None:
        return None
    asked = "asked for bad cases"
    if told.loss_above is None and told.confidence_below is None:
        do = "give loss_above or confidence_below"
        raise document.refuse(place, asked, "it is not said which they are", do, key=True)
    if kind.task != "probability":
        found = f"a model of the kind {kind.name!r} predicts no single bool"
        raise document.refuse(place, asked, found, "remove them", key=True)
    with document.at(*place):
        return Worth(told.loss_above, told.confidence_below, told.most_per_day)


def _gate(form: GateForm | None) -> Limits | None:
    if form is None:
        return None
    most = None if form.most_mib is None else form.most_mib << 20
    told = {name: value for name, value in form.model_dump().items() if name != "most_mib"}
    return Limits(**told, most_bytes=most)


def check_model(pipeline: Pipeline, form: PipelineForm, document: Document) -> None:
    """Refuse inputs of the model that are not there or of no such type, and so its label."""
    _check_label(pipeline, form.outcome.label, document)
    _check_tokens(pipeline, document)
    _check_buckets(pipeline, document)
    model = pipeline.model
    if isinstance(model.kind, Fm) and len(model.tokens) + len(model.numbers) < 2:
        asked = f"asked for a model of the kind {model.kind.name!r}"
        do = "add a token or a number, or take 'ftrl'"
        found = "it has one input, and learns of pairs"
        raise document.refuse(("model", "tokens"), asked, found, do)
    for i, name in enumerate(model.numbers):
        _check_number(pipeline, name, document.part(("model", "numbers"), i), document)
    if model.weight is not None:
        _check_number(pipeline, model.weight, ("model", "weight"), document)
    _check_slices(pipeline, document)
    _check_negatives(pipeline, document)


def _check_negatives(pipeline: Pipeline, document: Document) -> None:
    model = pipeline.model
    if pipeline.outcome.negative_after_ms is None:
        return
    others = (
        (model.negatives < 1, "a share of the negatives"),
        (model.weight is not None, "a weight"),
        (model.kind.task != "probability", f"the kind {model.kind.name!r}, which has no negatives"),
    )
    for there, name in others:
        if there:
            asked = "asked for negatives that an outcome takes back"
            found = f"the model has {name}, and what was learned by it could not be taken back"
            place = ("outcome", "negative_after")
            raise document.refuse(place, asked, found, "remove one of the two", key=True)


def _check_slices(pipeline: Pipeline, document: Document) -> None:
    model = pipeline.model
    for i, name in enumerate(model.score_by):
        place = document.part(("model", "score_by"), i)
        document.require("input", name, pipeline.inputs, *place)
        kind = pipeline.inputs[name]
        if kind not in (Type.BOOL, Type.INT64, Type.STRING):
            asked, found = f"asked for scores by {name!r}", f"it is {kind.value}"
            do = "take a bool, an int64 or a string; bucketise() makes one of a number"
            raise document.refuse(place, asked, found, do)
    if model.score_by and model.score_every_ms is None:
        asked = f"asked for scores by {', '.join(map(repr, model.score_by))}"
        found = "they are of windows of event time, and there are none"
        do = "give their length, as `score_every: 1d`"
        raise document.refuse(("model", "score_by"), asked, found, do, key=True)


def _check_label(pipeline: Pipeline, text: object, document: Document) -> None:
    label, kind = pipeline.outcome.label.type, pipeline.model.kind
    if label is kind.label or (kind.task == "number" and label.numeric):
        return
    wants, do = ("bool", "compare it") if kind.task == "probability" else _WANTED[kind.label]
    tasks = {Type.BOOL: ("probability",), Type.STRING: ("class",), Type.FLOAT64: ("number",)}
    fitting = tasks.get(label, ("number", "class"))
    fit = ", ".join(repr(name) for name, known in KINDS.items() if known.task in fitting)
    asked = f"asked for the label {text!r}"
    found = f"it is {label.value}, and the model's kind {kind.name!r} learns {wants}"
    do = f"{do}, or take one of the kinds {fit}"
    if kind.task == "class" and "class" in fitting:
        do = f"give `classes` {'their names' if label is Type.STRING else 'as their number'}"
    raise document.refuse(("outcome", "label"), asked, found, do)


def _check_number(pipeline: Pipeline, name: str, place: Place, document: Document) -> None:
    document.require("input", name, pipeline.inputs, *place)
    kind = pipeline.inputs[name]
    if not kind.numeric:
        asked, found = f"asked for the number {name!r}", f"it is {kind.value}"
        raise document.refuse(place, asked, found, "take a number, or make it a token")


def _check_tokens(pipeline: Pipeline, document: Document) -> None:
    inputs = pipeline.inputs
    seen: set[tuple[str, ...]] = set()
    for i, token in enumerate(pipeline.model.tokens):
        place: Place = ("model", "tokens", i)
        for j, name in enumerate(token.parts):
            part = document.part(place, j)
            document.require("input", name, inputs, *part)
            if inputs[name].item is not None:
                found = f"it is a {inputs[name].value}, and a token is one value"
                do = "leave it out of the tokens: it is served and kept all the same"
                raise document.refuse(part, f"asked for the token {name!r}", found, do)
            if inputs[name] is Type.FLOAT64 and name not in pipeline.model.buckets:
                found = "it is float64 and has no buckets"
                do = f"give its edges under model: buckets: {name}:"
                raise document.refuse(part, f"asked for the token {name!r}", found, do)
        if tuple(sorted(token.parts)) in seen:
            found = "the tokens have it already"
            raise document.refuse(place, f"asked for the token {token}", found, "keep it once")
        seen.add(tuple(sorted(token.parts)))


def _check_buckets(pipeline: Pipeline, document: Document) -> None:
    inputs = pipeline.inputs
    for name in pipeline.model.buckets:
        place = ("model", "buckets", name)
        document.require("input", name, inputs, *place, key=True)
        if not inputs[name].numeric:
            found = f"it is {inputs[name].value}, and only numbers have buckets"
            raise document.refuse(
                place, f"asked for buckets of {name!r}", found, "remove them", key=True
            )
