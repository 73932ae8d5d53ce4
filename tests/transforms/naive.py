"""The transforms once more, slowly: the values of one row, from the list of the rows before it.

Nothing here is incremental, and nothing is shared with the transforms but the meaning.
"""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import orjson

__all__ = ["BY_STEP", "NAIVE", "Row", "value"]

Row = Mapping[str, Any]
Declared = Mapping[str, Any]

BY_STEP = ("clip", "impute", "min_max", "quantile_bin", "rank", "robust", "standard")


def value(declared: Declared, rows: Sequence[Row], place: int) -> dict[str, Any]:
    """Give the outputs of the row at `place`."""
    row = rows[place]
    before = rows[:place]
    if declared["transform"] in BY_STEP:
        every = declared.get("every_ms", 1000)
        before = [each for each in rows if each["at"] < row["at"] // every * every]
    return NAIVE[declared["transform"]](declared, before, row)


def units(declared: Declared, rows: Sequence[Row], name: str = "", kind: str = "") -> list[int]:
    """Give the numbers of a column, nulls aside: as they are, or as millionths."""
    given = [row[name or declared["column"]] for row in rows]
    if (kind or declared["kind"]) != "float64":
        return [int(each) for each in given if each is not None]
    millionths = [Decimal(each * 1_000_000) for each in given if each is not None]
    return [int(each.to_integral_value(ROUND_HALF_UP)) for each in millionths]


def scale(kind: str) -> int:
    return 1_000_000 if kind == "float64" else 1


def binned(number: int) -> float:
    """Give the middle of the numbers that have the same 7 highest bits."""
    bits = f"{abs(number):b}"
    low, high = (int(bits[:7] + fill * len(bits[7:]), 2) for fill in "01")
    middle = float(Fraction(low + high, 2))
    return middle if number >= 0 else -middle


def quantile(declared: Declared, rows: Sequence[Row], share: float) -> float | None:
    ordered = sorted(map(binned, units(declared, rows)))
    if not ordered:
        return None
    rank = max(math.ceil(share * len(ordered)), 1)
    return ordered[rank - 1] / scale(declared["kind"])


def scaled(declared: Declared, row: Row, by: Callable[[float], float | None]) -> dict[str, Any]:
    x = row[declared["column"]]
    out = declared.get("out") or f"{declared['column']}_{declared['transform']}"
    return {out: None if x is None else by(float(x) + 0.0)}


def standard(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    known = [Fraction(unit, scale(declared["kind"])) for unit in units(declared, before)]
    if not known:
        return scaled(declared, row, lambda _: None)
    mean = sum(known) / len(known)
    variance = sum((x - mean) ** 2 for x in known) / Fraction(len(known))
    deviation = math.sqrt(variance) or 1.0
    return scaled(declared, row, lambda x: (x - float(mean)) / deviation)


def min_max(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    known = [unit / scale(declared["kind"]) for unit in units(declared, before)]
    if not known:
        return scaled(declared, row, lambda _: None)
    low, high = min(known), max(known)
    return scaled(declared, row, lambda x: min(max((x - low) / (high - low or 1.0), 0.0), 1.0))


def robust(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    median = quantile(declared, before, 0.5)
    low = quantile(declared, before, declared.get("low", 0.25))
    high = quantile(declared, before, declared.get("high", 0.75))
    if median is None or low is None or high is None:
        return scaled(declared, row, lambda _: None)
    return scaled(declared, row, lambda x: (x - median) / (high - low or 1.0))


def clip(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    low = quantile(declared, before, declared.get("low", 0.01))
    high = quantile(declared, before, declared.get("high", 0.99))
    if low is None or high is None:
        return scaled(declared, row, lambda _: None)
    return scaled(declared, row, lambda x: min(max(x, low), high))


def quantile_bin(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    bins = declared.get("bins", 10)
    edges = {quantile(declared, before, i / bins) for i in range(1, bins)}
    if None in edges:
        return scaled(declared, row, lambda _: None)
    known = sorted(edge for edge in edges if edge is not None)
    return scaled(declared, row, lambda x: bisect_right(known, x))


def rank(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    known = list(map(binned, units(declared, before)))
    mine = [binned(unit) for unit in units(declared, [row])]
    if not known or not mine:
        return scaled(declared, row, lambda _: None)
    less, same = (sum(map(test, known)) for test in (mine[0].__gt__, mine[0].__eq__))
    return scaled(declared, row, lambda _: (2 * less + same) / (2 * len(known)))


def impute(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    by, column = declared.get("by", "mean"), declared["column"]
    known = [each[column] for each in before if each[column] is not None]
    filling = declared.get("value")
    if by == "mean" and known:
        total = sum(units(declared, before))
        filling = float(Fraction(total, len(known) * scale(declared["kind"])))
    elif by == "median":
        filling = quantile(declared, before, 0.5)
    elif by == "most_frequent" and known:
        filling = min(known, key=lambda x: (-known.count(x), x))
    x = row[column]
    if x is not None and (by in ("mean", "median") or isinstance(x, float)):
        x = float(x) + 0.0
    out = f"{column}_impute"
    return {out: filling if x is None else x, f"{out}_missing": x is None}


def ids(declared: Declared, before: Sequence[Row], row: Row) -> dict[Any, int]:
    """Give the ids of the values that are known when `row` comes."""
    known: dict[Any, tuple[int, int, int]] = {}  # count, last, id
    given = 0
    for each in before:
        x, at = each[declared["column"]], each["at"]
        if x is None:
            continue
        count, last, id_ = known.get(x, (0, at, 0))
        if at - last > (declared.get("expire_ms") or math.inf):
            count, id_ = 0, 0
        count += 1
        if count >= declared.get("admit", 1) and not id_:
            given += 1
            id_ = given
        known[x] = count, at, id_
    idle = declared.get("expire_ms") or math.inf
    return {x: id_ for x, (_, last, id_) in known.items() if row["at"] - last <= idle}


def vocabulary(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    x = row[declared["column"]]
    known = ids(declared, before, row)
    return {f"{declared['column']}_vocabulary": None if x is None else known.get(x, 0)}


def one_hot(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    x, size = row[declared["column"]], declared["size"]
    mine = ids(declared, before, row).get(x, 0)
    out = f"{declared['column']}_one_hot"
    return {
        **{f"{out}_{i}": x is not None and mine == i for i in range(1, size + 1)},
        f"{out}_other": x is not None and not 1 <= mine <= size,
        f"{out}_null": x is None,
    }


def code(x: object) -> int:
    """Give the 64 bits of a value."""
    person, said = (b"null", b"") if x is None else (b"value", str(x).encode())
    if isinstance(x, int):
        return x % 2**64
    return int.from_bytes(hashlib.blake2b(said, digest_size=8, person=person).digest(), "little")


def slot(columns: Sequence[str], codes: Sequence[int], slots: int) -> int:
    """Mix codes into the seed of the columns (splitmix64)."""
    said = orjson.dumps(list(columns))
    seed = hashlib.blake2b(said, digest_size=8, person=b"token").digest()
    state = int.from_bytes(seed, "little")
    for each in codes:
        state = ((state ^ each) + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state % slots


def cross(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    del before
    columns = declared["columns"]
    codes = [code(row[column]) for column in columns]
    return {"_".join([*columns, "cross"]): slot(columns, codes, declared["slots"])}


def hashing(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    del before
    column = declared["column"]
    return {f"{column}_hashing": slot([column], [code(row[column])], declared["slots"])}


def frequency(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    x = row[declared["column"]]
    known = [each[declared["column"]] for each in before if each[declared["column"]] is not None]
    share = known.count(x) / len(known) if known else 0.0
    return {f"{declared['column']}_frequency": None if x is None else share}


def target(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    column, label = declared["column"], declared["label"]
    kind, weight = declared.get("label_kind", "bool"), declared.get("prior_weight", 10.0)
    examples = [e for e in before if e[column] is not None and e[label] is not None]
    mine = [each for each in examples if each[column] == row[column]]
    labels, my_labels = (units(declared, some, label, kind) for some in (examples, mine))
    out = f"{column}_target"
    if row[column] is None or not labels:
        return {out: None}
    prior = sum(labels) / scale(kind) / len(labels)
    if not mine:
        return {out: prior}
    total = sum(my_labels) / scale(kind) + weight * prior
    return {out: total / (len(mine) + weight)}


def ngrams(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    del before
    column, text = declared["column"], row[declared["column"]]
    out = f"{column}_ngrams"
    if text is None:
        return {out: None}
    small = re.sub("[A-Z]", lambda letter: letter[0].lower(), text)
    if declared.get("of", "words") == "words":
        codes = [code(word) for word in re.findall("[0-9a-z\u0080-\U0010ffff]+", small)]
    else:
        codes = [ord(character) for character in small]
    sizes = range(declared.get("least", 1), declared.get("most", 1) + 1)
    grams = [codes[i : i + size] for size in sizes for i in range(len(codes) - size + 1)]
    return {out: [slot([column], gram, declared["slots"]) for gram in grams]}


def idf(declared: Declared, before: Sequence[Row], row: Row) -> dict[str, Any]:
    column, mine = declared["column"], row[declared["column"]]
    lists = [each[column] for each in before if each[column] is not None]
    out = f"{column}_idf"
    if mine is None:
        return {out: None, f"{out}_weights": None}
    counts: Counter[int] = Counter(mine)
    rarity = (math.log((1 + len(lists)) / (1 + sum(s in each for each in lists))) for s in counts)
    weights = [counts[s] * (rare + 1.0) for s, rare in zip(counts, rarity, strict=True)]
    return {out: list(counts), f"{out}_weights": weights}


NAIVE: Mapping[str, Callable[[Declared, Sequence[Row], Row], dict[str, Any]]] = {
    each.__name__: each
    for each in (
        *(clip, cross, frequency, hashing, idf, impute, min_max, ngrams, one_hot),
        *(quantile_bin, rank, robust, standard, target, vocabulary),
    )
}
