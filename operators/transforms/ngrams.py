"""Text as the n-grams of its words or of its characters, each one of n slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.operators.compiled import compiled
from headrace.operators.errors import NotYet
from headrace.operators.hashing import Codes, mixed, seed
from headrace.operators.transforms.columns import column, known
from headrace.operators.transforms.cross import MOST_SLOTS
from headrace.operators.transforms.stateless import Stateless
from headrace.operators.transforms.transform import ColumnTransform, Rows, only_in_process
from headrace.operators.types import Type

__all__ = ["NGrams"]

_GAP = NotYet("the row functions do not cut a text into a list")


@dataclass(eq=False)
class NGrams(ColumnTransform, Stateless):
    """Give the slots of a text's n-grams: the shortest first, each size in the order of the text.

    The letters A to Z are made small before. A word is a run of letters, digits and characters
    beyond ASCII; the slot of a single word is the one that `Hashing` gives it. Characters are those
    of Unicode, spaces among them. Null is null; a text that is too short has an empty list.

    Parameters
    ----------
    of
        `words` or `characters`.
    least, most
        The sizes: 1 to 16 words or characters.
    slots
        How many there are; two n-grams may share one.

    Examples
    --------
    >>> ngrams = NGrams("x", most=2, slots=1000)
    >>> ngrams.transform(pa.table({"x": ["Late again!", "", None]})).to_pydict()
    {'x_ngrams': [[723, 685, 805], [], None]}
    """

    name = "ngrams"
    takes = (Type.STRING,)
    gaps = only_in_process(_GAP)

    kind: Type = Type.STRING
    of: str = field(default="words", kw_only=True)
    least: int = field(default=1, kw_only=True)
    most: int = field(default=1, kw_only=True)
    slots: int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        known_ = self.of in ("words", "characters")
        self.refuse_unless(known_, f"they are of {self.of!r}", "use words or characters")
        found = f"their sizes are {self.least} to {self.most}"
        self.refuse_unless(1 <= self.least <= self.most <= 16, found, "give sizes from 1 to 16")
        found = f"it has {self.slots} slots"
        self.refuse_unless(1 <= self.slots <= MOST_SLOTS, found, f"give 1 to {MOST_SLOTS}")
        self._codes = Codes()
        self._seed = seed((self.column,))

    @property
    def outputs(self) -> Mapping[str, Type]:
        """Give the slots."""
        return {self.out: Type.list_of(Type.INT64)}

    def transform(self, rows: Rows) -> pa.RecordBatch:
        """Give the slots."""
        texts = column(rows, self.column, self.kind)
        valid = known(texts)
        data, offsets = _utf8(texts)
        data = np.where((data >= 65) & (data <= 90), data + np.uint8(32), data)
        if self.of == "words":
            letters, ends, upto = _words(data, offsets, valid)
            words = pa.StringArray.from_buffers(
                len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(letters)
            )
            codes = self._codes.of(words)
        else:
            codes, upto = _characters(data, offsets, valid)
        slots, stops = _slots(codes, upto, self.least, self.most, self._seed, np.uint64(self.slots))
        lists = pa.ListArray.from_arrays(
            pa.array(stops), pa.array(slots), mask=None if valid.all() else pa.array(~valid)
        )
        return pa.RecordBatch.from_arrays([lists], names=[self.out])


def _utf8(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    _, offsets, data = texts.buffers()
    if offsets is None or not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int32)
    stops = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    whole = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return whole[stops[0] : stops[-1]], stops - stops[0]


@compiled
def _words(
    data: NDArray[np.uint8], offsets: NDArray[np.int32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int64]]:
    """Give the words' letters, where in them each word ends, and how many words are up to a row."""
    letters = np.empty(len(data), np.uint8)
    ends = np.zeros(len(data) // 2 + len(valid) + 2, np.int32)
    upto = np.zeros(len(valid) + 1, np.int64)
    used, words = 0, 0
    for row in range(len(valid)):
        inside = False
        for i in range(offsets[row], offsets[row + 1]):
            byte = data[i]
            part = 48 <= byte <= 57 or 97 <= byte <= 122 or byte >= 128
            if part and valid[row]:
                letters[used] = byte
                used += 1
                if not inside:
                    words += 1
                ends[words] = used
                inside = True
            else:
                inside = False
        upto[row + 1] = words
    return letters[:used], ends[: words + 1], upto


@compiled
def _characters(
    data: NDArray[np.uint8], offsets: NDArray[np.int32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Give the code points, and how many are up to each row."""
    points = np.empty(len(data), np.uint64)
    upto = np.zeros(len(valid) + 1, np.int64)
    used = 0
    for row in range(len(valid)):
        for i in range(offsets[row], offsets[row + 1]):
            byte = np.uint64(data[i])
            if not valid[row]:
                continue
            if byte & np.uint64(0xC0) == np.uint64(0x80):  # it continues the one before
                points[used - 1] = points[used - 1] << np.uint64(6) | byte & np.uint64(0x3F)
                continue
            kept = np.uint64(0x7F)
            if byte >= np.uint64(0xF0):
                kept = np.uint64(0x07)
            elif byte >= np.uint64(0xE0):
                kept = np.uint64(0x0F)
            elif byte >= np.uint64(0xC0):
                kept = np.uint64(0x1F)
            points[used] = byte & kept
            used += 1
        upto[row + 1] = used
    return points[:used], upto


@compiled
def _slots(
    codes: NDArray[np.uint64],
    upto: NDArray[np.int64],
    least: int,
    most: int,
    seed: np.uint64,
    modulus: np.uint64,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Give the slots of the n-grams, and where those of each row end."""
    stops = np.zeros(len(upto), np.int32)
    for row in range(len(upto) - 1):
        length, count = upto[row + 1] - upto[row], 0
        for size in range(least, most + 1):
            count += max(length - size + 1, 0)
        stops[row + 1] = stops[row] + count
    slots = np.empty(stops[-1], np.int64)
    for row in range(len(upto) - 1):
        place = stops[row]
        for size in range(least, most + 1):
            for start in range(upto[row], upto[row + 1] - size + 1):
                state = seed
                for i in range(start, start + size):
                    state = mixed(state, codes[i])
                slots[place] = np.int64(state % modulus)
                place += 1
    return slots, stops
