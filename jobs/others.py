"""Two learners on one stream, seen by what they tell: the one that began later ends.

Within one folder the lock keeps them apart. Of two with folders of their own each would learn the
same and publish to itself; but both would tell their scores in the pipeline's one topic, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from headrace.online_learning.lock import Holder
from headrace.operators.errors import EnvironmentProblem

__all__ = ["Others"]

_HEADER = "learner"


@dataclass(frozen=True)
class Others:
    """The learners of a topic other than the one that holds `folder`.

    >>> one = Others(Holder(1, "wheel", "2026-01-01T00:00:00.000+00:00"), Path("/a"))
    >>> two = Others(Holder(2, "wheel", "2026-01-01T00:00:07.000+00:00"), Path("/b"))
    >>> one.check("scores", [two.headers])
    >>> two.check("scores", [one.headers])
    Traceback (most recent call last):
    headrace.operators.errors.EnvironmentProblem: asked to tell what '/b' learns in the topic \
'scores'; the process 1 on wheel, since 2026-01-01T00:00:00.000+00:00, tells there what '/a' \
learns; stop one of them, or give this one's pipeline another name
    """

    holder: Holder
    folder: Path

    @property
    def _self(self) -> dict[str, Any]:
        return {**asdict(self.holder), "folder": str(self.folder.absolute())}

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Name this learner: what its messages carry."""
        return [(_HEADER, orjson.dumps(self._self))]

    def check(self, topic: str, messages: Sequence[Sequence[tuple[str, bytes]]]) -> None:
        """Look at the headers of messages that came since this one began.

        Raises
        ------
        EnvironmentProblem
            Where a learner of another folder tells there that began before this one.
        """
        ours = self._self
        for headers in messages:
            for other in (orjson.loads(value) for name, value in headers if name == _HEADER):
                same = (other["host"], other["folder"]) == (ours["host"], ours["folder"])
                if same or _age(other) > _age(ours):
                    continue
                holder = Holder(other["pid"], other["host"], other["since"])
                raise EnvironmentProblem(
                    asked=f"asked to tell what '{ours['folder']}' learns in the topic {topic!r}",
                    found=f"{holder}, tells there what '{other['folder']}' learns",
                    do="stop one of them, or give this one's pipeline another name",
                )


def _age(named: dict[str, Any]) -> tuple[str, str, str, int]:
    return named["since"], named["host"], named["folder"], named["pid"]
