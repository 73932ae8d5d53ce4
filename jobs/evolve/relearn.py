"""headrace replay --model: a version made again from the topics, and compared bit for bit.

::

    predictions, examples ─► a learner in a folder of its own ─► version N ─► as it was published?

What is compared is what the registry has: the weights, or where these were pruned their sha256, and
all that the manifest says, the verdict of the gate and the checksum of the data among it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace.jobs import assembly, transport
from headrace.jobs.learner import give, polled, reading
from headrace.jobs.models import differing
from headrace.online_learning.learner import Learner
from headrace.online_learning.learner import registry as versions_of
from headrace.online_learning.models.model import Arrays
from headrace.online_learning.provenance import provenance
from headrace.online_learning.registry import Registry
from headrace.online_learning.start import FOLDER
from headrace.online_learning.version import Version
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Relearned", "relearn"]


@dataclass(frozen=True)
class Relearned:
    """A version that was made again.

    Parameters
    ----------
    same
        Whether weights and manifest are as they were, byte for byte.
    arrays
        Of each array that is not: what differs. Empty where the weights were pruned.
    manifest
        What the manifest says otherwise: as it was, as it is now.
    made_by
        The same of the code and the machine, which need not be alike.
    """

    version: int
    same: bool
    arrays: Mapping[str, str]
    manifest: Mapping[str, tuple[Any, Any]]
    made_by: Mapping[str, tuple[Any, Any]]


def relearn(
    pipeline: Pipeline,
    *,
    bootstrap: str,
    versions: Registry,
    number: int,
    tell: Callable[[int, int], object] | None = None,
) -> Relearned:
    """Make a version again, from the first message on.

    Parameters
    ----------
    pipeline
        The declaration.
    bootstrap
        The broker.
    versions
        Those to compare with; a learner may publish to them meanwhile.
    number
        Which one.
    tell
        Is told how many messages were read, of how many.

    Raises
    ------
    CorruptError
        Where nothing is known of such a version.
    EnvironmentProblem
        Where the pipeline learns in another way, or the topics do not reach that far.
    LogGap
        Where the topics do not begin at their first message any more.
    """
    before = versions.manifest(number)
    learning = assembly.learning(pipeline)
    if before.learned_by(learning.encoding, learning.kinds) is None:
        asked = f"asked to make version {number} again"
        found = f"it was learned as {before.model}, the pipeline says {learning.model.facts}"
        do = "give the pipeline file that it was learned with"
        raise EnvironmentProblem(asked, found, do)
    with tempfile.TemporaryDirectory() as folder:
        made_by = provenance(pipeline.digest)
        start = versions.folder.parent / FOLDER
        if start.is_dir():
            shutil.copytree(start, Path(folder) / FOLDER)
        learner = Learner(learning, Path(folder), also={number}, provenance=made_by)
        with closing(learner):
            _learn(learner, pipeline, bootstrap, number, tell)
        again = versions_of(Path(folder))
        if number not in again.numbers():
            asked = f"asked to make version {number} again"
            made = f"what is in the topics makes {learner.status()['versions']} versions"
            raise EnvironmentProblem(asked, made, "look whether a topic was emptied")
        kept = versions.version(number) if number in versions.numbers() else None
        return _compared(before, again.version(number), kept)


def _learn(
    learner: Learner,
    pipeline: Pipeline,
    bootstrap: str,
    number: int,
    tell: Callable[[int, int], object] | None,
) -> None:
    ends = transport.ends(bootstrap, [pipeline.predictions_topic, pipeline.examples_topic])
    with reading(bootstrap, dict.fromkeys(ends, 0)) as reader:
        while True:
            give(learner, pipeline, polled(reader))
            made = learner.advance().versions
            at = reader.positions()
            if tell is not None:
                tell(sum(at.values()), sum(ends.values()))
            if number in made or all(at[place] >= end for place, end in ends.items()):
                break


def _compared(before: Version, now: Version, kept: Version | None) -> Relearned:
    names = ("parent", "through_ms", "offsets", "data", "metrics", "gate", "files")
    one, two = ({name: getattr(each, name) for name in names} for each in (before, now))
    manifest = differing(one, two)
    was, is_ = (each.provenance() if each else {} for each in (kept, now))
    return Relearned(
        version=now.number,
        same=not manifest,
        arrays=_differing(kept.arrays(), now.arrays()) if kept and "files" in manifest else {},
        manifest=manifest,
        made_by=differing(was, is_) if was else {},
    )


def _differing(before: Arrays, now: Arrays) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            found[name] = "it is new" if old is None else "it is gone"
        elif (old.dtype, old.shape) != (new.dtype, new.shape):
            found[name] = f"it was {old.dtype} {old.shape} and is {new.dtype} {new.shape}"
        elif old.tobytes() != new.tobytes():
            differ = int((old != new).sum())
            found[name] = f"{differ:,} of {old.size:,} numbers differ"
            if old.dtype.kind == "f" and differ:
                found[name] += f", by at most {float(np.abs(old - new).max()):.3g}"
    return found
