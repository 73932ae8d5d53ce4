"""A named time zone as a table of its offsets, so that every engine reads the same one.

::

    at ─► bucket of a fixed number of days, with one change at most ─► offset before or after it

Flink takes a zone's rules from the JVM, DuckDB from its own library, Python from the machine: three
editions. Here they come from the package tzdata, which requirements pin, and are printed into the
query: the offset at each bucket's beginning, and the second at which the bucket changes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headrace.operators.functions.function import text

__all__ = ["DAY_MS", "ZONE_END_MS", "Zone", "floor_mod"]

DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR = 2099
ZONE_END_MS = (datetime(_LAST_YEAR + 1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
"""Times from 1970 up to here have an offset."""
_SHIFT = 100_000
"""Added to an offset in seconds: the table has no signs."""
_OFFSET_DIGITS, _CUT_DIGITS = 6, 8
_BUCKET_DAYS = (90, 60, 30, 14, 7, 3, 1)


def floor_mod(number: str, by: int, engine: str) -> str:
    """Print the rest of a division that is not negative, also of what is before 1970."""
    whole = f"CAST({by} AS BIGINT)"
    if engine == "flink":
        return f"MOD(MOD({number}, {whole}) + {whole}, {whole})"
    return f"((({number} % {whole}) + {whole}) % {whole})"


@dataclass(frozen=True)
class Zone:
    """A zone's offsets from 1970 to the end of 2099.

    >>> zone = Zone.named("America/New_York")
    >>> zone.local(1_362_898_800_000 - 1) - 1_362_898_800_000 + 1, zone.local(0)
    (-18000000, -18000000)
    """

    name: str
    days: int
    """How many days a bucket has."""
    offsets: tuple[int, ...]
    """Seconds to add at each bucket's beginning, and at the end of the last."""
    cuts: tuple[int, ...]
    """Seconds of each bucket at which the offset becomes the next bucket's."""

    @staticmethod
    @cache
    def named(name: str) -> Zone:
        """Give a zone by its name; a ValueError where there is none."""
        changes = _changes(_zone(name))
        for days in _BUCKET_DAYS:
            buckets = [at // (days * 86_400) for at, _ in changes]
            if len(set(buckets)) == len(buckets):
                return _table(name, days, changes)
        message = f"the zone {name!r} changes twice within a day"
        raise ValueError(message)

    def local(self, at: int) -> int:
        """Give the wall clock's time, in ms since its own 1970; an OverflowError beyond 2099."""
        if not 0 <= at < ZONE_END_MS:
            raise OverflowError
        bucket, rest = divmod(at, self.days * DAY_MS)
        return at + 1000 * self.offsets[bucket + (rest >= self.cuts[bucket] * 1000)]

    def local_sql(self, at: str, engine: str) -> str:
        """Print the same; NULL beyond the table."""
        size = f"CAST({self.days * DAY_MS} AS BIGINT)"
        bucket = f"{at} {'/' if engine == 'flink' else '//'} {size}"
        rest = f"MOD({at}, {size})" if engine == "flink" else f"({at} % {size})"
        cuts = text("".join(f"{cut:0{_CUT_DIGITS}}" for cut in self.cuts))
        offsets = text("".join(f"{each + _SHIFT:0{_OFFSET_DIGITS}}" for each in self.offsets))
        cut = _taken(engine, cuts, f"({bucket})", _CUT_DIGITS)
        place = f"({bucket} + CASE WHEN {rest} >= {cut} * 1000 THEN 1 ELSE 0 END)"
        offset = _taken(engine, offsets, place, _OFFSET_DIGITS)
        inside = f"{at} >= 0 AND {at} < CAST({ZONE_END_MS} AS BIGINT)"
        return f"(CASE WHEN {inside} THEN {at} + ({offset} - {_SHIFT}) * 1000 END)"


def _taken(engine: str, table: str, place: str, digits: int) -> str:
    # Of a constant DuckDB computes every branch, also the one that it does not take.
    cast = "TRY_CAST" if engine == "duckdb" else "CAST"
    first = f"{cast}({place} * {digits} + 1 AS INT)"
    return f"TRY_CAST(SUBSTRING({table}, {first}, {digits}) AS BIGINT)"


def _zone(name: str) -> ZoneInfo:
    path = files("tzdata.zoneinfo")
    try:
        # `key` keeps it from reading elsewhere; a name with dots or a slash first is refused.
        parts = name.split("/")
        if not all(part and part[0].isalpha() for part in parts):
            raise ZoneInfoNotFoundError(name)
        for part in parts:
            path = path / part
        with path.open("rb") as data:
            return ZoneInfo.from_file(data, key=name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        message = f"no time zone is called {name!r}; write it like 'America/New_York'"
        raise ValueError(message) from error


def _offset(zone: ZoneInfo, second: int) -> int:
    moment = (_EPOCH + timedelta(seconds=second)).astimezone(zone)
    return (moment.utcoffset() or timedelta()) // timedelta(seconds=1)


def _changes(zone: ZoneInfo) -> list[tuple[int, int]]:
    """Give each second, from 1970 on, from which another offset holds, and that offset."""
    changes = [(0, _offset(zone, 0))]
    end = ZONE_END_MS // 1000
    for day in range(0, end, 86_400):
        low, high = day, min(day + 86_400, end)
        while _offset(zone, high) != changes[-1][1] and low < high:
            first, last = low, high
            while first < last:
                middle = (first + last) // 2
                if _offset(zone, middle) == changes[-1][1]:
                    first = middle + 1
                else:
                    last = middle
            if first >= end:
                break
            changes.append((first, _offset(zone, first)))
            low = first
    return changes


def _table(name: str, days: int, changes: list[tuple[int, int]]) -> Zone:
    size = days * 86_400
    count = -(-ZONE_END_MS // 1000 // size)
    by_bucket = {at // size: (at % size, offset) for at, offset in changes[1:]}
    offsets, cuts = [changes[0][1]], []
    for bucket in range(count + 1):
        cut, offset = by_bucket.get(bucket, (size, offsets[-1]))
        cuts.append(cut)
        offsets.append(offset)
    return Zone(name, days, tuple(offsets), tuple(cuts))
