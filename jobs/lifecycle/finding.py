"""What a doctor says of one thing: that it is well, or what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.operators.errors import HeadraceError

__all__ = ["Finding", "examined"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    what
        The thing.
    says
        How it is.
    do
        What to do, where something is wrong; empty where it is well.

    """

    what: str
    says: str
    do: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something is to be done."""
        return bool(self.do)


def examined(what: str, look: Callable[[], str]) -> Finding:
    """Look at a thing, which says how it is or raises what is wrong with it.

    >>> examined("disk", lambda: "20 GB are free")
    Finding(what='disk', says='20 GB are free', do='')
    """
    try:
        return Finding(what, look())
    except HeadraceError as error:
        said = str(error).removesuffix(f"; {error.do}")
        return Finding(what, said, error.do or "look at its log")
