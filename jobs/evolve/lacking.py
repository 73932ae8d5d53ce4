"""headrace process history: what a store lacks of the history of its views, before it opens.

::

    the store's file: versions that it holds ─┐
    views as they are declared now ───────────┴─► new to a file that has begun ─► backfills/

So a pod's store takes over a changed file by itself. A file that is fresh lacks nothing: it begins
with the stream.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from headrace.feature_store.backfill import found
from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.versions import held
from headrace.jobs.evolve.backfill import Done, backfilled
from headrace.jobs.evolve.raw_log import Topics
from headrace.operators.identity import version
from headrace.operators.view import View
from headrace.pipelines.pipeline import Pipeline

__all__ = ["lacking", "made_good"]


def lacking(pipeline: Pipeline, file: Path, folder: Path) -> dict[str, View]:
    """Give the views whose versions neither a store's file has nor the backfills in `folder`.

    Nobody may have the file open.
    """
    if not file.exists():
        return {}
    with closing(Catalogue(file)) as catalogue:
        known = held(catalogue)
    there = known | {*found(folder)}
    return {
        name: view for name, view in pipeline.views.items() if known and version(view) not in there
    }


def made_good(pipeline: Pipeline, bootstrap: str, file: Path, folder: Path) -> list[Done]:
    """Compute the history of what is lacking, from the topics, into `folder`; give what it was.

    Raises
    ------
    EnvironmentProblem
        As `backfilled`.

    """
    views = lacking(pipeline, file, folder)
    return backfilled(pipeline, views, Topics(bootstrap).log, folder) if views else []
