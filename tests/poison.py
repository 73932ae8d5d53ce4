"""Messages that are no events, made at random: each belongs in the dead letters, for its reason.

A kind takes a good message and breaks it. What may still be read as an event is not given: whether
it is, the oracle says; whether the engines say the same, is what is tried.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from headrace.operators.engines import in_process
from headrace.operators.source import Source
from tests import logs

__all__ = ["KINDS", "poison"]

Dice = random.Random
Kind = Callable[[Dice, int], bytes | None]
"""Takes the time that a good message would have now."""


def _good(dice: Dice, at: int | str, **changed: str | None) -> bytes:
    """Write a message; a cell that is None is not in it."""
    cells = {name: dice.choice(cells) for name, cells in logs.CELLS.items()}
    return logs.payload(str(at), {**cells, **changed})


def _bytes(dice: Dice, _: int) -> bytes:
    return dice.randbytes(dice.choice((0, 1, 2, 7, 80, 1_000)))


def _cut(dice: Dice, at: int) -> bytes:
    good = _good(dice, at)
    return good[: dice.randrange(len(good))]


def _flipped(dice: Dice, at: int) -> bytes:
    good = bytearray(_good(dice, at))
    for _ in range(dice.choice((1, 1, 2, 9))):
        good[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
    return bytes(good)


def _type(dice: Dice, at: int) -> bytes:
    name = dice.choice([*logs.BAD_CELLS])
    return _good(dice, at, **{name: dice.choice(logs.BAD_CELLS[name])})


def _number(dice: Dice, at: int) -> bytes:
    digits = "9" * dice.choice((20, 40, 400, 1_001, 3_000))
    huge = dice.choice(
        (digits, f"-{digits}", f"{digits}.5", f"1e{digits[:9]}", f"-1e{digits[:12]}")
    )
    return _good(dice, at, **{dice.choice(("g", "i", "w", "n", "m", "q")): huge})


def _nested(dice: Dice, at: int) -> bytes:
    depth = dice.choice((1_001, 2_000, 20_000))
    begin, end = dice.choice((("[", "]"), ('{"a":', "}")))
    inner = "1" if begin != "[" else ""
    closed = end * dice.choice((depth, depth, depth - 1))
    return _good(dice, at, q=begin * depth + inner + closed)


def _utf8(dice: Dice, at: int) -> bytes:
    broken = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80")
    return _good(dice, at, k='"~"').replace(b"~", dice.choice(broken) * dice.randint(1, 3), 1)


def _future(dice: Dice, _: int) -> bytes:
    far = logs.STAMP + logs.AHEAD
    return _good(dice, dice.choice((far + 1, far + dice.randrange(1, 10**12), 2**63 - 1, 2**63)))


def _time(dice: Dice, _: int) -> bytes:
    cells = {name: dice.choice(cells) for name, cells in logs.CELLS.items()}
    return logs.payload(dice.choice(logs.BAD_TIMES), cells)


def _missing(dice: Dice, at: int) -> bytes:
    return _good(dice, at, name=None)


def _around(dice: Dice, at: int) -> bytes:
    form = dice.choice(
        (b"%s,", b"%s{}", b"[%s", b"[%s]", b"\xef\xbb\xbf%s", b"//%s", b"%s]", b"'%s'")
    )
    return form % _good(dice, at)


KINDS: Mapping[str, Kind] = {
    "null": lambda *_: None,
    "bytes": _bytes,
    "cut off": _cut,
    "flipped bits": _flipped,
    "wrong type": _type,
    "huge number": _number,
    "deep nesting": _nested,
    "wrong UTF-8": _utf8,
    "far future": _future,
    "no time": _time,
    "missing key": _missing,
    "more around": _around,
    "known": lambda dice, _: dice.choice(logs.BROKEN),
}


def poison(source: Source, dice: Dice, at: int) -> bytes | None:
    """Make a message that is no event of a source of `logs`, and makes nothing late after `at`."""
    good = logs.payload(str(at), {"name": '"n"'})
    while True:
        made = KINDS[dice.choice([*KINDS])](dice, at)
        log = [(0, offset, logs.STAMP, said) for offset, said in enumerate((made, good))]
        found = in_process.events(source, log)
        if len(found.dead) == len(found.events) == 1:
            return made
