"""What `model: tune:` means: among which settings of which kinds `headrace tune` searches."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.online_learning.models.batched import Batched
from headrace.online_learning.models.factorised import Fm
from headrace.online_learning.models.model import Kind
from headrace.online_learning.settings import Encoding, Token
from headrace.online_learning.space import Choice, Dimension, Range
from headrace.operators.types import Type
from headrace.pipelines.document import Document, Place
from headrace.pipelines.models import KINDS, Settings, given, made
from headrace.pipelines.pipeline import Pipeline, Tuning
from headrace.pipelines.schema import PipelineForm

__all__ = ["check_kind", "check_tuning", "checked", "tuning_of"]

# Of what a kind has, where the file names nothing: a decade or so about the usual values.
_USUAL: Mapping[str, Dimension] = {
    "alpha": Range(0.005, 0.5, log=True),
    "beta": Range(0.1, 10.0, log=True),
    "l1": Range(1e-4, 3.0, log=True),
    "l2": Range(1e-3, 10.0, log=True),
    "rate": Range(0.005, 0.3, log=True),
    "dense_rate": Range(2e-4, 2e-2, log=True),
}


def tuning_of(form: PipelineForm, document: Document) -> Tuning:
    """Give what is declared, or the usual ranges of the model's kind.

    Raises
    ------
    PipelineError
        For a kind that is none, a setting that no kind of these has, or one that it cannot have.

    """
    told, settings = form.model.tune, given(form.model)
    kinds = (form.model.kind,) if told is None or told.kind is None else told.kind
    if told is not None:
        for i, name in enumerate(kinds if told.kind else ()):
            document.require("kind of model", name, KINDS, *_part(document, "kind", i))
    listed = {} if told is None else told.model_dump(exclude={"kind"}, exclude_none=True)
    space: dict[str, Dimension] = {n: getattr(told, n) for n in listed if n != "net"}
    if told is not None and told.net is not None:
        with document.at("model", "tune", "net"):
            space["net"] = Choice(tuple(told.net))
    if not space:
        known = {name for kind in kinds for name in KINDS[kind].settings}
        space = {name: usual for name, usual in _USUAL.items() if name in known}
    for name in listed:
        _check(name, space[name], kinds, settings, document)
    return Tuning(kinds, settings, space)


def _part(document: Document, name: str, i: int) -> Place:
    return document.part(("model", "tune", name), i)


def _check(
    name: str, dimension: Dimension, kinds: tuple[str, ...], settings: Settings, document: Document
) -> None:
    having = [kind for kind in kinds if name in KINDS[kind].settings]
    if not having:
        asked = f"asked to search the setting {name!r}"
        found = f"a model of the kind {' or '.join(map(repr, kinds))} has it not"
        raise document.refuse(("model", "tune", name), asked, found, "remove it", key=True)
    for kind in having:
        for i, value in enumerate(dimension.ends):
            with document.at(*_part(document, name, i)):
                checked(kind, {**settings, name: value})


def checked(kind: str, settings: Settings) -> Kind:
    """Make the kind, and its net: what a net checks it checks when there is an encoding."""
    one = made(kind, settings)
    if isinstance(one, Batched):
        one.net(Encoding({"a": Type.BOOL}, {}, (Token(("a",)),), slots=2, bias=False))
    return one


def check_tuning(pipeline: Pipeline, document: Document) -> None:
    """Refuse a kind that cannot learn what the pipeline's model learns."""
    tuning = pipeline.tuning
    for i, name in enumerate(tuning.kinds):
        check_kind(made(name, tuning.given), pipeline, document, _part(document, "kind", i))


def _what(kind: Kind) -> str:
    return "several bools" if kind.task == "bools" else f"a {kind.task}"


def check_kind(kind: Kind, pipeline: Pipeline, document: Document, place: Place) -> None:
    """Refuse a kind that cannot learn what the pipeline's model learns."""
    model, asked = pipeline.model, f"asked to try a model of the kind {kind.name!r}"
    if kind.task != model.kind.task:
        found = f"it predicts {_what(kind)}, and the model {_what(model.kind)}"
        raise document.refuse(place, asked, found, "leave it out")
    if isinstance(kind, Fm) and len(model.tokens) + len(model.numbers) < 2:
        found = "there is one input, and it learns of pairs"
        raise document.refuse(place, asked, found, "leave it out, or add an input")
