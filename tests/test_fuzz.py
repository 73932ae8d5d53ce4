"""The fuzz of logs: some here, the rest in `make fuzz`; and what it does where two differ."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.operators.engines import in_process
from tests import fuzz_logs
from tests.fuzz_logs import Told, by_duckdb_and_index, different, run, shrunk, wrong_of
from tests.random_logs import EACH, NUMBER, SOURCE, Ask, Log, endings, made, messages

SEED = 20_130_103


def test_random_logs_are_the_same() -> None:
    assert run(240, SEED) == (240, [])


def test_logs_have_events_that_meet_dead_letters_late_rows_and_answers() -> None:
    batch = made(120, SEED)
    said = [fuzz_logs.in_process_of(log, number) for number, log in enumerate(batch)]
    refused = "".join(row for one in said for row in one["refused"])
    for reason in ("late", "not a JSON object", "not UTF-8", "column x: not float64"):
        assert f"'{reason}'" in refused
    events, tiles = (sum(len(one[what]) for one in said) for what in ("events", "tiles of by_key"))
    assert 0 < tiles < events * 0.8
    answers = [row for one in said for row in one["answers of by_pair"]]
    assert len(answers) > 100
    assert len({row.split(": ")[1] for row in answers}) > 50


def test_a_log_ends_each_partition_and_has_its_number_in_its_rows() -> None:
    log = Log(((1, b'{"at": 5, "name": "a"}'), (1, b'{"at":12000}'), (0, None)), ())
    sent = [*messages(log, 3), *endings(log, 3)]
    assert sorted((partition, offset) for partition, offset, _, _ in sent) == [
        *((3 * EACH, offset) for offset in range(3)),
        *((3 * EACH + 1, offset) for offset in range(4)),
    ]
    found = in_process.events(SOURCE, sent)
    assert [event.values[NUMBER] for event in found.events] == [3, None, 3, None, 3, None]


def test_what_differs_is_said_and_made_small() -> None:
    """A DuckDB that loses every row whose g is 7."""

    def without(log: Log) -> Log:
        kept = tuple((part, said) for part, said in log.said if b'"g": 7' not in (said or b""))
        return Log(kept, log.asks)

    def compare(batch: Sequence[Log]) -> dict[int, list[str]]:
        ours = (fuzz_logs.in_process_of(log, number) for number, log in enumerate(batch))
        return wrong_of(ours, by_duckdb_and_index([without(log) for log in batch]))

    rows = [b'{"at": %d, "name": "a", "k": "b", "g": %d, "i": 1}' % (n, n) for n in range(12)]
    log = Log(tuple((n % 2, row) for n, row in enumerate(rows)), (Ask("by_key", ("b",), 9_000),))
    wrong = compare([log])
    assert [*wrong] == [0]
    assert any(line.startswith("tiles of by_number: - ") for line in wrong[0])
    small = shrunk(log, wrong[0], compare)
    assert small.log == Log(((1, b'{"at": 7, "g": 7}'),), ())
    assert str(small).count("\n") == min(len(small.wrong), 6)


def test_an_error_of_duckdb_is_a_difference_of_its_log() -> None:
    large = b'{"at": 1, "name": "a", "k": "a", "i": 9223372036854775807}'
    fine, beyond = Log(((0, large),), ()), Log(((0, large), (1, large)), ())
    assert [*different([fine, fine, beyond, fine])] == [2]


def test_a_row_that_is_there_twice_differs() -> None:
    once, twice = Told(dead=["a", "b"]), Told(dead=["a", "b", "b"])
    assert wrong_of([once, once], [once, twice]) == {1: ["dead: + b"]}
    assert wrong_of([twice], [once]) == {0: ["dead: - b"]}
