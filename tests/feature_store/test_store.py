"""The store keeps its order and its promise: what a kill leaves is what was committed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from headrace.feature_store.store import Store
from headrace.jobs import assembly
from headrace.jobs.machine.waiting import wait_until
from headrace.pipelines.load import load
from tests.feature_store.made_up import EVERY, TEXT, clicks, decisions, declared, examples, pages

Messages = list[tuple[str, int, bytes]]
"""A topic, a partition of it, a message: as one poll after another brings them."""


def script(steps: int, seed: int = 7) -> Messages:
    """Make a log: tiles, decisions and labels of `steps` panes, some of them sent again."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    log: Messages = []
    asked = 0
    for step in range(1, steps + 1):
        end = step * EVERY
        users = {f"u{dice.randrange(5)}": dice.randrange(-9, 9) for _ in range(3)}
        log.append(("clicks", 0, clicks(end, **users)))
        log += [("pages", shard, pages(end, **{f"p{shard}": step})) for shard in (0, 1)]
        ahead = end + EVERY  # they wait for the next panes of the views
        rows = [(ahead + dice.randrange(EVERY), i % 2, asked + i) for i in range(3)]
        panes = decisions(ahead + EVERY, *((*row, f"d{row[2]}") for row in rows), user="u1")
        log.append(("decisions", 0, panes))
        log.append(("examples", 0, examples(end, (asked, f"d{asked}", step % 2 == 0))))
        asked += 3
        if dice.random() < 0.2:
            log += log[-5:]
    return log


def feed(store: Store, log: Messages, places: dict[tuple[str, int], int], start: int) -> None:
    """Take in the log from `start` on as the store process does: a poll, a transaction."""
    place = start
    while place < len(log):
        part = log[place : place + 4]
        with store.catalogue.transaction():
            moved: dict[tuple[str, int], tuple[int, int]] = {}
            for topic, partition, value in part:
                at = (topic, partition)
                was, following = moved.get(at, (places[at], places[at]))
                moved[at] = (was, following + 1)
                if topic == "decisions":
                    store.add_decisions([value])
                elif topic == "examples":
                    store.add_examples([value])
                else:
                    store.add_tiles(topic, partition, [value])
            ready = store.take_ready()
            ready = ready.append_column("p", pa.array([0.5] * ready.num_rows, pa.float64()))
            version = pa.array([0] * ready.num_rows, pa.int64())
            store.add_predictions(ready.append_column("version", version))
            store.catalogue.advance(moved)
        places.update({at: following for at, (_, following) in moved.items()})
        place += len(part)


def start_of(store: Store, log: Messages) -> tuple[dict[tuple[str, int], int], int]:
    """Say where a store goes on: its offsets, and the place in the log where they stand."""
    all_places = sorted({(topic, partition) for topic, partition, _ in log})
    places = store.offsets(all_places)
    return places, sum(places.values())


def run(path: Path, folder: Path, log: Messages, stops: Sequence[int] = ()) -> dict[str, object]:
    """Feed the whole log, dropping the store at each of `stops`; say what there is at the end."""
    for stop in [*stops, len(log)]:
        store = Store(path, declared(folder))
        places, start = start_of(store, log)
        feed(store, log[:stop], places, start)
        if stop < len(log):
            store.catalogue.close()
    return facts(store)


def facts(store: Store) -> dict[str, object]:
    """Say all that a store knows, from the file and from its memory."""
    tables = ("views.clicks", "views.pages", "decisions", "predictions", "examples")
    found: dict[str, object] = {
        name: sorted(map(str, store.catalogue.read(f"SELECT * FROM {name}").to_pylist()))
        for name in (*tables, "panes", "offsets")
    }
    found["status"] = store.status()
    found["waiting"] = store.take_ready(1 << 62).to_pylist() + store._waiting.to_pylist()
    asked = [{"at": at, "user": f"u{u}", "page": f"p{u % 2}"} for at in _times() for u in range(6)]
    schema = pa.schema([("at", pa.int64()), ("user", pa.string()), ("page", pa.string())])
    found["index"] = store.with_features(pa.Table.from_pylist(asked, schema)).to_pylist()
    store.catalogue.close()
    return found


def _times() -> list[int]:
    """Give times around each step of the log, and then until all has left the longest window."""
    return [*range(0, 16 * EVERY, EVERY // 2), *range(16 * EVERY, 80 * EVERY, 4 * EVERY)]


def test_a_store_dropped_anywhere_goes_on(tmp_path: Path) -> None:
    log = script(12)
    truth = run(tmp_path / "undisturbed.duckdb", tmp_path, log)
    assert len(truth["predictions"]) == 33  # type: ignore[arg-type]  # a table; the last pane waits
    dice = random.Random(11)  # noqa: S311 - no secret
    for attempt in range(4):
        stops = sorted(dice.sample(range(1, len(log)), 3))
        assert run(tmp_path / f"{attempt}.duckdb", tmp_path, log, stops) == truth, stops
    every_step = range(4, len(log), 4)
    assert run(tmp_path / "always.duckdb", tmp_path, log, every_step) == truth


CHILD = """
import pathlib, sys
from headrace.feature_store.store import Store
from tests.feature_store import test_store as t
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
log = t.script(count)
store = Store(folder / "killed.duckdb", t.declared(folder))
places, start = t.start_of(store, log)
print(start, flush=True)
t.feed(store, log, places, start)
print("end", flush=True)
"""


def test_a_killed_process_loses_and_doubles_nothing(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """SIGKILL in the middle of many commits, again and again, then the rest."""
    steps = 60
    log = script(steps)
    truth = run(tmp_path / "undisturbed.duckdb", tmp_path, log)
    path = tmp_path / "killed.duckdb"
    wal = path.with_suffix(".duckdb.wal")
    kills = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(steps)],
            cwd=pytestconfig.rootpath,
            env={"PYTHONPATH": f"{pytestconfig.rootpath}", "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            before = _size(wal)
            wait_until(_beyond(wal, before + 20_000, child), 20, "some commits")
            child.send_signal(signal.SIGKILL)
            kills += "end" not in child.stdout.read()
    assert kills == 3
    store = Store(path, declared(tmp_path))
    places, start = start_of(store, log)
    assert 0 < start < len(log)
    feed(store, log, places, start)
    assert facts(store) == truth


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _beyond(path: Path, size: int, child: subprocess.Popen[str]) -> Callable[[], bool]:
    return lambda: _size(path) > size or child.poll() is not None


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.duckdb", declared(tmp_path))


def test_a_decision_waits_for_every_view_to_its_bound(store: Store) -> None:
    """A decision at t needs each view complete to b = ⌊t / every⌋ · every, and no further."""
    rows = ((EVERY - 1, 0, 0, "a"), (EVERY, 0, 1, "b"), (2 * EVERY - 1, 0, 2, "c"))
    with store.catalogue.transaction():
        store.add_decisions([decisions(2 * EVERY, *rows, (2 * EVERY, 0, 3, "d"))])
        assert store.take_ready()["id"].to_pylist() == ["a"]  # b = 0: nothing is before it
        store.add_tiles("clicks", 0, [clicks(EVERY, u=1)])
        store.add_tiles("pages", 0, [pages(9 * EVERY)])
        assert store.take_ready().num_rows == 0
        store.add_tiles("pages", 1, [pages(EVERY - 1)])
        assert store.take_ready().num_rows == 0  # complete to one ms before b
        store.add_tiles("pages", 1, [pages(EVERY, a=3)])
        ready = store.take_ready()
    assert ready["id"].to_pylist() == ["b", "c"]
    assert (ready["n"].to_pylist(), ready["last_x"].to_pylist()) == ([1, 1], [3, 3])
    assert (store.waiting, store.decided) == (1, 2 * EVERY)
    store.catalogue.close()


def test_decisions_keep_the_order_of_time_partition_offset(store: Store) -> None:
    early = ((30, 1, 4, "e"), (10, 1, 3, "b"), (30, 0, 9, "c"), (10, 0, 8, "a"), (30, 1, 1, "d"))
    late = ((EVERY + 5, 1, 5, "g"), (EVERY, 1, 6, "f"))
    with store.catalogue.transaction():
        store.add_decisions([decisions(EVERY, *early), decisions(2 * EVERY, *late)])
        store.add_tiles("clicks", 0, [clicks(2 * EVERY)])
        for shard in (0, 1):
            store.add_tiles("pages", shard, [pages(2 * EVERY)])
        ready = store.take_ready()
    assert "".join(ready["id"].to_pylist()) == "abcdefg"
    assert ready["seq"].to_pylist() == list(range(7))
    store.catalogue.close()


def test_a_bound_holds_later_decisions_back(store: Store) -> None:
    with store.catalogue.transaction():
        rows = ((1, 0, 0, "a"), (2, 0, 1, "b"), (2, 0, 2, "c"), (3, 0, 3, "d"))
        store.add_decisions([decisions(EVERY, *rows)])
        assert store.take_ready(0).num_rows == 0
        assert store.take_ready(2)["id"].to_pylist() == ["a", "b", "c"]
        assert (store.waiting, store.decided, store.first_decision) == (1, 3, 1)
        assert store.take_ready()["id"].to_pylist() == ["d"]
    assert store.decided == EVERY
    store.catalogue.close()


def test_features_as_of_a_time_are_the_index(tmp_path: Path) -> None:
    """``features.<view>(t)`` has each key that has a tile by b, with what the index says of it."""
    store = Store(tmp_path / "s.duckdb", declared(tmp_path))
    log = script(12)
    feed(store, log, start_of(store, log)[0], 0)
    compared = 0
    for at in _times():
        for name, keys in (("clicks", ("user",)), ("pages", ("page",))):
            found = store.catalogue.select(f"SELECT * FROM features.{name}({at})")
            names = [feature.name for feature in store.declared.views[name].features]
            assert found.column_names == [*keys, "at", *names]
            known = f'SELECT DISTINCT {keys[0]} FROM views.{name} WHERE "end" <= {at} ORDER BY ALL'
            assert found[keys[0]].to_pylist() == store.catalogue.read(known)[keys[0]].to_pylist()
            rows = found.select([*keys, "at"])
            for other in {"user", "page"} - set(keys):
                rows = rows.append_column(other, pa.nulls(found.num_rows, pa.string()))
            asked = store.with_features(rows)
            assert found.select(names).to_pylist() == asked.select(names).to_pylist()
            compared += found.num_rows
    store.catalogue.close()
    assert compared > 300


def test_sums_of_squares_and_weights_survive_the_file(tmp_path: Path) -> None:
    """Squares of 126 bits come as texts in panes, and are the same in file, SQL and index."""
    path = tmp_path / "wide.yaml"
    features = "{v: var(x) over 2m, s: std(x), d: 'decayed_mean(x, 2m)', r: 'ratio(x, x)'}"
    path.write_text(
        TEXT.replace("{n: count() over 2m, total: sum(x) over 1h}", features + "\n")
        .replace("n: [1, 2]", "v: [1, 2]")
        .replace("hour, n]", "hour, v]")
    )
    told = assembly.declared(load(path))
    assert [partial.name for partial in told.views["clicks"].partials] == [
        "count_x",
        "squares_x",
        "sum_x",
    ]
    numbers = {1: [2**62, 5], 2: [-(2**62), 2**62 - 1], 4: [7]}
    messages = [
        orjson.dumps(
            {
                "end": step * EVERY,
                "rows": len(values),
                "unkeyed": 0,
                "tiles": [
                    {
                        "k0": "u",
                        "p0": len(values),
                        "p1": str(sum(value * value for value in values)),
                        "p2": sum(values),
                    }
                ],
            }
        )
        for step, values in numbers.items()
    ]
    store = Store(tmp_path / "store.duckdb", told)
    with store.catalogue.transaction():
        store.add_tiles("clicks", 0, messages)
    store.catalogue.close()
    store = Store(tmp_path / "store.duckdb", told)
    kept = store.catalogue.select('SELECT squares_x FROM views.clicks ORDER BY "end"')
    squares = [sum(value * value for value in values) for values in numbers.values()]
    assert [int(each) for each in kept["squares_x"].to_pylist()] == squares
    for at in range(EVERY, 6 * EVERY, EVERY // 2):
        found = store.catalogue.select(f"SELECT v, s, d, r FROM features.clicks({at})").to_pylist()
        rows = pa.table({"at": [at], "user": ["u"], "page": ["a"]})
        mine = store.with_features(rows).select(["v", "s", "d", "r"]).to_pylist()
        assert repr(found) == repr(mine)
        low = at // EVERY - 2
        values = [x for step, many in numbers.items() if low < step <= low + 2 for x in many]
        exact = Fraction(sum(x * x for x in values), len(values) or 1)
        exact -= Fraction(sum(values), len(values) or 1) ** 2
        value = mine[0]["v"]
        assert (value is None) == (not values)
        assert value is None or abs(Fraction(value) - exact) <= exact / 2**50
