"""What `model: challengers:` means: which other models learn on the stream, and may lead."""

from __future__ import annotations

import random
from collections.abc import Iterator

from headrace.online_learning.challengers import Challenge
from headrace.online_learning.models.model import Kind
from headrace.online_learning.space import Choice, Dimension
from headrace.pipelines.document import Document
from headrace.pipelines.models import KINDS, Settings, check_settings, given
from headrace.pipelines.pipeline import Pipeline, Tuning
from headrace.pipelines.schema import ChallengersForm, ModelForm, PipelineForm
from headrace.pipelines.tuning import check_kind, checked

__all__ = ["challenge_of", "check_challenge"]

_PLACE = ("model", "challengers")


def challenge_of(form: PipelineForm, document: Document, tuning: Tuning) -> Challenge | None:
    """Give those that are listed, then those that are drawn from the space of `tune`.

    Raises
    ------
    PipelineError
        Where there are none, for a kind that is none, and for a setting that a kind does not have.

    """
    told = form.model.challengers
    if told is None:
        return None
    listed = (_listed(form.model, told, i, document) for i in range(len(told.settings)))
    with document.at(*_PLACE):
        return Challenge((*listed, *_drawn(tuning, told)), told.halve_after)


def _listed(model: ModelForm, told: ChallengersForm, i: int, document: Document) -> Kind:
    """Make one of its own settings, and of the model's where it has none."""
    own, place = told.settings[i], (*_PLACE, "settings", i)
    name = own.kind or model.kind
    document.require("kind of model", name, KINDS, *place, "kind")
    settings = given(own)
    check_settings(name, settings, place, document)
    with document.at(*place):
        return checked(name, {**given(model), **settings})


def _drawn(tuning: Tuning, told: ChallengersForm) -> Iterator[Kind]:
    chance = random.Random(told.seed)  # noqa: S311 - which settings are tried is no secret
    for _ in range(told.drawn):
        name = chance.choice(tuning.kinds)
        known = KINDS[name].settings
        space = {n: each for n, each in tuning.space.items() if n in known}
        settings: Settings = {n: _one(chance, each) for n, each in space.items()}
        yield checked(name, {**tuning.given, **settings})


def _one(chance: random.Random, dimension: Dimension) -> float | int | str:
    """Draw a value; of three digits, so that no machine draws another."""
    if isinstance(dimension, Choice):
        return chance.choice(dimension.values)
    low, high, share = dimension.low, dimension.high, chance.random()
    value = low * (high / low) ** share if dimension.log else low + (high - low) * share
    return round(value) if dimension.whole else dimension.short(value)


def check_challenge(pipeline: Pipeline, document: Document) -> None:
    """Refuse challengers that could not learn what the pipeline's model learns."""
    told = pipeline.challenge
    if told is None:
        return
    for kind in told.kinds:
        check_kind(kind, pipeline, document, _PLACE)
