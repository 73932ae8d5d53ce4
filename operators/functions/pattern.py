r"""Regular expressions: the subset that RE2, Java and Python read alike, and that cannot run away.

::

    pattern ::= branch ("|" branch)*          item ::= character, escape, class, "." , "^", "$",
    branch  ::= (item [repeat])*                       "(" pattern ")", "(?:" pattern ")"
    repeat  ::= "?" "*" "+" "{m}" "{m,}" "{m,n}", each with "?" after it for the shortest match

What the engines would read differently is printed in a form that they do not: ``.`` is any
character but a line feed, ``\d`` is 0 to 9, ``\s`` is one of six blanks, ``\w`` is one of 0-9, A-Z,
a-z and ``_``, and ``$`` is the very end. Java's matcher recurses over a repeated group and may try
all ways to cut a text: only single characters repeat without bound, groups at most a hundred times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Pattern"]

_ESCAPED = {"d": "[0-9]", "s": r"[ \t\n\f\r\x0B]", "w": "[0-9A-Za-z_]"}
_ESCAPED |= {"D": "[^0-9]", "S": r"[^ \t\n\f\r\x0B]", "W": "[^0-9A-Za-z_]"}
_CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\f"}
_SIGNS = r"\.[]{}()*+?^$|/-"
_REPEAT = re.compile(r"([?*+]|\{([0-9]{1,3})(,([0-9]{1,3})?)?\})(\??)")
_MOST_TIMES = 100
_MOST_UNBOUNDED = 3
_MOST_CHARACTERS = 200
_END = "\0end\0"


@dataclass
class Pattern:
    r"""A checked pattern; a ValueError says what in it has no one meaning.

    >>> Pattern("^a.b$").printed("flink"), Pattern("^a.b$").printed("python")
    ('^a[^\\n]b\\z', '^a[^\\n]b\\Z')
    >>> Pattern("(?=a)")
    Traceback (most recent call last):
    ...
    ValueError: '(?=' in a pattern: RE2 has no lookaround; groups are (…) and (?:…)
    """

    written: str
    groups: int = field(default=0, init=False)
    empty: bool = field(default=False, init=False)
    """Whether it may match nothing."""
    _place: int = field(default=0, init=False)
    _unbounded: int = field(default=0, init=False)
    _text: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if not self.written or len(self.written) > _MOST_CHARACTERS:
            message = f"a pattern has from 1 to {_MOST_CHARACTERS} characters"
            raise ValueError(message)
        self._text, self.empty = self._branches()
        if self._place < len(self.written):
            message = "')' in a pattern without its '('"
            raise ValueError(message)
        if self._unbounded > _MOST_UNBOUNDED:
            message = (
                f"a pattern with more than {_MOST_UNBOUNDED} of * and +: Java may try for ever"
            )
            raise ValueError(message)
        re.compile(self.printed("python"))

    def printed(self, engine: str) -> str:
        """Print it for `engine`, or for ``python``."""
        return self._text.replace(_END, r"\Z" if engine == "python" else r"\z")

    def _next(self, count: int = 1) -> str:
        return self.written[self._place : self._place + count]

    def _branches(self) -> tuple[str, bool]:
        texts, empties = [], []
        while True:
            text, empty = self._branch()
            texts.append(text)
            empties.append(empty)
            if self._next() != "|":
                return "|".join(texts), any(empties)
            self._place += 1

    def _branch(self) -> tuple[str, bool]:
        parts, empty = [], True
        while self._next() not in ("", "|", ")"):
            text, may_be_empty, group = self._item()
            repeat = _REPEAT.match(self.written, self._place)
            if repeat:
                may_be_empty = self._repeated(repeat, group, may_be_empty)
                text += repeat.group()
            parts.append(text)
            empty = empty and may_be_empty
        return "".join(parts), empty

    def _repeated(self, repeat: re.Match[str], group: bool, empty: bool) -> bool:
        """Check a repetition, and say whether it may match nothing."""
        self._place = repeat.end()
        sign, low, comma, high, _ = repeat.groups()
        unbounded = sign in ("*", "+") or (bool(comma) and not high)
        if group and (unbounded or empty):
            message = f"{sign!r} after a group: Java's stack is finite; repeat it like {{1,100}}"
            if empty:
                message = (
                    f"{sign!r} after a group that may match nothing, which engines count apart"
                )
            raise ValueError(message)
        if empty:
            message = f"{sign!r} in a pattern after what matches nothing"
            raise ValueError(message)
        if max(int(low or 0), int(high or 0)) > _MOST_TIMES or (high and int(high) < int(low)):
            message = f"{sign!r} in a pattern: it counts up, to {_MOST_TIMES} at most"
            raise ValueError(message)
        if self._next() in ("?", "*", "+") or self._next() == "{":
            message = f"{sign + self._next()!r} in a pattern: RE2 has no possessive repetition"
            raise ValueError(message)
        self._unbounded += unbounded
        return sign in ("?", "*") or low == "0" or (low is not None and int(low) == 0)

    def _item(self) -> tuple[str, bool, bool]:
        """Read an item: its text, whether it may match nothing, whether it is a group."""
        sign = self._next()
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._class(), False, False
        self._place += 1
        if sign in "^$":
            return (sign if sign == "^" else _END), True, False
        if sign == ".":
            return r"[^\n]", False, False
        if sign == "\\":
            return self._escape(), False, False
        if sign in "*+?{}]" or sign < " ":
            message = f"{sign!r} in a pattern where it means nothing; write it after a backslash"
            raise ValueError(message)
        return sign, False, False

    def _group(self) -> tuple[str, bool, bool]:
        if self._next(2) == "(?" and self._next(3) != "(?:":
            message = f"{self._next(3)!r} in a pattern: RE2 has no lookaround; "
            message += "groups are (…) and (?:…)"
            raise ValueError(message)
        capturing = self._next(3) != "(?:"
        self._place += 1 if capturing else 3
        self.groups += capturing
        text, empty = self._branches()
        if self._next() != ")":
            message = "'(' in a pattern without its ')'"
            raise ValueError(message)
        self._place += 1
        return ("(" if capturing else "(?:") + text + ")", empty, True

    def _escape(self) -> str:
        sign = self._next()
        self._place += 1
        if sign in _ESCAPED:
            return _ESCAPED[sign]
        if sign in _CONTROLS:
            return _CONTROLS[sign]
        if sign and sign in _SIGNS:
            return sign if sign == "/" else "\\" + sign
        message = f"{chr(92) + sign!r} in a pattern: "
        message += (
            "engines read it apart; known are \\d \\s \\w \\D \\S \\W \\t \\n \\r \\f and signs"
        )
        raise ValueError(message)

    def _class(self) -> str:
        r"""Read ``[abc]``, ``[^a-z\d]``: characters, ranges and the three small escapes."""
        self._place += 1
        text = "["
        if self._next() == "^":
            text += "^"
            self._place += 1
        first = len(text)
        while self._next() != "]":
            sign = self._next()
            self._place += 1
            if sign == "\\":
                known = self._escape()
                text += known[1:-1] if known.startswith("[") else known
                if known.startswith("[^"):
                    message = f"{chr(92) + self.written[self._place - 1]!r} in a class of a pattern"
                    raise ValueError(message)
            elif not sign or sign in "[&~" or sign < " ":
                message = f"{sign or '['!r} in a class of a pattern; write it after a backslash"
                message = (
                    message if sign != "&" and sign != "~" else f"{sign!r} in a class: Java's own"
                )
                raise ValueError(message)
            else:
                text += "\\^" if sign == "^" else sign
        if len(text) == first:
            message = "'[]' in a pattern: a class has a character"
            raise ValueError(message)
        self._place += 1
        return text + "]"
