"""How our processes write their logs: lines to be read, or a JSON object a line.

Neither has what an event or a request contains: places, counts, names and causes are told.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Literal

__all__ = ["VARIABLE", "Form", "JsonLines", "begin"]

Form = Literal["text", "json"]
VARIABLE = "HEADRACE_LOG_FORMAT"
"""In the environment: the form, for a process and those that it starts."""


class JsonLines(logging.Formatter):
    """Writes a record as ``{"ts", "level", "component", "logger", "event"}`` in one line.

    `ts` is local time with its offset, as `headrace logs` sorts by. A traceback is in `cause`.

    Parameters
    ----------
    component
        The process: views, labels, store, learner.

    """

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        """Write it."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        said = {
            "ts": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "component": self._component,
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            said["cause"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def begin(component: str, form: Form) -> None:
    """Let this process write its log in a form; a line from `WARNING` on."""
    # The clients say a line per connection; Flink's Python sets the root to INFO as it comes up.
    for client in ("kafka", "apache_beam"):
        logging.getLogger(client).setLevel(logging.WARNING)
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines(component) if form == "json" else text)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
