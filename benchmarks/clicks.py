"""The learners on a made-up stream of clicks: ours, Vowpal Wabbit's and River's, on the same rows.

::

    token ids ─► FTRL, row by row                       Vowpal Wabbit: its cache, hashed before
    columns of Arrow ─► encode ─► FTRL, row by row      Vowpal Wabbit: its text
                                                        River, the first tenth: dictionaries
    token ids ─► FM and FFM, row by row                 Vowpal Wabbit with all pairs, the true pairs
    token ids ─► hybrid, by batches of labels           the net alone, at several batches and rates

Every learner predicts each of 200,000 rows, then learns it; AUC and log loss are over all rows.
Compared is the CPU time of one thread. FTRL has the same parameters everywhere: alpha 0.1, beta 1,
l1 0, l2 1. `peer_vw.py` and `peer_river.py` say how the others are run. What has a net is told in
examples per second of wall time, and of CPU time, which others on the machine change less.

Two comparisons are like with like. Who does not know which pairs of fields interact can cross all
of them with all (`--interactions ::`, in 2^24 weights), or learn vectors (FM, FFM, a net). Who was
told the six crosses them: nobody is who does not know the truth. The result tells both apart.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.click_stream import FIELDS, NUMBERS, PAIRS, Clicks, clicks
from benchmarks.environment import python_of, versions_of
from benchmarks.measure import Ratio, alternate, cost, say, store
from headrace.online_learning.encoding import Encoder
from headrace.online_learning.models.batched import DcnV2, Hybrid
from headrace.online_learning.models.factorised import Ffm, Fm
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.models.model import Inputs, Kind, Steps
from headrace.online_learning.settings import Encoding, Ftrl, Token
from headrace.operators.evaluation import METRICS
from headrace.operators.types import Type

__all__ = ["run"]

_FIELDS = [f"f{i}" for i in range(FIELDS)]
_NUMBERS = [f"x{i}" for i in range(NUMBERS)]
_LETTERS = "abcdefghijklmnopqrst"
_FTRL = Ftrl(alpha=0.1, beta=1.0, l1=0.0, l2=1.0)
_VW = "--loss_function logistic -b 20"
_VW_FTRL = "--ftrl --ftrl_alpha 0.1 --ftrl_beta 1 --l1 0 --l2 1"
_RIVER_ROWS = 20_000
_ENCODING = Encoding(
    {**dict.fromkeys(_FIELDS, Type.INT64), **dict.fromkeys(_NUMBERS, Type.FLOAT64)},
    {},
    tuple(Token((name,)) for name in _FIELDS),
    slots=1 << 20,
    bias=True,
    numbers=tuple(_NUMBERS),
)
_WITH_PAIRS = replace(
    _ENCODING,
    tokens=(*_ENCODING.tokens, *(Token((_FIELDS[one], _FIELDS[two])) for one, two in PAIRS)),
)
_CROSSES = " ".join(f"-q {_LETTERS[one]}{_LETTERS[two]}" for one, two in PAIRS)
_VW_RUNS = {
    "ftrl": f"{_VW} {_VW_FTRL}",
    "default": _VW,
    "default_with_the_true_pairs": f"{_VW} {_CROSSES}",
    "ftrl_with_the_true_pairs": f"{_VW} {_VW_FTRL} {_CROSSES}",
}
_ALL_PAIRS = "--loss_function logistic -b 24 --interactions ::"
_VW_ALL_PAIRS = {
    "default_with_all_pairs": _ALL_PAIRS,
    "ftrl_with_all_pairs": f"{_ALL_PAIRS} {_VW_FTRL}",
}
_BATCHES = (256, 1024, 4096)
_ALONE = tuple((batch, rate) for batch in (256, 1024) for rate in (0.05, 0.15))
_SHORT = ("fm", "ffm", "hybrid_1024_two_threads", "hybrid_with_ffm_1024_two_threads")


def _table(made: Clicks) -> pa.Table:
    columns: dict[str, NDArray[Any]] = {name: made.values[:, i] for i, name in enumerate(_FIELDS)}
    columns |= {name: made.numbers[:, i] for i, name in enumerate(_NUMBERS)}
    return pa.table(columns)


def _scores(predicted: NDArray[np.float64], made: Clicks) -> dict[str, float]:
    found = {}
    for name in ("auc", "log_loss"):
        metric = METRICS[name]()
        metric.update(predicted, made.labels)
        found[name] = round(float(metric.value() or 0.0), 5)
    return found


def _learn(kind: Kind, encoding: Encoding, inputs: Inputs, made: Clicks) -> NDArray[np.float64]:
    steps = Steps(np.arange(len(inputs)), made.labels)
    return kind.blank(encoding).advance(inputs, steps)


def _text(made: Clicks, path: Path) -> None:
    """Write the rows as Vowpal Wabbit reads them: a namespace for each field."""
    rows = zip(made.labels.tolist(), made.values.tolist(), made.numbers.tolist(), strict=True)
    with path.open("w") as file:
        for label, values, numbers in rows:
            fields = " ".join(f"|{a} {v}" for a, v in zip(_LETTERS, values, strict=True))
            others = " ".join(f"{a}:{v!r}" for a, v in zip(_NUMBERS, numbers, strict=True))
            file.write(f"{1 if label else -1} {fields} |z {others}\n")


class _Vw:
    """Vowpal Wabbit, in its own environment, over one file."""

    def __init__(self, made: Clicks, folder: Path) -> None:
        self.python, self.folder = python_of("vw"), folder
        _text(made, folder / "clicks.vw")

    def run(self, runs: Mapping[str, str], *, cached: bool = True) -> dict[str, dict[str, float]]:
        """Do the runs; give of each the seconds from the text and, if asked, from the cache."""
        task, result = self.folder / "task.json", self.folder / "result.json"
        files = {"data": "clicks.vw", "cache": "clicks.cache", "predictions": "."}
        paths = {name: str(self.folder / path) for name, path in files.items()}
        paths |= {} if cached else {"cache": ""}
        task.write_bytes(orjson.dumps({**paths, "bits": 20, "runs": dict(runs)}))
        script = str(Path(__file__).with_name("peer_vw.py"))
        subprocess.run([str(self.python), script, str(task), str(result)], check=True)
        found: dict[str, dict[str, float]] = orjson.loads(result.read_bytes())
        return found

    def predicted(self, name: str) -> NDArray[np.float64]:
        """Read what a run said."""
        return np.loadtxt(self.folder / name)


class _River:
    """River, in its own environment, over the first rows."""

    def __init__(self, made: Clicks, folder: Path) -> None:
        self.python, self.folder = python_of("river"), folder
        columns = ("values", "numbers", "labels")
        some = {name: getattr(made, name)[:_RIVER_ROWS] for name in columns}
        np.savez(folder / "river.npz", **some)

    def run(self) -> dict[str, Any]:
        """Learn; give the seconds and what was predicted."""
        script, said = str(Path(__file__).with_name("peer_river.py")), self.folder / "said.npz"
        argv = [str(self.python), script, str(self.folder / "river.npz"), str(said)]
        subprocess.run(argv, check=True)
        with np.load(said) as found:
            return {"cpu": float(found["seconds"][0]), "predicted": found["predicted"]}


def _batched(made: Clicks, inputs: Inputs, rounds: int) -> dict[str, dict[str, Any]]:
    """Score FM and FFM, the hybrid at several batches, and its net alone at several rates, too.

    Those of `_SHORT` are timed `rounds` times; the rates are those of the best.
    """
    hybrid, net = Hybrid(ftrl=_FTRL, device="cpu"), DcnV2(device="cpu")
    small = replace(hybrid, width=8, hidden=(64, 32), cross_layers=1, cross_rank=16)
    pairwise = replace(small, pairs="ffm")
    pairs = Encoder(_WITH_PAIRS).inputs(_table(made), deep=True)
    forms: dict[str, tuple[Kind, Encoding, Inputs]] = {
        "fm": (Fm(_FTRL), _ENCODING, inputs),
        "ffm": (Ffm(_FTRL), _ENCODING, inputs),
        **{f"hybrid_{b}": (replace(hybrid, batch=b), _ENCODING, inputs) for b in _BATCHES},
        **{
            f"hybrid_with_ffm_{b}": (replace(pairwise, batch=b), _ENCODING, inputs)
            for b in _BATCHES
        },
    }
    for batch, rate in _ALONE:
        kind = replace(net, batch=batch, rate=rate)
        forms[f"dcn_v2_{batch}_rate_{rate}"] = (kind, _ENCODING, inputs)
    forms["hybrid_1024_with_the_true_pairs"] = (hybrid, _WITH_PAIRS, pairs)
    for name, one in (("hybrid_1024", hybrid), ("hybrid_with_ffm_1024", pairwise)):
        forms[f"{name}_two_threads"] = (replace(one, threads=2), _ENCODING, inputs)
    for form in (forms["fm"], forms["ffm"], forms["hybrid_with_ffm_1024"]):
        _learn(form[0], _ENCODING, _first(inputs), _few(made))  # what is compiled is not timed
    found: dict[str, dict[str, Any]] = {}
    for name, form in forms.items():
        said: list[NDArray[np.float64]] = []

        def learn(form: tuple[Kind, Encoding, Inputs] = form, said: Any = said) -> None:
            said.append(_learn(*form, made))

        took = [cost(learn) for _ in range(rounds if name in _SHORT else 1)]
        best = {clock: min(each[clock] for each in took) for clock in took[0]}
        rates = {f"examples_per_second_of_{k}": round(len(inputs) / s) for k, s in best.items()}
        found[name] = {**_scores(said[0], made), **rates}
        say(f"   {name}: {found[name]}")
    return found


def _first(inputs: Inputs) -> Inputs:
    """Give the rows that River learns."""
    end = _RIVER_ROWS
    return Inputs(inputs.slots[:end], inputs.ids[:end], inputs.numbers[:end], inputs.weights[:end])


def _few(made: Clicks) -> Clicks:
    return Clicks(*(column[:_RIVER_ROWS] for column in vars(made).values()))


def _rows_per_second(seconds: list[float], rows: int) -> int:
    return round(rows / min(seconds))


def run(rounds: int) -> list[str]:
    """Measure, compare, store; give a line for each claim."""
    made = clicks()
    rows, table = len(made.labels), _table(made)
    encoder, kind = Encoder(_ENCODING), Logistic(_FTRL)
    inputs = encoder.inputs(table, deep=True)
    scores = {
        "bayes": _scores(made.truth, made),
        "ours": _scores(_learn(kind, _ENCODING, inputs, made), made),
    }
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        vw = _Vw(made, Path(name))
        river = _River(made, Path(name))
        vw.run(_VW_RUNS)
        all_pairs = vw.run(_VW_ALL_PAIRS, cached=False)
        runs = (*_VW_RUNS, *_VW_ALL_PAIRS)
        scores |= {f"vw_{run}": _scores(vw.predicted(run), made) for run in runs}
        some = _few(made)
        scores["river_of_the_first"] = _scores(river.run()["predicted"], some)
        scores["ours_of_the_first"] = _scores(_learn(kind, _ENCODING, _first(inputs), some), some)
        say(f"   {scores}")
        forms: dict[str, Callable[[], Mapping[str, float]]] = {
            "ids": lambda: cost(lambda: _learn(kind, _ENCODING, inputs, made)),
            "raw": lambda: cost(
                lambda: _learn(kind, _ENCODING, Encoder(_ENCODING).inputs(table), made)
            ),
            "vw": lambda: vw.run({"ftrl": _VW_RUNS["ftrl"]})["ftrl"],
            "river": lambda: {"cpu": river.run()["cpu"] * rows / _RIVER_ROWS},
        }
        found = alternate(forms, rounds)
    seconds = {
        "from_ids": [took["cpu"] for took in found["ids"]],
        "from_columns": [took["cpu"] for took in found["raw"]],
        "vw_from_cache": [took["cache"] for took in found["vw"]],
        "vw_from_text": [took["text"] for took in found["vw"]],
        "river": [took["cpu"] for took in found["river"]],
    }
    ratios = {
        name: Ratio.of(seconds[theirs], seconds[ours])
        for name, theirs, ours in (
            ("vw_from_text_to_ids", "vw_from_text", "from_ids"),
            ("vw_from_cache_to_ids", "vw_from_cache", "from_ids"),
            ("vw_from_text_to_columns", "vw_from_text", "from_columns"),
            ("river_to_ids", "river", "from_ids"),
            ("river_to_columns", "river", "from_columns"),
        )
    }
    seconds |= {f"vw_{run}": [took["text"]] for run, took in all_pairs.items()}
    rates = {name: _rows_per_second(took, rows) for name, took in seconds.items()}
    say(f"   examples/s of one thread: {rates}")
    batched = _batched(made, inputs, rounds)
    compared = _compared(scores, batched)
    store(
        "clicks",
        rounds=rounds,
        rows=rows,
        peers={**versions_of("vw"), **versions_of("river")},
        scores=scores,
        examples_per_second_at_best=rates,
        ratios=ratios,
        seconds=seconds,
        batched=batched,
        compared_by_auc=compared,
    )
    return _lines(scores, batched, compared, rates, ratios)


def _compared(
    scores: Mapping[str, Mapping[str, float]], batched: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Set beside one another who knows as much of the truth; AUC over all rows."""
    hybrids = [f"{name}_{b}" for name in ("hybrid", "hybrid_with_ffm") for b in _BATCHES]
    untold = ["ffm", "fm", *hybrids]
    vw = ("vw_default", "vw_ftrl", "vw_default_with_all_pairs", "vw_ftrl_with_all_pairs")
    alone = max(score["auc"] for name, score in batched.items() if name.startswith("dcn"))
    ours = {"ftrl": scores["ours"]["auc"], "net_alone_at_its_best": alone}
    told = {name: scores[name]["auc"] for name in scores if name.endswith("true_pairs")}
    return {
        "nobody_knows_the_pairs": {
            **{name: batched[name]["auc"] for name in untold},
            **ours,
            **{name: scores[name]["auc"] for name in vw},
        },
        "told_the_true_pairs": {
            "hybrid_1024": batched["hybrid_1024_with_the_true_pairs"]["auc"],
            **told,
        },
        "the_truth": {"bayes": scores["bayes"]["auc"]},
    }


def _lines(
    scores: Mapping[str, Mapping[str, float]],
    batched: Mapping[str, Mapping[str, Any]],
    compared: Mapping[str, Mapping[str, float]],
    rates: Mapping[str, int],
    ratios: Mapping[str, Ratio],
) -> list[str]:
    """Say what was found, a line for each claim."""
    auc = {name: score["auc"] for name, score in {**scores, **batched}.items()}
    apart = abs(auc["ours"] - auc["vw_ftrl"])
    crossed = max(auc["vw_default_with_all_pairs"], auc["vw_ftrl_with_all_pairs"])
    told = max(auc["vw_default_with_the_true_pairs"], auc["vw_ftrl_with_the_true_pairs"])
    alone = compared["nobody_knows_the_pairs"]["net_alone_at_its_best"]

    def hybrid(name: str) -> str:
        two = batched[f"{name}_1024_two_threads"]["examples_per_second_of_wall"]
        return (
            f"AUC {auc[f'{name}_256']}, {auc[f'{name}_1024']}, {auc[f'{name}_4096']} at batches of "
            f"256, 1024, 4096; at 1024 {batched[f'{name}_1024']['examples_per_second_of_cpu']} "
            f"examples/s of CPU, {two} of wall time on two threads"
        )

    return [
        f"row-wise FTRL {rates['from_ids']} examples/s from ids; Vowpal Wabbit takes "
        f"{ratios['vw_from_text_to_ids']} times as long from text, "
        f"{ratios['vw_from_cache_to_ids']} from its cache, River {ratios['river_to_ids']}; "
        f"from columns {rates['from_columns']}, where Vowpal Wabbit from text takes "
        f"{ratios['vw_from_text_to_columns']}; AUC {auc['ours']}, {apart:.5f} apart",
        f"hybrid: {hybrid('hybrid')}",
        f"hybrid with ffm and a small net: {hybrid('hybrid_with_ffm')}",
        f"nobody knows the pairs: FFM alone {auc['ffm']}, FM {auc['fm']}, net alone at its best "
        f"{alone}, FTRL {auc['ours']}; Vowpal Wabbit {auc['vw_default']}, with all pairs crossed "
        f"{crossed} at {rates['vw_default_with_all_pairs']} examples/s",
        f"told the six true pairs: hybrid {auc['hybrid_1024_with_the_true_pairs']}, Vowpal Wabbit "
        f"{told}; the truth itself {auc['bayes']}",
    ]
