"""``headrace skew`` and ``headrace drift``: are features right, and are they what they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from headrace.jobs.cli.folder import of_pipeline
from headrace.operators.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.jobs.checks.drift import Drift, Period
    from headrace.jobs.checks.skew import Case, Recompute, Skew
    from headrace.jobs.serving.client import Client
    from headrace.pipelines.pipeline import Pipeline

__all__ = ["trust"]

trust = typer.Typer()
_Pipeline = Annotated[Path, typer.Argument(help="The pipeline's YAML file.")]
_State = Annotated[
    Path | None, typer.Option(help="The state folder; .headrace/<name>, or the demo's.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DASH = "-"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@trust.command()
def skew(
    pipeline: _Pipeline,
    served: Annotated[
        Path | None, typer.Option(help="What another server gave: a Parquet or an Arrow file.")
    ] = None,
    log: Annotated[
        bool, typer.Option(help="Recompute from the raw log, not by the index.")
    ] = False,
    as_corrected: Annotated[bool, typer.Option(help="From the log with its late rows.")] = False,
    as_known_at: Annotated[
        str | None, typer.Option(help="The same, of what was known before: 2013-01-05T00:00:00Z.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many of the worst to show.")] = 3,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How far apart numbers may be, relative to their size.")
    ] = 0.0,
    state: _State = None,
    as_json: _Json = False,
) -> None:
    """Compare features as they were served with the same recomputed; 1 where any differ."""
    from headrace.jobs import assembly
    from headrace.jobs.checks import skew as skews
    from headrace.jobs.machine import local
    from headrace.operators.event import EVER
    from headrace.pipelines.load import load

    declared = load(pipeline)
    state = of_pipeline(state, declared.name)
    known = EVER if as_corrected else None if as_known_at is None else _time(as_known_at)
    share = assembly.declared(declared)
    with (
        local.reached(declared, state, "skew") as (bootstrap, client),
        _recomputing(declared, bootstrap, client, log=log, known=known) as recompute,
    ):
        rows = (
            skews.predicted(share, client.sql)
            if served is None
            else skews.served_log(share, served)
        )
        found = skews.skew(
            share, rows, recompute, ask=client.sql, examples=examples, tolerance=tolerance
        )
    console = Console()
    if as_json:
        console.print_json(data=[asdict(each) for each in found])
    else:
        _show_skew(console, found)
    if any(each.wrong for each in found):
        raise typer.Exit(1)


@contextmanager
def _recomputing(
    pipeline: Pipeline, bootstrap: str, client: Client, *, log: bool, known: int | None
) -> Iterator[Recompute]:
    """Give what recomputes: the index, or DuckDB that has read the raw log."""
    from headrace.feature_store.history import History
    from headrace.jobs import assembly
    from headrace.jobs.checks.skew import recomputed
    from headrace.jobs.source_rows import loaded, read_log

    if not log and known is None:
        yield client.training
        return
    declared = assembly.declared(pipeline)
    with History(declared, pipeline.sources, as_known_at=known) as history:
        for _ in loaded(history, pipeline, lambda source: read_log(bootstrap, source.topic)):
            pass
        yield recomputed(history, declared)


def _show_skew(console: Console, found: list[Skew]) -> None:
    table = Table("feature", "compared", "mismatch", "missing", "extra", "SMAPE")
    for each in found:
        counts = (each.compared, each.mismatch, each.missing, each.extra)
        smape = _DASH if each.smape is None else f"{each.smape:.3g}"
        table.add_row(each.feature, *(f"{count:,}" for count in counts), smape)
    console.print(table)
    for each in found:
        for case in each.worst:
            console.print(_case(each, case), markup=False, highlight=False, soft_wrap=True)
    wrong, compared = (sum(getattr(e, n) for e in found) for n in ("wrong", "compared"))
    console.print(f"{wrong:,} of {compared:,} values are not what they are recomputed as")


def _case(of: Skew, case: Case) -> str:
    at = _clock(case.at)
    tiles = f"{case.tiles} tiles of {of.view}"
    if case.first is not None and case.last is not None:
        tiles += f" that end from {_clock(case.first)} to {_clock(case.last)}"
    served, recomputed = case.served, case.recomputed
    return f"{of.feature} of {case.id} at {at}: served {served}, recomputed {recomputed}; {tiles}"


@trust.command()
def drift(
    pipeline: _Pipeline,
    baseline: Annotated[
        str | None, typer.Option(help="A period, START..END: 2013-01-01..2013-01-08.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="The baseline is what this version has learned from.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Of the period; the baseline's end unless given.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Of the period; that of the log unless given.")
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="One feature, with its bins; all unless given.")
    ] = None,
    state: _State = None,
    as_json: _Json = False,
) -> None:
    """Say how far each feature, as it was served, has moved from a baseline: its PSI."""
    from headrace.jobs import assembly
    from headrace.jobs.checks.drift import Period
    from headrace.jobs.checks.drift import drift as drifts
    from headrace.jobs.machine import local
    from headrace.operators.event import EVER
    from headrace.pipelines.load import load

    declared = load(pipeline)
    state = of_pipeline(state, declared.name)
    with local.reached(declared, state, "drift") as (_, client):
        before = _baseline(client, state, baseline, version)
        now = Period(_time(start) if start else before.end, _time(end) if end else EVER)
        found = drifts(
            assembly.declared(declared), client.sql, baseline=before, period=now, features=feature
        )
    console = Console()
    if as_json:
        console.print_json(data=[asdict(each) for each in found])
        return
    _show_drift(console, found, bins=feature is not None)


def _baseline(client: Client, state: Path, baseline: str | None, version: int | None) -> Period:
    from headrace.jobs.checks.drift import Period
    from headrace.online_learning.registry import Registry

    if (baseline is None) == (version is None):
        asked, found = "asked for drift from a baseline", "it is not said which, or twice"
        raise HeadraceError(asked, found, "give --baseline START..END, or --version N")
    if version is not None:
        first = client.sql('SELECT MIN("at") AS "at" FROM predictions')["at"][0].as_py()
        learned = Registry(state / "learner" / "versions").version(version).through_ms
        return Period(first or 0, learned)
    begin, dots, stop = str(baseline).partition("..")
    if not dots:
        asked, found = f"asked for the baseline {baseline!r}", "it has no '..'"
        raise HeadraceError(asked, found, "write START..END: 2013-01-01..2013-01-08")
    return Period(_time(begin), _time(stop))


def _time(text: str) -> int:
    """Read a day or a time, ms; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        asked, do = f"asked for the time {text!r}", "write it like 2013-02-01T05:00:00Z"
        raise HeadraceError(asked, str(error), do) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _show_drift(console: Console, found: list[Drift], *, bins: bool) -> None:
    table = Table("feature", "PSI", "", "baseline rows", "rows")
    for each in found:
        index = _DASH if each.psi is None else f"{each.psi:.4f}"
        table.add_row(each.feature, index, each.said, f"{each.baseline_rows:,}", f"{each.rows:,}")
    console.print(table)
    for each in found if bins else ():
        table = Table(f"{each.feature} is", "baseline", "now")
        for name, before, now in each.bins:
            table.add_row(name, _share(before, each.baseline_rows), _share(now, each.rows))
        console.print(table)


def _share(count: int, rows: int) -> str:
    return f"{count:,} ({100 * count / rows:.1f} %)" if rows else _DASH


def _clock(at: Any) -> str:
    try:
        return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError):
        return f"{at} ms"
