"""Pipeline files: what they mean, and what is said of a mistake, with its line and column."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace.jobs.demo.flights import streams
from headrace.online_learning.verdict import Limits
from headrace.operators.errors import PipelineError
from headrace.operators.streams.join import Join
from headrace.operators.types import Type
from headrace.pipelines import document
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from headrace.pipelines.schema import (
    DecisionForm,
    DedupForm,
    DriftForm,
    GateForm,
    JoinForm,
    ModelForm,
    OutcomeForm,
    PipelineForm,
    SampleForm,
    ServeForm,
    SessionForm,
    SourceForm,
    StreamForm,
    TuneForm,
    ViewForm,
)

HERE = Path(__file__).parent / "pipelines"
ROOT = Path(__file__).parent.parent
FLIGHTS = ROOT / "pipelines" / "examples" / "flight_delay.yaml"
SHOP = (HERE / "shop.yaml").read_text("utf-8")
HOUR = 3_600_000


class Refusal(NamedTuple):
    """A mistake made in shop.yaml, and the error: line, column and sentence."""

    name: str
    right: str
    wrong: str
    error: str


def refusals() -> Iterator[Refusal]:
    for block in re.split(r"^# ", (HERE / "refused.txt").read_text("utf-8"), flags=re.M)[1:]:
        name, *lines = block.strip().split("\n")
        right, wrong, error = (
            "".join(f"{line[1:]}\n" for line in lines if line[0] == mark) for mark in "-+="
        )
        yield Refusal(name, right, wrong, error.rstrip("\n"))


REFUSALS = list(refusals())


def read(folder: Path, text: str) -> Pipeline:
    path = folder / "p.yaml"
    path.write_text(text, "utf-8")
    return load(path)


def changed(right: str, wrong: str) -> str:
    assert SHOP.count(right) == 1, f"{right!r} stands {SHOP.count(right)} times in shop.yaml"
    return SHOP.replace(right, wrong)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(PipelineError) as caught:
        read(folder, text)
    assert caught.value.path == folder / "p.yaml"
    return str(caught.value).removeprefix(f"{folder / 'p.yaml'}:")


@pytest.fixture(scope="module")
def flights() -> Pipeline:
    return load(FLIGHTS)


def test_there_are_refusals_and_each_has_its_name() -> None:
    names = [refusal.name for refusal in REFUSALS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_a_mistake_is_refused_at_its_place(refusal: Refusal, tmp_path: Path) -> None:
    text = f"\n{SHOP}"
    right, wrong = f"\n{refusal.right}", f"\n{refusal.wrong}"
    assert text.count(right) == 1
    assert refused(tmp_path, text.replace(right, wrong)[1:]) == refusal.error


def test_shop_means_what_it_says(tmp_path: Path) -> None:
    shop = read(tmp_path, SHOP)
    assert shop.every_ms == 300_000
    assert list(shop.features) == ["views_1h", "mean_price", "last_item", "pair_views"]
    windows = [feature.window_ms for _, feature in shop.features.values()]
    assert windows == [HOUR, 24 * HOUR, None, None]
    assert shop.decision.keys == {"user_views": ("user",), "pair": ("user", "thing")}
    assert shop.inputs == {
        "visit_id": Type.STRING,
        "user": Type.STRING,
        "thing": Type.STRING,
        "hour": Type.INT64,
        "views_1h": Type.INT64,
        "mean_price": Type.FLOAT64,
        "last_item": Type.STRING,
        "pair_views": Type.INT64,
    }
    assert shop.outcome.within_ms == 48 * HOUR
    assert shop.outcome.label.of({"total": 15}) is True
    assert shop.model.buckets == {
        "mean_price": (1.0, 10.0, 100.0),
        "views_1h": (1.0, 3.0, 5.0, 7.0, 9.0),
    }
    assert [str(token) for token in shop.model.tokens] == ["user", "hour×mean_price", "views_1h"]
    required = [c.name for source in shop.sources.values() for c in source.columns if c.required]
    assert required == ["order_id", "visit_id"]
    assert [source.topic for source in shop.sources.values()] == ["view", "order", "visit"]


def test_the_reference_shows_a_pipeline_that_loads(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "pipeline.md").read_text("utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```", page, flags=re.M | re.S)
    assert len(examples) == 1
    assert read(tmp_path, examples[0]).model.max_delay_ms == 72 * HOUR


def test_the_reference_names_every_key() -> None:
    page = (ROOT / "docs" / "pipeline.md").read_text("utf-8")
    of_streams = (StreamForm, JoinForm, SampleForm, DedupForm, SessionForm)
    others = (DriftForm, PipelineForm, SourceForm, ViewForm, DecisionForm, OutcomeForm, ModelForm)
    forms = (*of_streams, *others, GateForm, ServeForm)
    keys = [field.alias or key for form in forms for key, field in form.model_fields.items()]
    assert len(keys) >= 60
    assert [key for key in keys if f"| `{key}` |" not in page] == []


def test_the_page_of_searches_names_every_setting() -> None:
    page = (ROOT / "docs" / "tune.md").read_text("utf-8")
    assert [key for key in TuneForm.model_fields if f"| `{key}` |" not in page] == []


def test_challengers_have_their_own_settings_and_those_of_the_model(tmp_path: Path) -> None:
    told = """kind: hybrid
  alpha: 0.2
  width: 4
  tune: {alpha: [0.01, 1.0, log], batch: [64, 256]}
  challengers:
    settings: [{alpha: 0.5}, {kind: ftrl}]
    drawn: 3
    halve_after: 500"""
    shop = read(tmp_path, changed("kind: ftrl", told))
    assert shop.challenge is not None
    assert shop.challenge.halve_after == 500
    own, linear, *drawn = (kind.facts for kind in shop.challenge.kinds)
    assert own == {**shop.model.kind.facts, "ftrl": {**own["ftrl"], "alpha": 0.5}}
    assert linear == {"kind": "ftrl", "ftrl": {**own["ftrl"], "alpha": 0.2}}
    assert len({str(facts) for facts in drawn}) == 3
    for facts in drawn:
        alpha = facts["ftrl"]["alpha"]
        assert 0.01 <= alpha <= 1.0
        assert alpha == float(f"{alpha:.3g}")
    again = read(tmp_path, changed("kind: ftrl", told))
    assert (again.challenge, again.digest) == (shop.challenge, shop.digest)
    other = read(tmp_path, changed("kind: ftrl", f"{told}\n    seed: 1"))
    assert other.challenge != shop.challenge
    assert other.digest != shop.digest


def test_topics_begin_with_the_name(tmp_path: Path) -> None:
    shop = read(tmp_path, SHOP)
    assert re.fullmatch(r"shop\.view\.pair-[0-9a-f]{12}", shop.view_topic(shop.views["pair"]))
    kinds = ("decisions", "predictions", "examples", "dead", "late", "metrics")
    assert [getattr(shop, f"{kind}_topic") for kind in kinds] == [f"shop.{kind}" for kind in kinds]


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    model = read(tmp_path, SHOP).model
    ftrl = {"alpha": 0.05, "beta": 1.0, "l1": 0.0, "l2": 1.0}
    assert model.kind.facts == {"kind": "ftrl", "ftrl": ftrl}
    assert (model.numbers, model.weight, model.negatives) == ((), None, 1.0)
    assert (model.slots, model.bias, model.keep) == (1 << 20, True, 5)
    assert (model.publish_every_ms, model.score_from_ms, model.max_delay_ms) == (
        24 * HOUR,
        None,
        None,
    )
    pairs = {"ftrl": ftrl, "rate": 0.03, "seed": 1}
    for name, width in (("fm", 8), ("ffm", 4)):
        kind = read(tmp_path, changed("kind: ftrl", f"kind: {name}")).model.kind
        assert kind.facts == {"kind": name, "width": width, **pairs}
    told = changed("kind: ftrl", "kind: hybrid\n  pairs: ffm\n  hidden: [8, 4]\n  cross_rank: 3")
    facts = read(tmp_path, told).model.kind.facts
    assert (facts["pairs"], facts["hidden"], facts["cross_rank"]) == ("ffm", [8, 4], 3)
    number = SHOP.replace("label: total >= 15", "label: total / 2")
    for name, more in (("linear", {}), ("poisson", {}), ("quantile", {"tau": 0.5})):
        made = read(tmp_path, number.replace("kind: ftrl", f"kind: {name}"))
        assert made.model.kind.facts == {"kind": name, "ftrl": ftrl, **more}
        assert made.outcome.label.type is Type.FLOAT64
    told = number.replace("kind: ftrl", "kind: quantile\n  level: 0.9")
    assert read(tmp_path, told).model.kind.facts["tau"] == 0.9
    source = read(tmp_path, SHOP).sources["view"]
    assert (source.lateness_ms, source.ahead_ms, source.idle_ms) == (0, 24 * HOUR, 0)
    assert source.partitions == 1


def test_the_gate_is_on_unless_it_is_off(tmp_path: Path) -> None:
    assert read(tmp_path, SHOP).model.gate == Limits()
    told = changed("kind: ftrl", "kind: ftrl\n  gate: {least: 7, most_mib: 2}")
    assert read(tmp_path, told).model.gate == Limits(least=7, most_bytes=2 << 20)
    off = changed("kind: ftrl", "kind: ftrl\n  gate: off")
    assert read(tmp_path, off).model.gate is None


def test_within_bounds_the_age_of_the_newest_row(tmp_path: Path) -> None:
    shop = read(tmp_path, changed("latest(item)", "latest(item) within 30d"))
    assert shop.features["last_item"][1].window_ms == 30 * 24 * HOUR


@pytest.mark.parametrize(
    ("edges", "means"),
    [
        ("[0.25, 1, 9.9]", (0.25, 1.0, 9.9)),
        ("[30m, 1h]", (1_800_000.0, 3_600_000.0)),
        ("{from: -1, to: 1, step: 1}", (-1.0, 0.0, 1.0)),
        # In floats 0.1 + 2 * 0.1 is 0.30000000000000004.
        ("{from: 0.1, to: 0.4, step: 0.1}", (0.1, 0.2, 0.3, 0.4)),
        ("{from: 1h, to: 3h, step: 1h}", (3_600_000.0, 7_200_000.0, 10_800_000.0)),
    ],
)
def test_edges(edges: str, means: tuple[float, ...], tmp_path: Path) -> None:
    shop = read(tmp_path, changed("[1, 10, 100]", edges))
    assert shop.model.buckets["mean_price"] == means


def test_digest_is_of_the_meaning(tmp_path: Path) -> None:
    digest = read(tmp_path, SHOP).digest
    assert re.fullmatch("[0-9a-f]{64}", digest)
    same = {
        "comment": changed("every: 5m\n", "every: 5m   # a step\n\n"),
        "order of keys": changed(
            "  source: visit\n  id: visit_id\n", "  id: visit_id\n  source: visit\n"
        ),
        "order of features": changed(
            "      views_1h: count() over 1h\n      mean_price: mean(price) over 24h\n",
            "      mean_price: mean(price) over 24h\n      views_1h: count() over 1h\n",
        ),
        "unit": changed("over 24h", "over 1d"),
        "default": changed("kind: ftrl", "kind: ftrl\n  keep: 5"),
        "spaces": changed("total >= 15", "(total>=15)"),
    }
    other = {
        "step": changed("every: 5m", "every: 1m"),
        "name": changed("pipeline: shop", "pipeline: shop2"),
        "window": changed("over 24h", "over 23h"),
        "aggregate": changed("mean(price)", "max(price)"),
        "label": changed("total >= 15", "total >= 16"),
        "derived": changed("price < 10", "price < 10.5"),
        "required": changed("total: int64", "total: int64 required"),
        "edges": changed("[1, 10, 100]", "[1, 10]"),
        "order of a cross": changed("[hour, mean_price]", "[mean_price, hour]"),
        "order of tokens": changed(
            "    - user\n    - [hour, mean_price]\n", "    - [hour, mean_price]\n    - user\n"
        ),
        "model": changed("kind: ftrl", "kind: ftrl\n  alpha: 0.06"),
        "gate": changed("kind: ftrl", "kind: ftrl\n  gate: off"),
        "lateness": changed("    derive:\n", "    lateness: 1s\n    derive:\n"),
    }
    assert {name: read(tmp_path, text).digest for name, text in same.items()} == dict.fromkeys(
        same, digest
    )
    digests = {read(tmp_path, text).digest for text in other.values()}
    assert len(digests | {digest}) == len(other) + 1


STREAM = "  deduped: {from: view, dedup: {id: item, within: 1h}, derive: {half: price / 2}}\n"


def with_streams(streams: str, source: str = "deduped") -> str:
    text = changed("    source: view\n    key: user\n", f"    source: {source}\n    key: user\n")
    return text.replace("\nviews:\n", f"\nstreams:\n{streams}views:\n")


def test_a_stream_is_a_part_of_the_meaning(tmp_path: Path) -> None:
    shop = read(tmp_path, with_streams(STREAM))
    view = shop.views["user_views"]
    assert view.source == shop.streams["deduped"]
    assert set(view.source.types) == {"at", "user", "item", "price", "at_home", "cheap", "half"}
    same = with_streams(
        "  deduped: {derive: {half: (price/2)}, dedup: {within: 60m, id: [item]}, from: [view]}\n"
    )
    assert read(tmp_path, same).digest == shop.digest
    others = [
        with_streams(STREAM.replace("1h", "2h")),
        with_streams(STREAM.replace("price / 2", "price / 3")),
        with_streams(f"{STREAM}  more: {{from: view}}\n"),
        with_streams("  deduped: {from: view, sample: {by: user, share: 0.5}}\n"),
        with_streams("  deduped: {from: view, sample: {by: user, share: 0.25}}\n"),
    ]
    assert len({read(tmp_path, text).digest for text in others} | {shop.digest}) == 6


TABLE = "{table: items.csv, on: {item: id}, columns: {size: int64, label: string from name}}"


def test_a_table_is_a_part_of_the_meaning(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text("id,size,name\na,1,x\nb,,\n", "utf-8")
    text = with_streams(f"  deduped: {{from: view, join: {TABLE}}}\n")
    shop = read(tmp_path, text)
    assert shop.views["user_views"].source.types["label"] is Type.STRING
    table.write_text("name,size,id,more\n,,b,1\nx,1,a,2\n", "utf-8")
    assert read(tmp_path, text).digest == shop.digest
    table.write_text("id,size,name\na,2,x\nb,,\n", "utf-8")
    assert read(tmp_path, text).digest != shop.digest


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", "no column is declared"),
        ("id,size\n", "known: 'id', 'size'"),
        ("id,size,name\na,1\n", "line 2 has 2 cells, and the head 3"),
        ("id,size,name\na,1.5,x\n", "row 2: size is '1.5', no int64"),
        ("id,size,name\na,9223372036854775808,x\n", "no int64"),
        ("id,size,name\na,1,x\na,2,x\n", "the key a stands twice"),
        ("id,size,name\n,1,x\n", "the key of row 1 is null"),
        ('id,size,name\na,1,"x\n', "unexpected end of data"),
        ("id,size,name\na,1,\x1f\n", "name is '\\x1f', no string"),
        ("id,size,name\n" + "".join(f"{n},1,x\n" for n in range(5_001)), "5000 are taken"),
        (
            "id,size,name\n" + "".join(f"{n},1,{'x' * 150}\n" for n in range(4_000)),
            "524288 are taken",
        ),
    ],
)
def test_a_table_that_is_refused(said: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(said, "utf-8")
    error = refused(tmp_path, with_streams(f"  deduped: {{from: view, join: {TABLE}}}\n"))
    assert found in error
    assert error.startswith("13:")


def test_a_table_of_parquet(tmp_path: Path) -> None:
    text = with_streams(f"  deduped: {{from: view, join: {TABLE}}}\n")
    text = text.replace("items.csv", "items.parquet")
    rows = {"id": ["a", "b"], "size": [1, None], "name": ["x", None]}
    pq.write_table(pa.table(rows), tmp_path / "items.parquet")
    stream = read(tmp_path, text).streams["deduped"]
    (join,) = stream.steps
    assert isinstance(join, Join)
    assert join.table.rows == {("a",): (1, "x"), ("b",): (None, None)}
    pq.write_table(pa.table({**rows, "size": [1.5, None]}), tmp_path / "items.parquet")
    assert "asked for the table 'items.parquet'" in refused(tmp_path, text)


def test_digest_does_not_depend_on_the_file(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert read(tmp_path, SHOP).digest == read(tmp_path / "other", SHOP).digest


def test_the_reference_of_flights_has_its_features() -> None:
    flights = load(FLIGHTS.with_name("flight_delay_reference.yaml"))
    assert flights.every_ms == 300_000
    assert len(flights.model.tokens) == 30
    assert flights.model.bias
    assert flights.model.score_from_ms == 1_359_694_800_000
    assert {source.name: source.partitions for source in flights.sources.values()} == {
        "schedule": 2,
        "departure": 2,
        "arrival": 2,
        "weather": 1,
    }
    assert flights.model.buckets["tail_arr_age_ms"][:3] == (HOUR / 2, HOUR, 2 * HOUR)
    sizes = {name: len(edges) for name, edges in flights.model.buckets.items()}
    assert sizes["temp"] == 17
    assert sizes["wind_speed"] == 13
    assert sizes["pressure"] == 13
    assert sizes["humid"] == 10


def test_flights_learns_from_no_tail_number(flights: Pipeline) -> None:
    used = {part for token in flights.model.tokens for part in token.parts}
    assert len(flights.model.tokens) > 40
    assert "tailnum" not in used
    assert set(flights.model.buckets) <= used


def test_flights_has_the_columns_that_the_replayer_writes(flights: Pipeline) -> None:
    tables = streams(1)
    assert set(tables) == set(flights.sources)
    for name, table in tables.items():
        source = flights.sources[name]
        declared = {column: source.types[column].arrow for column in source.types}
        written = {field.name: field.type for field in table.schema}
        assert written == {c: t for c, t in declared.items() if c not in source.derived}


def test_flights_stays_small_enough_to_read() -> None:
    assert len(FLIGHTS.read_text("utf-8").splitlines()) < 200


MIB = 1 << 20
assert document.MAX_BYTES == MIB
BOMBS = {
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "merge keys": "a: &a {x: 1}\nb:\n  <<: *a\n",
    "lists in lists": "[" * 5000,
    "mappings in mappings": "{a: " * 5000,
    "keys in keys": "? " * 5000,
    "dashes": "- " * 5000,
    "many values": "- a\n" * 30_000,
    "too many bytes": "#" * (document.MAX_BYTES + 1),
    "an object": "!!python/object/apply:os.system ['true']",
    "a long number": f"every: {'9' * 100_000}",
    "a huge character": 'every: "\\UFFFFFFFF"',
    "half a character": 'every: "\\ud800"',
    "an escape in a tag": "!%ff a",
    "a deep expression": changed("price < 10", "(" * 300 + "price" + ")" * 300),
    "a nested expression": changed("price < 10", "price" + "+price" * 150),
    "a long expression": changed("price < 10", "price + " * 1000 + "price"),
    "many edges": changed("step: 2", "step: 0.00001"),
    "a small step of durations": changed(
        "{from: 1, to: 9, step: 2}", "{from: 1ms, to: 9d, step: 1ms}"
    ),
    "a tag without an end": "!" * MIB,
    "an anchor without an end": f"a: &{'a' * MIB}",
    "a key without an end": f"? {'a' * MIB}\n: 1",
    "a name without an end": changed("pipeline: shop", f"pipeline: {'a' * MIB}"),
    "a version without an end": f"%YAML 1.{'1' * 5000}\n---\na",
    "a tag that is directed": "%TAG ! tag:x,2026:\n---\n!a 1",
    "lines of one text": "a\n" * (MIB // 6),
    "empty lists": "[" + "[],\n" * (MIB // 4 - 1),
    "keys": "".join(f"k{i}: 1\n" for i in range(30_000)),
    "an endless name": changed("pipeline: shop", f"pipeline: {'a' * 64}"),
}


@pytest.mark.parametrize(
    ("bomb", "found"),
    [
        ("too many bytes", "it has more than 1048576 bytes"),
        ("a tag without an end", "the line has more than 65536 characters"),
        ("lists in lists", "it is nested deeper than 20 levels"),
        ("keys", "it has more than 20000 values"),
        ("empty lists", "it has more than 20000 values"),
        ("aliases", "anchors are not read"),
        ("a version without an end", "directives are not read"),
    ],
)
def test_a_bomb_is_refused_by_the_bound_that_it_passes(
    bomb: str, found: str, tmp_path: Path
) -> None:
    assert found in refused(tmp_path, BOMBS[bomb])


MEASURED = """
import resource, sys
from pathlib import Path
from headrace.operators.errors import PipelineError
from headrace.pipelines.load import load

def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

paths = sorted(Path(sys.argv[1]).iterdir())
load(paths.pop(0))
before = peak()
for path in paths:
    try:
        load(path)
    except PipelineError:
        print(path.name)
print(peak() - before)
"""


def test_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    """As much as a few times the largest file that is read, whatever stands in it."""
    (tmp_path / "0").write_text(SHOP, "utf-8")
    large = {name: text for name, text in BOMBS.items() if len(text) > MIB // 4}
    for name, text in large.items():
        (tmp_path / name).write_text(text, "utf-8")
    argv = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    *refused, kib = done.stdout.splitlines()
    assert refused == sorted(large)
    assert len(refused) >= 8
    assert int(kib) < 64 << 10, done.stdout


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_in_one_short_line(text: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert "\n" not in error
    assert len(error) < 300


def test_a_control_character_is_refused_at_its_place(tmp_path: Path) -> None:
    error = refused(tmp_path, changed("every: 5m", "every: 5m\x07"))
    assert error == "2:10: asked for YAML; the character U+0007 is not allowed; remove it"


def test_bytes_that_are_no_utf_8_are_refused_at_their_place(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"pipeline: shop\nevery: \xff\n")
    with pytest.raises(PipelineError, match=r":2:8: .*byte 0xff is no UTF-8"):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r":1:1: .*No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(PipelineError, match=r":1:1: .*Is a directory"):
        load(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, f"\ufeff{SHOP}").digest == read(tmp_path, SHOP).digest


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["5m", "user", "count() over 1h", "string", "total >= 15", "price < 10"]),
)
KEYS = st.sampled_from(re.findall(r"\w+(?=:)", SHOP)) | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
SCRAPS = st.sampled_from(
    ["&a ", "*a", "!!int ", "<<: ", "? ", "- ", "{", "}", "[", "]", "'", '"', "|", ">", "%", "\t",
     "\n", "---\n", "null", "1e999", "\\UFFFFFFFF", "\x85", "\u2028", "~", "@", "#", ": ", "-1"]
)  # fmt: skip
ANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def pipeline_or_refusal(folder: Path, text: str) -> None:
    """Read `text`: what is raised is a `PipelineError`, and its place is in the text."""
    refusal = None
    try:
        read(folder, text)
    except PipelineError as error:
        refusal = error
    if refusal is not None:
        assert 1 <= refusal.line <= len(text.splitlines()) + 1
        assert 1 <= refusal.column <= len(text.encode()) + 1


@ANY
@given(text=st.text())
@example(text="")
def test_any_text_is_a_pipeline_or_a_refusal(text: str, tmp_path: Path) -> None:
    pipeline_or_refusal(tmp_path, text)


@ANY
@given(value=VALUES, at=st.integers(0, SHOP.count("\n")))
def test_any_value_is_a_pipeline_or_a_refusal(value: object, at: int, tmp_path: Path) -> None:
    """Put a value, written in the flow form, after the key of a line."""
    lines = SHOP.splitlines()
    line = lines[at % len(lines)]
    lines[at % len(lines)] = f"{line.partition(':')[0]}: {flow(value)}"
    pipeline_or_refusal(tmp_path, "\n".join(lines))
    pipeline_or_refusal(tmp_path, flow(value))


@ANY
@given(scraps=st.lists(st.tuples(st.integers(0, len(SHOP)), SCRAPS), min_size=1, max_size=3))
def test_any_scrap_in_a_file_is_a_pipeline_or_a_refusal(
    scraps: list[tuple[int, str]], tmp_path: Path
) -> None:
    text = SHOP
    for place, scrap in scraps:
        text = text[:place] + scrap + text[place:]
    pipeline_or_refusal(tmp_path, text)


def flow(value: object) -> str:
    """Write a value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(repr(value), repr(value))
