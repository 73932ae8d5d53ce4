"""What the learner is given while it is killed and damaged, and its right answer.

The log is `tests.online_learning.made_up`: ties, nulls, labels that come twice, early and late.
What is learned of it, and every file that is published, is a function of it: so there is one right
answer, that of a learner that took it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headrace.jobs import assembly
from headrace.jobs.learner import LearnerProcess
from headrace.jobs.transport import Writer, create_topics
from headrace.online_learning.learner import Learner
from headrace.online_learning.observer import Note
from headrace.online_learning.version import PROVENANCE
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.online_learning.made_up import Log, log

__all__ = [
    "MODELS",
    "Learned",
    "drained",
    "fed",
    "given",
    "learned",
    "made",
    "noted",
    "published",
    "sent",
]

_TEXT = """\
pipeline: {name}
every: 1s
sources:
  ask:
    columns:
      name: string required
      city: string
      hour: int64
      delay: float64
      wet: bool
  answer: {{columns: {{name: string required, x: int64}}}}
views:
  asked: {{source: ask, key: city, features: {{n: count() over 2s}}}}
decision: {{source: ask, id: name}}
outcome: {{source: answer, id: name, label: x >= 5, within: 20s}}
model:
  {model}
  slots: 128
  bias: true
  buckets: {{delay: [0, 5, 15]}}
  tokens: [city, hour, delay, [city, wet], [hour, delay]]
  publish_every: 5s
  score_every: 10s
  keep: 3
"""
MODELS = {
    "ftrl": "{kind: ftrl, alpha: 0.1, beta: 1.0, l1: 0.05, l2: 0.5}",
    "hybrid": "{kind: hybrid, alpha: 0.1, batch: 64, width: 4, device: cpu, threads: 1}",
    "ranks": "{kind: hybrid, alpha: 0.1, batch: 64, width: 4, threads: 1, ranks: 2}",
}
_DECISIONS_A_SECOND = 8


def made(folder: Path, name: str, model: str) -> Pipeline:
    """Load a pipeline that learns the made-up log with one of `MODELS`."""
    path = folder / f"{name}.yaml"
    settings = MODELS[model].strip("{}").replace(", ", "\n  ")
    path.write_text(_TEXT.format(name=name, model=settings))
    return load(path)


def noted(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Give rows of notes as text, in their order."""
    kept = [{name: row[name] for name in row if name not in ("told", "noted")} for row in rows]
    return tuple(orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode() for row in kept)


def given(seconds: int, seed: int) -> Log:
    """Make a log of so many seconds of event time; a version is published every five."""
    return log(seed, _DECISIONS_A_SECOND * seconds, seconds)


def sent(bootstrap: str, pipeline: Pipeline, source: Log) -> None:
    """Make the topics of a pipeline, and write a log to them."""
    create_topics(bootstrap, assembly.topics(pipeline))
    with Writer(bootstrap) as writer:
        for value in source.predictions:
            writer.send(pipeline.predictions_topic, value, partition=0)
        for value in source.examples:
            writer.send(pipeline.examples_topic, value, partition=0)


def drained(process: LearnerProcess) -> None:
    """Step until there is nothing to do, twice in a row."""
    rested = 0
    while rested < 2:
        rested = 0 if process.step() else rested + 1


@dataclass(frozen=True)
class Learned:
    """The answer: the digest of all state, every published file, and what was noted on the way."""

    digest: str
    files: dict[str, bytes]
    notes: tuple[str, ...] = ()

    def differs(self, right: Learned) -> list[str]:
        """Say what is not as it should be."""
        names = sorted({*self.files, *right.files})
        wrong = [name for name in names if self.files.get(name) != right.files.get(name)]
        wrong = [f"{name} is not as it is undisturbed" for name in wrong]
        if self.digest != right.digest:
            wrong.append("the weights or scores differ")
        if self.notes != right.notes:
            wrong.append(f"{len(self.notes)} notes were told, undisturbed {len(right.notes)}")
        return wrong


def published(folder: Path) -> dict[str, bytes]:
    """Read every file of the versions that the log decides.

    Not the manifests of those that were pruned, of which a replay makes fewer.
    """
    files = [path for name in ("versions", "first") for path in (folder / name).rglob("*")]
    files = [path for path in files if not {".pruned", PROVENANCE} & {*path.parts}]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


def fed(learner: Learner, source: Log, *, upto: float = 1.0, poll: int = 60) -> None:
    """Feed a learner from where it goes on up to a share of the log, `poll` messages at a time."""
    topics = ((learner.predictions, source.predictions), (learner.examples, source.examples))
    at = [learner.offsets[name] for name in ("predictions", "examples")]
    ends = [int(upto * len(messages)) for _, messages in topics]
    while at != ends:
        for i, (take, messages) in enumerate(topics):
            batch = messages[at[i] : min(at[i] + poll, ends[i])]
            at[i] = max(at[i], min(at[i] + poll, ends[i]))
            take(batch, at[i])
        learner.advance()


def learned(pipeline: Pipeline, source: Log, folder: Path) -> Learned:
    """Learn the log undisturbed."""
    notes: list[Note] = []
    learner = Learner(assembly.learning(pipeline), folder, lambda told, _: notes.extend(told))
    fed(learner, source, poll=5_000)
    answer = Learned(learner.digest(), published(folder), noted(note.row for note in notes))
    learner.close()
    return answer
