"""Waiting: the one place where a process sleeps, and only to look again at a condition."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.operators.errors import EnvironmentProblem

__all__ = ["wait_until"]


def wait_until(
    condition: Callable[[], object],
    deadline_seconds: float,
    what: str,
    *,
    every_seconds: float = 0.02,
    do: str = "look at its log, or try again on a less busy machine",
) -> None:
    """Look at `condition` until it is true.

    It is looked at once at least, and once more when the deadline has passed.

    Parameters
    ----------
    condition
        What is waited for; an error that it raises ends the waiting.
    deadline_seconds
        After this long without it the waiting has failed.
    what
        The condition in words, as in "waited for <what>".
    every_seconds
        The pause between two looks.
    do
        What to do when it does not come.

    Raises
    ------
    EnvironmentProblem
        When the deadline passes.

    Examples
    --------
    >>> looks = iter([False, False, True])
    >>> wait_until(lambda: next(looks), 5.0, "the third look", every_seconds=0.001)
    >>> wait_until(lambda: False, 0.01, "the impossible", do="give up")
    Traceback (most recent call last):
    headrace.operators.errors.EnvironmentProblem: waited for the impossible; it did not come in \
0.01 s; give up
    """
    end = time.monotonic() + deadline_seconds
    while not condition():
        left = end - time.monotonic()
        if left <= 0:
            asked = f"waited for {what}"
            raise EnvironmentProblem(asked, f"it did not come in {deadline_seconds:g} s", do)
        time.sleep(min(every_seconds, left))
