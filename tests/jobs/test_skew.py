"""Skew: what a server gave against what is recomputed, each kind of difference planted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from headrace.feature_store.history import History
from headrace.jobs import assembly
from headrace.jobs.checks import served as rows_of_store
from headrace.jobs.checks import skew as skews
from headrace.jobs.checks.drift import Period, drift
from headrace.jobs.checks.skew import Case, Skew, predicted, recomputed, served_log, skew
from headrace.operators.errors import HeadraceError, StoreError, UnknownName
from headrace.operators.event import EVER
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import EVERY, pipeline
from tests.jobs.test_verify import LOGS, MEAN, Stream

NAMES = ["n", "mean_x", "kinds", "lasts", "last_x", "page_kinds", "each_hour", "beyond"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr("tests.feature_store.made_up.TEXT", MEAN)
    return pipeline(tmp_path)


@pytest.fixture
def stream(small: Pipeline) -> Iterator[Stream]:
    with closing(Stream(small)) as one:
        yield one


def compared(small: Pipeline, stream: Stream, *, tolerance: float = 0.0) -> dict[str, Skew]:
    declared = assembly.declared(small)
    served = predicted(declared, stream.ask)
    found = skew(declared, served, stream.answer, ask=stream.ask, tolerance=tolerance)
    return {each.feature: each for each in found}


def test_where_nothing_is_wrong_all_are_the_same(
    small: Pipeline, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows in (50_000, 1):
        monkeypatch.setattr(rows_of_store, "_PART_ROWS", rows)
        found = compared(small, stream)
        assert list(found) == NAMES
        assert {(each.compared, each.wrong) for each in found.values()} == {(3, 0)}
        assert found["mean_x"].smape == 0.0
        assert found["lasts"].smape is None  # a list is no number
        assert all(each.worst == [] for each in found.values())


def test_each_kind_of_difference_is_counted(small: Pipeline, stream: Stream) -> None:
    stream.plant("UPDATE predictions SET mean_x = 3.5 WHERE seq = 0")
    stream.plant("UPDATE predictions SET lasts = [2, 1] WHERE seq = 0")
    stream.plant("UPDATE predictions SET last_x = NULL WHERE seq = 0")
    stream.plant("UPDATE predictions SET last_x = 5 WHERE seq = 1")
    found = compared(small, stream)
    counts = {
        name: (each.mismatch, each.missing, each.extra)
        for name, each in found.items()
        if each.wrong
    }
    assert counts == {"mean_x": (1, 0, 0), "lasts": (1, 0, 0), "last_x": (0, 1, 1)}
    tiles = (1, EVERY, EVERY)
    assert found["mean_x"].worst == [Case("d0", EVERY + 5, 3.5, 1.5, *tiles)]
    assert found["lasts"].worst == [Case("d0", EVERY + 5, [2, 1], [1, 2], *tiles)]
    assert found["last_x"].worst == [
        Case("d0", EVERY + 5, None, 9, *tiles),
        Case("d1", 2 * EVERY, 5, None, 0, None, None),
    ]
    stream.plant("UPDATE predictions SET each_hour = 0.5 WHERE seq = 0")
    assert compared(small, stream)["each_hour"].worst == [Case("d0", EVERY + 5, 0.5, 2.0)]
    # |3.5 − 1.5| over the mean of both, of three values.
    assert found["mean_x"].smape == pytest.approx(2 / 2.5 / 3)


def test_the_worst_come_first_and_are_few(small: Pipeline, stream: Stream) -> None:
    declared = assembly.declared(small)
    for seq, n in enumerate((3, 30, 6)):
        stream.plant(f"UPDATE predictions SET n = {n} WHERE seq = {seq}")
    served = predicted(declared, stream.ask)
    found = skew(declared, served, stream.answer, ask=stream.ask, examples=2)[0]
    assert (found.feature, found.mismatch) == ("n", 3)
    assert [case.id for case in found.worst] == ["d1", "d2"]


def test_a_feature_counts_from_where_it_is_as_it_is_now(small: Pipeline, stream: Stream) -> None:
    """What predictions before say of it was of another definition."""
    stream.plant("UPDATE predictions SET n = 77 WHERE seq = 0")
    stream.plant("UPDATE versions SET since = 1 WHERE name = 'n'")
    found = compared(small, stream)
    assert (found["n"].compared, found["n"].wrong, found["kinds"].compared) == (2, 0, 3)
    stream.plant("UPDATE versions SET since = 3 WHERE name = 'n'")
    assert "n" not in compared(small, stream)


def test_a_tolerance_is_relative(small: Pipeline, stream: Stream) -> None:
    stream.plant("UPDATE predictions SET mean_x = 1.5000001 WHERE seq = 0")
    assert compared(small, stream)["mean_x"].wrong == 1
    assert compared(small, stream, tolerance=1e-6)["mean_x"].wrong == 0
    assert compared(small, stream, tolerance=1e-8)["mean_x"].wrong == 1


def test_two_whole_numbers_that_one_float_stands_for_are_not_the_same() -> None:
    one, other = (pa.chunked_array([[n, n, None]], pa.int64()) for n in (2**53, 2**53 + 1))
    both = one.is_valid().to_numpy()
    assert skews._apart(one, other, both)[0] > 0.0
    assert skews._apart(one, one, both).tolist() == [0.0, 0.0, 0.0]


def test_what_is_no_finite_number_is_as_far_as_can_be() -> None:
    """Another server may have given it; compared with anything NaN is neither more nor less."""
    served = pa.chunked_array([[float("nan"), float("inf"), float("-inf"), 1.0]])
    recomputed = pa.chunked_array([[1.0, 1.0, 1.0, 1.0]])
    both = served.is_valid().to_numpy()
    assert skews._apart(served, recomputed, both).tolist() == [2.0, 2.0, 2.0, 0.0]


def test_nan_from_another_server_is_a_mismatch(
    small: Pipeline, stream: Stream, tmp_path: Path
) -> None:
    declared = assembly.declared(small)
    path = outside(tmp_path / "served.parquet", n=pa.array([1.0, 1.0]))
    table = pq.read_table(path).set_column(2, "mean_x", pa.array([1.5, float("nan")]))
    pq.write_table(table, path)
    found = skew(declared, served_log(declared, path), stream.answer, ask=stream.ask)
    mean = next(each for each in found if each.feature == "mean_x")
    assert (mean.compared, mean.mismatch, mean.smape) == (2, 1, 1.0)


def test_where_nothing_was_served_nothing_is_said(small: Pipeline, stream: Stream) -> None:
    declared = assembly.declared(small)
    with pytest.raises(StoreError, match="none was served; wait for the first prediction"):
        skew(declared, (), stream.answer, ask=stream.ask)


def test_a_late_row_counts_as_corrected(small: Pipeline, stream: Stream) -> None:
    """The log has one, of user u, x = 100, in the first tile."""
    declared = assembly.declared(small)
    for known, wrong in ((None, 0), (EVER, 2)):
        with History(declared, small.sources, as_known_at=known) as history:
            for name, log in LOGS.items():
                history.load(name, log)
            served = predicted(declared, stream.ask)
            found = skew(declared, served, recomputed(history, declared), ask=stream.ask)
        assert {each.feature: each for each in found}["mean_x"].wrong == wrong


def outside(path: Path, **more: pa.Array) -> Path:
    """Write what another server gave."""
    at = pa.array([EVERY + 5, 2 * EVERY], pa.timestamp("ms", "UTC"))
    rows = {"at": at, "user": ["u", "u"], "mean_x": pa.array([1.5, 9.0], pa.float32()), **more}
    table = pa.table(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("name", ["served.parquet", "served.arrow"])
def test_another_servers_log_is_compared(
    small: Pipeline, stream: Stream, tmp_path: Path, name: str
) -> None:
    declared = assembly.declared(small)
    served = served_log(declared, outside(tmp_path / name, host=pa.array(["a", "b"])))
    found = skew(declared, served, stream.answer, ask=stream.ask)
    assert [(each.feature, each.compared, each.mismatch) for each in found] == [("mean_x", 2, 1)]
    assert found[0].worst[0].id == "1"
    named = outside(tmp_path / name, id=pa.array([7, 8]))
    served = served_log(declared, named)
    assert skew(declared, served, stream.answer, ask=stream.ask)[0].worst[0].id == "8"


def test_a_log_that_cannot_be_compared_is_refused(small: Pipeline, tmp_path: Path) -> None:
    declared = assembly.declared(small)
    path = outside(tmp_path / "served.parquet", last_x=pa.array([1, 2]))
    with pytest.raises(UnknownName, match="the column 'page'"):  # the key of its view
        list(served_log(declared, path))
    pq.write_table(pa.table({"at": [1], "user": ["u"]}), path)
    with pytest.raises(StoreError, match=r"none of its columns \(at, user\) is a feature"):
        list(served_log(declared, path))
    pq.write_table(pa.table({"at": [1], "user": [b"\xff"], "n": [1]}), path)
    with pytest.raises(StoreError, match="column user is binary, and string is wanted"):
        list(served_log(declared, path))
    pq.write_table(pa.table({"at": ["noon"], "user": ["u"], "n": [1]}), path)
    with pytest.raises(StoreError, match="column at is string, and int64 is wanted"):
        list(served_log(declared, path))
    path.write_bytes(b"no file of either kind")
    for wrong in (path, tmp_path / "nothing.parquet", path.rename(tmp_path / "served.arrow")):
        with pytest.raises(StoreError, match="give a Parquet or an Arrow file"):
            list(served_log(declared, wrong))


def test_drift_is_between_periods(small: Pipeline, stream: Stream) -> None:
    declared = assembly.declared(small)
    early, late = Period(0, 2 * EVERY), Period(2 * EVERY, 3 * EVERY)
    same = drift(declared, stream.ask, baseline=late, period=late)
    assert [each.feature for each in same] == NAMES
    assert {each.psi for each in same} == {0.0}
    found = drift(declared, stream.ask, baseline=early, period=late, features=["n"])
    assert [(each.baseline_rows, each.rows, each.said) for each in found] == [(1, 2, "drifted")]
    assert found[0].bins == [("≤ 2", 1, 1), ("> 2", 0, 1)]


def test_drift_of_nothing_is_refused(small: Pipeline, stream: Stream) -> None:
    declared = assembly.declared(small)
    whole, none = Period(0, EVER), Period(7 * EVERY, 8 * EVERY)
    with pytest.raises(UnknownName, match="the feature 'm'"):
        drift(declared, stream.ask, baseline=whole, period=whole, features=["m"])
    with pytest.raises(HeadraceError, match="none of them has a prediction"):
        drift(declared, stream.ask, baseline=whole, period=none)
