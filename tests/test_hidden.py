"""What features compute for themselves: columns that are shared, checked, and seen by nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.operators.engines import in_process
from headrace.operators.errors import PipelineError
from headrace.operators.source import Source
from headrace.pipelines.feature_text import FeatureError
from headrace.pipelines.hidden import with_hidden
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

SHOP = (Path(__file__).parent / "pipelines" / "shop.yaml").read_text("utf-8")
WAS = "      mean_price: mean(price) over 24h\n"


def shop(folder: Path, *features: str) -> Pipeline:
    """Give the shop with features in the place of its mean price, which tokens need."""
    lines = "".join(f"      {line}\n" for line in (*features, "mean_price: mean(price) over 24h"))
    path = folder / "shop.yaml"
    path.write_text(SHOP.replace(WAS, lines), "utf-8")
    return load(path)


def test_the_same_is_computed_once(tmp_path: Path) -> None:
    made = shop(
        tmp_path,
        "a: sum(price where item = 'x') over 1h",
        "b: mean( (price)   where  (item='x')) over 2h",
        "c: mean(price where item = 'X') over 2h",
        "d: count(where item = 'x')",
        "e: max(price * 2)",
    )
    hidden = made.sources["view"].hidden
    assert list(map(list, (each.features for each in hidden.values()))) == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e"],
    ]
    names = [name.rpartition("_")[0] for name in hidden]
    assert names == [
        "_price_where_item_eq_x",
        "_price_where_item_eq_x",
        "_where_item_eq_x",
        "_price_mul_2",
    ]
    # DuckDB minds no capitals in a column's name.
    assert len({name.lower() for name in hidden}) == len(hidden)
    partials = [p.name for p in made.views["user_views"].partials]
    sums = [f"sum_{name}" for name in hidden if name.startswith("_price_where")]
    assert [name for name in partials if name.startswith("sum__")] == sums


def test_a_hidden_column_is_seen_by_nobody_else(tmp_path: Path) -> None:
    made = shop(tmp_path, "a: sum(price where item = 'x') over 1h")
    assert [name for name in made.sources["view"].types if name.startswith("_")] == []
    assert [name for name in made.inputs if name.startswith("_")] == []
    views = made.views.values()
    assert all(view.source is made.sources[view.source.name] for view in views)


def test_derived_columns_can_be_asked_for(tmp_path: Path) -> None:
    made = shop(tmp_path, "a: count(where cheap AND at > 5)")
    source = made.sources["view"]
    log = [
        (0, n, 10**9, f'{{"at": {at}, "user": "u", "price": {price}}}'.encode())
        for n, (at, price) in enumerate([(5, 1), (6, 1), (7, 99), (8, "null")])
    ]
    (name,) = source.hidden
    found = in_process.events(source, log).events
    assert [event.values[name] for event in found] == [None, True, None, None]


def test_a_row_that_a_feature_cannot_compute_is_dead_and_names_it(tmp_path: Path) -> None:
    made = shop(
        tmp_path, "b: sum(price * 1e308 where at_home)", "a: max(price * 1e308 where at_home)"
    )
    assert _reason(made.sources["view"]) == "feature a, b: out of range"


def _reason(source: Source) -> str:
    found = in_process.events(source, [(0, 0, 10**9, b'{"at": 5, "user": "u", "price": 100}')])
    return found.dead[0].reason


@pytest.mark.parametrize(
    "other",
    [
        "a: sum(price where item = 'y') over 1h",
        "a: sum(price * 2 where item = 'x') over 1h",
        "a: sum(price) over 1h",
        "a: decayed_sum(price, 1h where item = 'x') over 1h",
    ],
)
def test_the_digest_covers_what_is_computed(tmp_path: Path, other: str) -> None:
    first = shop(tmp_path, "a: sum(price where item = 'x') over 1h").digest
    assert shop(tmp_path, "a: sum(price   WHERE (item) = 'x') over 60m").digest == first
    assert shop(tmp_path, other).digest != first


def test_the_digest_covers_parameters_and_both_columns(tmp_path: Path) -> None:
    texts = ["decayed_sum(price, 1h)", "decayed_sum(price, 2h)", "ratio(price, price)"]
    texts += ["ratio(price, price * 2)", "ratio(price * 2, price)"]
    assert len({shop(tmp_path, f"a: {text}").digest for text in texts}) == len(texts)


def test_the_order_of_features_is_no_part_of_the_digest(tmp_path: Path) -> None:
    features = ["a: sum(price where item = 'x')", "b: max(price where item = 'x')"]
    assert shop(tmp_path, *features).digest == shop(tmp_path, *features[::-1]).digest


def test_names_that_clash_are_refused(tmp_path: Path) -> None:
    made = shop(tmp_path, "a: max(price * 2)", "b: max(price * 3)")
    source = made.sources["view"]
    found = [("a", "same", each.expression) for each in source.hidden.values()]
    with pytest.raises(FeatureError, match="asked for the feature 'a'; what it computes would"):
        with_hidden(source, found)


def test_a_half_life_of_too_many_steps_is_refused(tmp_path: Path) -> None:
    shop(tmp_path, "a: decayed_count(1000d)")
    text = SHOP.replace("every: 5m", "every: 1s").replace(
        WAS, f"{WAS}      a: decayed_count(1000d)\n"
    )
    (tmp_path / "p.yaml").write_text(text, "utf-8")
    with pytest.raises(PipelineError) as caught:
        load(tmp_path / "p.yaml")
    assert str(caught.value).endswith(
        "19:10: asked for a half-life of '1000d'; it is more than 10000000 steps of 1s; "
        "use a shorter one, or a longer step"
    )
