"""Late rows, once they were known: the oracle's meaning, its laws, and DuckDB beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.operators.aggregates.count import Count
from headrace.operators.aggregates.last import Last
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Message
from headrace.operators.event import EVER
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from tests import logs
from tests.engines import Row, asked_duckdb, by_in_process, told
from tests.logs import EVERY, SOURCE, STAMP
from tests.test_differential import FEW, good_rows, messages, same_rows

CLICKS = Source("s", "s", (Column("k", Type.STRING), Column("x", Type.INT64)), lateness_ms=10)
COUNTS = View(
    "counts",
    CLICKS,
    ("k",),
    100,
    (Feature("n", Count(), 1_000), Feature("last", Last("x"), 1_000)),
)
# Two rows of one partition are late: of 100 known at 3, of 250 known at 6. The stamp of the last
# message is before that of the one before it.
STAMPED = [(0, 300, 1), (0, 305, 2), (0, 100, 3), (1, 200, 4), (0, 400, 6), (0, 250, 5)]
KNOWN: dict[int | None, tuple[int, int | None]] = {
    None: (4, 4),
    EVER: (6, 4),
    7: (6, 4),
    6: (4, 1),  # the row of 400 stands before that of 250, so both are known at 6
    4: (3, 1),
    3: (2, 1),
    2: (1, 0),
    1: (0, None),
}
"""Known before this: how many rows count at 500, and which is the newest."""


def _clicks() -> list[Message]:
    said = [
        (partition, logs.payload(str(at), {"k": '"a"', "x": str(place)}))
        for place, (partition, at, _) in enumerate(STAMPED)
    ]
    return logs.placed(said, lambda place: STAMPED[place][2])


def test_what_counts_is_what_was_known() -> None:
    for as_known_at, wanted in KNOWN.items():
        with told(CLICKS, [COUNTS], _clicks(), as_known_at=as_known_at) as history:
            found = asked_duckdb(history, COUNTS, [(("a",), 500)])
        truth = by_in_process(COUNTS, _clicks(), [(("a",), 500)], as_known_at=as_known_at)
        assert (found, truth) == ([wanted], [wanted]), as_known_at


SEEN = View(
    "seen",
    SOURCE,
    ("k",),
    EVERY,
    (Feature("rows", Count()), Feature("newest", Last("name", Type.STRING), 3 * EVERY)),
)
"""A view of the columns that are hard to read: what counts decides, not which aggregate."""


def _answers(log: Sequence[Message], as_known_at: int | None) -> list[Row]:
    """Ask for each key at some times: both engines must take the same rows, and say the same."""
    truth = in_process.events(SOURCE, log, as_known_at=as_known_at)
    keys = sorted({(event.values["k"],) for event in truth.events}, key=repr)
    asks = [(key, at) for key in keys for at in (5_000, 9_999, 10_000, 15_000, 30_000)]
    with told(SOURCE, [SEEN], log, as_known_at=as_known_at) as history:
        same_rows(history, truth)
        found = asked_duckdb(history, SEEN, asks)
    assert repr(found) == repr(by_in_process(SEEN, log, asks, as_known_at=as_known_at))
    return found


stamps = st.lists(st.integers(STAMP - 20, STAMP + 20), min_size=40, max_size=40)
rows = st.lists(st.tuples(st.integers(0, 1), st.one_of(good_rows, messages)), max_size=40)


@FEW
@given(rows, stamps, st.integers(STAMP - 25, STAMP + 25))
def test_history_is_the_oracle_at_every_time(
    said: list[tuple[int, bytes | None]], stamped: list[int], as_known_at: int
) -> None:
    log = logs.placed(said, stamped.__getitem__)
    _answers(log, as_known_at)


@FEW
@given(rows)
def test_as_corrected_is_a_log_without_a_bound(said: list[tuple[int, bytes | None]]) -> None:
    """And as known at T is as corrected, of a prefix of each partition."""
    log = logs.placed(said, lambda place: STAMP + place)
    patient = replace(SOURCE, lateness_ms=10**15)
    for cut in (0, len(log) // 2, len(log)):
        known = in_process.events(SOURCE, log, as_known_at=STAMP + cut)
        corrected = in_process.events(SOURCE, log[:cut], as_known_at=EVER)
        assert known == corrected == in_process.events(patient, log[:cut])


def test_late_rows_do_make_a_difference() -> None:
    """The random logs have rows that count only as corrected: the comparison is of something."""
    base = {"name": '"id"', "k": '"a"', "i": "5"}
    said = [(0, logs.payload(at, base)) for at in ("9000", "1000", "2000")]
    log = logs.placed(said)
    decided, corrected = _answers(log, None), _answers(log, EVER)
    assert decided != corrected


def test_a_late_decision_is_one_as_corrected() -> None:
    for as_known_at, count in ((None, 4), (EVER, 6)):
        with told(CLICKS, [COUNTS], _clicks(), as_known_at=as_known_at) as history:
            history.decisions()
            assert history.features("counts").num_rows == count
