"""Names that somebody chose to do harm by, wherever headrace takes a name."""

from __future__ import annotations

__all__ = ["CANARY", "NAMES"]

CANARY = "/tmp/headrace-canary"  # noqa: S108  # what a name that was obeyed would make
NAMES = {
    "a path": "../../../../etc/passwd",
    "a quote": f"x'; COPY (SELECT 1) TO '{CANARY}'; --",
    "a double quote": f"x\"; COPY (SELECT 1) TO '{CANARY}'; --",
    "a backquote": f"`touch {CANARY}`$(touch {CANARY}) | touch {CANARY}; touch {CANARY} &",
    "lines": "a\nb\r\u2028c",
    "a terminal's escape": "a\x1b[2J\x1b[31mb",
    "a look-alike": "\u0443ser",  # Cyrillic
    "what is not seen": "us\u200ber\u202e",
    "very long": "a" * 10_000,
    "an option": "--state=/tmp",
    "a variable": "${env:HOME}",
    "a template": "{{7*7}}%s%n{0}",
}
"""By what they are; none is a name."""
