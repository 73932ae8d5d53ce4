"""Time: parts of a moment in UTC or in a named zone; a moment is int64 ms since the epoch.

A moment beyond the years 1 to 9999, or in a named zone beyond 1970 to 2099, is a dead letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from headrace.operators.functions.function import (
    Constant,
    Entry,
    Function,
    made,
    null_in_null_out,
)
from headrace.operators.functions.zone import DAY_MS, ZONE_END_MS, Zone, floor_mod
from headrace.operators.types import Type

__all__ = ["TIME", "duration_ms"]

_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")

Part = Callable[[str, str], str]
"""Prints a part of a local time: engine and time in, text out."""


def duration_ms(constant: Constant) -> int:
    """Read a duration like ``15m``; a ValueError where it is none."""
    match = _DURATION.fullmatch(constant) if isinstance(constant, str) else None
    if match is None:
        message = "a duration is a whole number and a unit (ms, s, m, h or d), like '15m'"
        raise ValueError(message)
    return int(match[1]) * _UNITS[match[2]]


def _day_start(engine: str, local: str) -> str:
    return f"({local} - {floor_mod(local, DAY_MS, engine)})"


def _calendar(part: str) -> Part:
    """Print a part of the date; Flink's EXTRACT is wrong before 1970 but at midnight."""

    def printed(engine: str, local: str) -> str:
        day = _day_start(engine, local)
        if engine == "flink":
            return f"EXTRACT({part} FROM TO_TIMESTAMP_LTZ({day}, 3))"
        return f"CAST(EXTRACT({part} FROM make_timestamp({day} * 1000)) AS BIGINT)"

    return printed


def _clock(unit_ms: int, count: int) -> Part:
    def printed(engine: str, local: str) -> str:
        sign = "/" if engine == "flink" else "//"
        return f"({floor_mod(local, unit_ms * count, engine)} {sign} CAST({unit_ms} AS BIGINT))"

    return printed


def _weekday(engine: str, local: str) -> str:
    # The epoch's day was a Thursday.
    sign = "/" if engine == "flink" else "//"
    shifted = f"({local} + {3 * DAY_MS})"
    return f"({floor_mod(shifted, 7 * DAY_MS, engine)} {sign} CAST({DAY_MS} AS BIGINT))"


def _moment(local: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=local)


def _zone_of(constants: Sequence[Constant]) -> Zone | None:
    if not constants:
        return None
    name = constants[0]
    if not isinstance(name, str):
        message = "the zone is a name, written out, like 'America/New_York'"
        raise ValueError(message)
    return None if name == "UTC" else Zone.named(name)


def _within(zone: Zone | None) -> str:
    first, end = (_FIRST_MS, _LAST_MS + 1) if zone is None else (0, ZONE_END_MS)
    return f"({{0}} >= CAST({first} AS BIGINT) AND {{0}} < CAST({end} AS BIGINT))"


def _localised(zone: Zone | None, at: int) -> int:
    if zone is not None:
        return zone.local(at)
    if not _FIRST_MS <= at <= _LAST_MS:
        raise OverflowError
    return at


def _of_local(name: str, part: Part, of: Callable[[int], int], about: str) -> Entry:
    """Make the entry of a part of a moment, in UTC or in the zone that a constant names."""

    def make(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
        if list(types) != [Type.INT64] or len(constants) > 1:
            return None
        zone = _zone_of(constants)

        def printed(engine: str, arguments: Sequence[str]) -> str:
            # Before the parts are taken: they would be wrong, or an error, of what is refused.
            at = f"(CASE WHEN {_within(zone).format(*arguments)} THEN {arguments[0]} END)"
            return part(engine, at if zone is None else zone.local_sql(arguments[0], engine))

        value = null_in_null_out(lambda at: of(_localised(zone, at)))
        fixed = tuple(constants)
        return Function(name, Type.INT64, printed, value, fits=_within(zone), constants=fixed)

    return made(name, "a time in ms (int64) and, if wanted, a zone's name", 1, make, about)


def _floor_time(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if list(types) != [Type.INT64] or len(constants) != 1:
        return None
    step = duration_ms(constants[0])
    if step == 0:
        message = "the step is above 0"
        raise ValueError(message)

    def printed(engine: str, arguments: Sequence[str]) -> str:
        at = f"(CASE WHEN {_within(None).format(*arguments)} THEN {arguments[0]} END)"
        return f"({at} - {floor_mod(at, step, engine)})"

    of = null_in_null_out(lambda at: _localised(None, at) // step * step)
    fixed = tuple(constants)
    return Function("floor_time", Type.INT64, printed, of, fits=_within(None), constants=fixed)


def _duration(types: Sequence[Type], constants: Sequence[Constant]) -> Function | None:
    if types or len(constants) != 1:
        return None
    length = duration_ms(constants[0])
    text, fixed = f"CAST({length} AS BIGINT)", tuple(constants)
    return Function("duration", Type.INT64, text, lambda: length, constants=fixed)


TIME: tuple[Entry, ...] = (
    _of_local(
        "year",
        _calendar("YEAR"),
        lambda local: _moment(local).year,
        """The year of a moment, in UTC or in a named zone.

        >>> of("year(0)"), of("year(0, 'America/New_York')")
        (1970, 1969)
        """,
    ),
    _of_local(
        "quarter",
        _calendar("QUARTER"),
        lambda local: (_moment(local).month + 2) // 3,
        """The quarter of the year, 1 to 4.

        >>> of("quarter(0)"), of("quarter(0, 'America/New_York')")
        (1, 4)
        """,
    ),
    _of_local(
        "month",
        _calendar("MONTH"),
        lambda local: _moment(local).month,
        """The month, 1 to 12.

        >>> of("month(1362898800000)")
        3
        """,
    ),
    _of_local(
        "day",
        _calendar("DAY"),
        lambda local: _moment(local).day,
        """The day of the month, 1 to 31.

        >>> of("day(1362898800000)"), of("day(-1)")
        (10, 31)
        """,
    ),
    _of_local(
        "day_of_year",
        _calendar("DOY"),
        lambda local: _moment(local).timetuple().tm_yday,
        """The day of the year, 1 to 366.

        >>> of("day_of_year(1362898800000)")
        69
        """,
    ),
    _of_local(
        "weekday",
        _weekday,
        lambda local: _moment(local).weekday(),
        """The day of the week, 0 for Monday to 6 for Sunday.

        >>> of("weekday(0)"), of("weekday(1362898800000)")
        (3, 6)
        """,
    ),
    _of_local(
        "hour",
        _clock(3_600_000, 24),
        lambda local: _moment(local).hour,
        """The hour, 0 to 23.

        >>> of("hour(1362898799999)"), of("hour(1362898799999, 'America/New_York')")
        (6, 1)
        >>> of("hour(1362898800000, 'America/New_York')")  # clocks went from 2 to 3
        3
        """,
    ),
    _of_local(
        "minute",
        _clock(60_000, 60),
        lambda local: _moment(local).minute,
        """The minute, 0 to 59.

        >>> of("minute(90000)"), of("minute(0, 'Asia/Kolkata')")
        (1, 30)
        """,
    ),
    _of_local(
        "second",
        _clock(1_000, 60),
        lambda local: _moment(local).second,
        """The second, 0 to 59.

        >>> of("second(-1)")
        59
        """,
    ),
    _of_local(
        "local_time",
        lambda _, local: local,
        lambda local: local,
        """The wall clock of a zone, in ms since its own 1970: in a zone's days and hours.

        >>> of("local_time(0, 'Asia/Kolkata')")
        19800000
        >>> of("floor_time(local_time(0, 'Asia/Kolkata'), '1d')")
        0
        """,
    ),
    made(
        "floor_time",
        "a time in ms (int64) and a duration",
        1,
        _floor_time,
        """The last whole multiple of a step, counted from the epoch, at or before the moment.

        >>> of("floor_time(1000000, '15m')"), of("floor_time(-1, '1h')")
        (900000, -3600000)
        """,
    ),
    made(
        "duration",
        "a duration",
        0,
        _duration,
        """A duration in ms: `at + duration('15m')`.

        >>> of("duration('15m')"), of("duration('1d') // duration('1h')")
        (900000, 24)
        """,
    ),
)
