"""What a pipeline's `drift` says of the learner: what it watches for change, and what it does."""

from __future__ import annotations

from headrace.online_learning.watching import Action, Watching
from headrace.pipelines.document import Document, Place
from headrace.pipelines.pipeline import Pipeline
from headrace.pipelines.schema import PipelineForm

__all__ = ["check_watching", "watching_of"]


def watching_of(form: PipelineForm, document: Document) -> Watching | None:
    """Give what is watched.

    Raises
    ------
    PipelineError
        Where the section declares nothing, or a reset when the loss rises.

    """
    drift = form.drift
    if drift is None:
        return None
    if drift.loss is None and not drift.fields:
        if drift.baseline is None:
            asked, found = "asked for drift", "it is not said of what"
            raise document.refuse(
                ("drift",), asked, found, "give baseline, loss or fields", key=True
            )
        return None
    with document.at("drift", "loss"):
        return Watching(drift.delta, drift.loss, drift.fields)


def check_watching(pipeline: Pipeline, document: Document) -> None:
    """Refuse fields that are no tokens of their own, and actions that the model cannot take."""
    watching, kind = pipeline.watching, pipeline.model.kind
    if watching is None:
        return
    tokens = [token.parts[0] for token in pipeline.model.tokens if len(token.parts) == 1]
    for name, actions in watching.fields.items():
        place: Place = ("drift", "fields", name)
        document.require("token", name, tokens, *place, key=True)
        _check(actions, pipeline, document, place)
    if watching.loss is not None:
        _check(watching.loss, pipeline, document, ("drift", "loss"))
        if kind.task == "number":
            asked, found = "asked to watch the loss", f"{kind.name!r} gives no probability"
            raise document.refuse(("drift", "loss"), asked, found, "watch fields", key=True)


def _check(
    actions: tuple[Action, ...], pipeline: Pipeline, document: Document, place: Place
) -> None:
    kinds = {action.kind for action in actions}
    for kind in pipeline.kinds if "reset" in kinds else ():
        if kind.refreshes:
            continue
        asked = "asked to reset a field"
        found = f"a model of the kind {kind.name!r} has no weights of a field's own"
        raise document.refuse(place, asked, found, "take another action, or 'hybrid'")
    if "raise_rate" in kinds and pipeline.outcome.negative_after_ms is not None:
        asked, found = "asked to raise the rate", "negatives before their time are taken back"
        do = "take another action, or remove outcome: negative_after"
        raise document.refuse(place, asked, f"{found}, at the rate they had", do)
