"""All operators there are, as they say of themselves: what `headrace operators` prints.

Nothing is listed here by hand. Each family is found where it stands: its names, what each is, an
example that runs, what an engine lacks of it, and its table of cases.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.operators.aggregates import AGGREGATES
from headrace.operators.errors import Gap
from headrace.operators.evaluation import METRICS
from headrace.operators.evaluation.baselines import BASELINES
from headrace.operators.functions import FAMILIES
from headrace.operators.outliers import OUTLIERS
from headrace.operators.streams.catalogue import OPERATORS
from headrace.operators.transforms import TRANSFORMS

__all__ = ["ENGINES", "Entry", "catalogue"]

ENGINES = ("in_process", "duckdb", "flink")


@dataclass(frozen=True)
class Entry:
    """One operator.

    Parameters
    ----------
    family, name
        What it is one of, and how it is called.
    about
        What it is, in one sentence.
    example
        One that runs: prompts and answers as in a Python session.
    engines
        Per engine ``yes``, or why it has it not.
    cases
        Its table of cases, in the repository.

    """

    family: str
    name: str
    about: str
    example: str
    engines: Mapping[str, str]
    cases: str


def catalogue() -> list[Entry]:
    """List every operator, family by family, by name.

    >>> found = {(entry.family, entry.name): entry for entry in catalogue()}
    >>> print(found["aggregate", "count"].about)
    Count the rows, or the values of a column that are not null; 0 over an empty window.
    >>> dict(found["aggregate", "count"].engines)
    {'in_process': 'yes', 'duckdb': 'yes', 'flink': 'yes'}
    """
    return [
        *_functions(),
        *_classes("stream operator", OPERATORS, "streams"),
        *_classes("aggregate", AGGREGATES, ""),
        *_classes("transform", TRANSFORMS, "transforms"),
        *_classes("metric", METRICS, "evaluation"),
        *_classes("baseline", BASELINES, "baselines"),
        *_classes("outlier score", OUTLIERS, "outliers"),
    ]


def _functions() -> Iterator[Entry]:
    for family, entries in FAMILIES.items():
        for each in sorted(entries, key=lambda entry: entry.name):
            yield _entry("row function", each.name, each.about, {}, f"functions/{family}")


def _classes(family: str, kinds: Mapping[str, type], folder: str) -> Iterator[Entry]:
    for name, kind in sorted(kinds.items()):
        cases = f"{folder}/{name}" if folder else name
        yield _entry(family, name, _about(kind), getattr(kind, "gaps", {}), cases)


def _about(kind: type) -> str:
    """Give a class's docstring, or that of the class it is made from where it adds nothing."""
    return next(text for each in kind.__mro__ if (text := inspect.cleandoc(each.__doc__ or "")))


def _entry(family: str, name: str, text: str, gaps: Mapping[str, Gap], cases: str) -> Entry:
    engines = {engine: str(gaps[engine]) if engine in gaps else "yes" for engine in ENGINES}
    first = " ".join(text.split(">>>")[0].split("\n\n")[0].split())
    return Entry(
        family, name, first, _example(text.splitlines()), engines, f"tests/cases/{cases}.txt"
    )


def _example(lines: Sequence[str]) -> str:
    """Give the lines from the first prompt to the blank line after the last."""
    found: list[str] = []
    inside = False
    for line in map(str.rstrip, lines):
        inside = (inside or bool(re.match(r"\s*>>>", line))) and bool(line.strip())
        if inside:
            found.append(line.strip())
    return "\n".join(found)
