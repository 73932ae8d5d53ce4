"""What a feature's value stands for: something, a key that nobody has seen, or what is too old.

One meaning everywhere: online answers, training sets, SQL and HTTP. Like the value it is a pure
function of the log and of t. With b = ⌊t / every⌋ · every and the feature's window W (or `within`):

::

    rows of the key before b?  ─ none ─────────────────────────────────────►  never_seen
            └─ some ─► any with b − W ≤ at? ─ none, and the value is null ─►  expired
                                └─ otherwise ──────────────────────────────►  present

So a count of a window without rows is 0 and `present` where the key has older rows; it is 0 and
`never_seen` where it has none. A null that the rows themselves say, a reading without a number, is
`present`. What has no window never expires.
"""

from __future__ import annotations

import enum

__all__ = ["STATUSES", "STATUS_SUFFIX", "Status", "status_sql"]

STATUS_SUFFIX = "__status"
"""What the column of a feature's statuses is called after it; no feature's own name ends so."""


class Status(enum.StrEnum):
    """What a value stands for; it is its own text.

    >>> Status.EXPIRED, f"{Status.EXPIRED}"
    (<Status.EXPIRED: 'expired'>, 'expired')
    """

    PRESENT = "present"
    NEVER_SEEN = "never_seen"
    EXPIRED = "expired"

    @classmethod
    def of(
        cls, value: object, *, newest_ms: int | None, bound_ms: int, reach_ms: int | None
    ) -> Status:
        """Give a value's status: the definition, never tuned.

        Parameters
        ----------
        value
            The feature's, None for a null.
        newest_ms
            The time of the key's newest row before b, of any columns; None where there is none.
        bound_ms
            b.
        reach_ms
            The feature's `reach_ms`: how far before b its rows are looked for.

        Examples
        --------
        >>> told = {"newest_ms": 1_000, "bound_ms": 9_000, "reach_ms": 5_000}
        >>> str(Status.of(None, **told)), str(Status.of(0, **told))
        ('expired', 'present')

        """
        if newest_ms is None:
            return cls.NEVER_SEEN
        if value is None and reach_ms is not None and newest_ms < bound_ms - reach_ms:
            return cls.EXPIRED
        return cls.PRESENT


STATUSES = tuple(Status)
"""Every status, by the number that arrays have for it."""


def status_sql(value: str, *, newest: str, bound: str, reach_ms: int | None) -> str:
    """Print a value's status over SQL expressions, as text.

    `newest` is the end of the key's newest tile at or before b, null where there is none: a tile
    ends after b − W just when it has a row with b − W ≤ at.

    >>> status_sql("x", newest="n", bound="b", reach_ms=None)
    "CASE WHEN n IS NULL THEN 'never_seen' ELSE 'present' END"
    """
    gone = ""
    if reach_ms is not None:
        gone = f" WHEN {value} IS NULL AND {newest} <= {bound} - {reach_ms} THEN 'expired'"
    return f"CASE WHEN {newest} IS NULL THEN 'never_seen'{gone} ELSE 'present' END"
