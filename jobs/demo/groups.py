"""What each group of features adds: the linear model's score with some of the tokens, then more.

::

    columns of the decision ──► + a source that is only looked up ──► … ──► + windows: all of them

Each group is a model of its own, over the same decisions and labels, in the learner's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import pyarrow as pa

from headrace.jobs import assembly
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.prequential import Prequential
from headrace.online_learning.settings import Ftrl
from headrace.operators.computed import columns_of
from headrace.operators.streams.stream import roots
from headrace.pipelines.pipeline import Pipeline

__all__ = ["by_group", "groups"]


def groups(pipeline: Pipeline) -> dict[str, Learning]:
    """Give what the linear model of each group is told; each group has all of the one before.

    1. The tokens of the decision's own columns, and of what is computed of these, under its
       source's name.
    2. Source by source, as ``+ name``, those of views of it: of sources that neither the decision
       nor the outcome nor any view with a window reads.
    3. All, as ``+ windows``.

    A token is in the first group that has all of its parts. A group without tokens and numbers, or
    with no more than the one before, is left out. The rate and the penalties are those of the
    pipeline's model, the defaults where it has no linear part.
    """
    ftrl = getattr(pipeline.model.kind, "ftrl", Ftrl())
    learning = assembly.learning(pipeline).bare(Logistic(ftrl))
    found: dict[str, Learning] = {}
    before = 0
    for name, known in _known(pipeline):
        encoding = assembly.encoding(pipeline, known)
        size = len(encoding.tokens) + len(encoding.numbers)
        if size > before:
            found[name] = replace(learning, encoding=encoding)
        before = size
    return found


def by_group(told: Mapping[str, Learning], parts: Iterable[pa.Table]) -> dict[str, Prequential]:
    """Score each group over decisions with their labels, as `Prequential.add` takes them."""
    found = {name: Prequential(learning) for name, learning in told.items()}
    for part in parts:
        for one in found.values():
            one.add(part)
    return found


def _known(pipeline: Pipeline) -> Iterator[tuple[str, set[str]]]:
    """Name each group's inputs."""
    decision = pipeline.decision
    own = set(decision.source.types)
    yield decision.source.name, _made_of(pipeline, own, set())
    views = pipeline.views.values()
    windowed = (v for v in views if any(each.aggregate.windowed for each in v.features))
    read = (decision.source, pipeline.outcome.source, *(view.source for view in windowed))
    streamed = {source.name for origin in read for source in roots(origin)}
    looked_up: set[str] = set()
    for name in pipeline.sources:
        if name not in streamed:
            looked_up.add(name)
            yield f"+ {name}", _made_of(pipeline, own, looked_up)
    yield "+ windows", set(pipeline.inputs)


def _made_of(pipeline: Pipeline, own: set[str], sources: set[str]) -> set[str]:
    """Name the inputs that columns of the decision and features of `sources` give."""
    given = {
        name
        for name, (view, _) in pipeline.features.items()
        if all(root.name in sources for root in roots(view.source))
    }
    known = own | given
    computed = pipeline.decision.computed.items()
    return known | {name for name, tree in computed if known.issuperset(columns_of(tree))}
