"""One of the other ranks of a learner: computes parts of its batches until the learner is gone.

It is started by `ranks.py`, which says what a rank is asked. Signals to stop are the learner's to
take: a rank goes on until its standard input closes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from headrace.online_learning.deep.layers import Layers
from headrace.online_learning.deep.ranks import LEARN, LOGITS, NET, SCORE, WEIGHTS, group
from headrace.online_learning.deep.settings import Deep

__all__ = ["main"]

_EVER_SECONDS = 10 * 365 * 86_400.0  # a learner may have nothing to learn for as long as it likes


class _Rank:
    """What a rank holds: a net, with the learner's weights."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.layers: Layers
        """Told before anything is asked of it."""

    def serve(self) -> None:
        """Answer until the learner is gone."""
        asked = torch.empty(2, dtype=torch.int64)
        answers: dict[int, Callable[[int], None]] = {
            **{NET: self._net, WEIGHTS: self._weights},
            **{LOGITS: self._logits, LEARN: self._learn, SCORE: self._score},
        }
        while True:
            try:
                self._group.recv([asked], 0, 0).wait()
            except RuntimeError:  # the connection is closed
                return
            what, count = asked.tolist()
            answers[what](count)

    def _net(self, count: int) -> None:
        told = self._told(count, dtype=torch.uint8)
        self.layers = Layers(Deep.of(orjson.loads(bytes(told.tolist()))), torch.device("cpu"))

    def _weights(self, count: int) -> None:
        self.layers.dense.weights.copy_(self._told(count))

    def _logits(self, count: int) -> None:
        self._say(self.layers.logits(*self._rows(count)))

    def _learn(self, count: int) -> None:
        of_rows = self.layers.learn(self._told(count, self.layers.settings.shape.tasks))
        self._say(of_rows, self.layers.dense.gradient)
        self.layers.dense.gradient.zero_()

    def _score(self, count: int) -> None:
        self._say(torch.from_numpy(self.layers.score(*self._rows(count))))

    def _rows(self, count: int) -> tuple[Tensor, Tensor]:
        settings, linear = self.layers.settings, self.layers.net.linear
        width = len(settings.fields) * (settings.width + linear)
        return self._told(count, width), self._told(count, settings.numerics)

    def _told(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        tensor = torch.empty(shape, dtype=dtype)
        if tensor.numel():
            self._group.recv([tensor], 0, 0).wait()
        return tensor

    def _say(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            self._group.send([tensor.contiguous()], 0, 0).wait()


def _end_with_the_learner() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)  # whatever it is at: nobody waits for it


def main(arguments: Sequence[str]) -> int:
    """Run a rank: the file of the rendezvous, how many ranks, threads, which one this is."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_learner, daemon=True).start()
    store, (count, threads, rank) = Path(arguments[0]), map(int, arguments[1:])
    torch.set_num_threads(threads)
    os.write(1, b".")
    joined = group(store, rank, count, _EVER_SECONDS)
    os.write(1, b".")
    os.dup2(2, 1)  # what else is written there is for the log
    _Rank(joined).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
