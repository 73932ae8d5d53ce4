"""The Flink engine: prints sources, views, decisions and labels as Flink SQL that runs in the JVM.

::

    topic ─► <source>__log ─► <source>__text ─► <source>__checked ─┬─► dead letters
             bytes, place     text per column,   values, reason    ├─► late rows
             watermark        running high                         └─► <source> ─► views, decisions

One pane, one message: a first window makes the tiles, a second one gathers all tiles of a shard.
Both are group windows (GROUP BY TUMBLE), not window table functions: the latter re-initialise a
buffer of 1 MiB in each of four operators at every pane. At ten events a pane that is twice the CPU,
at a thousand events the two are level (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.operators.aggregates import Bins
from headrace.operators.engines.flink_rows import bins_sql, columns, ends_sql, place_sql
from headrace.operators.expression import Expression, range_checks
from headrace.operators.message import NOT_JSON, NOT_UTF8
from headrace.operators.shards import shard_sql
from headrace.operators.source import AT_REASON, Source, checks_sql, ranges_sql
from headrace.operators.streams.stream import Origin, roots
from headrace.operators.types import Type
from headrace.operators.view import View

__all__ = [
    "Kafka",
    "decisions_sql",
    "examples_sql",
    "interval",
    "missing_key",
    "pane_end",
    "progress_sql",
    "refused_sql",
    "source_sql",
    "text",
    "view_sql",
]

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Kafka:
    """Where the topics are, and the group under which a job's offsets begin.

    `properties` are what the clients need to speak to it; a secret is no part of them.
    """

    bootstrap: str
    group: str
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Print what says where it is, and how it is spoken to: no part of what a job means."""
        told = {"bootstrap.servers": self.bootstrap, **self.properties}
        return ", ".join(f"{text(f'properties.{k}')} = {text(v)}" for k, v in told.items())

    def reading(self, topic: str, idle_ms: int) -> str:
        """Print the WITH clause of a table that reads a topic's bytes from the group's offsets."""
        options = {
            "connector": "kafka",
            "topic": topic,
            "format": "raw",
            # From the earliest offset Flink would pass over what retention removed; like this the
            # job fails. Whoever starts it anew sets the group's offsets to the beginning.
            "scan.startup.mode": "group-offsets",
            "properties.group.id": self.group,
            "properties.auto.offset.reset": "none",
            "properties.isolation.level": "read_committed",
            # Not on-periodic: which rows are late must not depend on the clock.
            "scan.watermark.emit.strategy": "on-event",
        }
        if idle_ms:
            options["scan.watermark.idle-timeout"] = f"{idle_ms} ms"
        return self._clause(options)

    def writing(self, topic: str, key: str | None = None) -> str:
        """Print the WITH clause of a table that writes bytes, with the column `key` as the key."""
        options = {
            "connector": "kafka",
            "topic": topic,
            "sink.delivery-guarantee": "at-least-once",
            "properties.acks": "all",
            "properties.linger.ms": "20",
            "properties.batch.size": "262144",
        }
        if key is None:
            options |= {"format": "raw"}
        else:
            options |= {"key.format": "raw", "key.fields": key, "value.format": "raw"}
            options |= {"value.fields-include": "EXCEPT_KEY"}
        return self._clause(options)

    def _clause(self, options: Mapping[str, str]) -> str:
        pairs = (f"{text(name)} = {text(value)}" for name, value in options.items())
        return f"WITH ({', '.join(pairs)}, {self.place})"


def text(value: str) -> str:
    """Print a string literal."""
    return "'" + value.replace("'", "''") + "'"


def interval(milliseconds: int) -> str:
    """Print an interval of whole milliseconds.

    >>> interval(300_001)
    "INTERVAL '0 00:05:00.001' DAY(3) TO SECOND(3)"
    """
    days, rest = divmod(milliseconds, _DAY_MS)
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds, rest = divmod(rest, 1_000)
    clock = f"{days} {hours:02}:{minutes:02}:{seconds:02}.{rest:03}"
    return f"INTERVAL '{clock}' DAY(3) TO SECOND(3)"


def _names(columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}`{column}`" for column in columns)


# CAST, not DECODE: DECODE's checked exception does not compile in a watermark generator.
_BODY = "CAST(payload AS STRING)"
_IS_UTF8 = f"CAST({_BODY} AS BYTES) = payload"
# An object without backslash, with no other brace up to the end, and without the character that
# stands for bytes that are no UTF-8: nothing of what follows can be wrong with it.
_PLAIN = f"REGEXP({_BODY}, '^[ \\t\\r\\n]*[{{][^{{}}\\\\\ufffd]*[}}][ \\t\\r\\n]*$')"
# Flink's JSON passes over what follows the object; no such text lets both of these be JSON.
_ENDS = (
    f"CONCAT('[', {_BODY}, ']') IS JSON ARRAY AND CONCAT('{{\"d\":', {_BODY}, '}}') IS JSON OBJECT"
)
# Nor does it mind half a surrogate pair, and writes a question mark for it. Escaped backslashes go
# first, then whole pairs; what is left of surrogates is half a pair.
_UNPAIRED = (
    f"REGEXP({_BODY}, '\\\\u[dD][89a-fA-F]') AND REGEXP(REGEXP_REPLACE("
    f"REGEXP_REPLACE({_BODY}, '\\\\\\\\', '_'), "
    "'\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}', '_'), "
    "'\\\\u[dD][89a-fA-F]')"
)
# What is not sound is no JSON object; what is sound may be none.
_SOUND = f"({_PLAIN} OR ({_IS_UTF8} AND {_ENDS} AND NOT ({_UNPAIRED})))"


def _json_text(name: str) -> str:
    return f"JSON_VALUE({_BODY}, '$.{name}')"


def source_sql(source: Source, kafka: Kafka) -> list[str]:
    """Print the statements that define `source` as a view of checked, punctual, derived events."""
    return [_log(source, kafka), _texts(source), _checked(source), _events(source)]


def _log(source: Source, kafka: Kafka) -> str:
    # At most 14 digits: no sign, no fraction, before the year 5138. Java's $ would also stand
    # before a last line feed. Not REGEXP_EXTRACT: it compiles its pattern for every row.
    digits = f"REGEXP_SUBSTR({_json_text('at')}, '^[0-9]{{1,14}}\\z')"
    # Flink holds a row for late at or below the watermark: one millisecond less keeps ties.
    lag = interval(source.lateness_ms + 1)
    # The planner writes rowtime's expression for every rowtime, and each one parses the message:
    # it stands once in the row. A message that is none, or is far ahead, moves no watermark.
    return f"""CREATE TEMPORARY TABLE `{source.name}__log` (
  payload BYTES,
  `partition` INT METADATA VIRTUAL,
  `offset` BIGINT METADATA VIRTUAL,
  `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL,
  rowtime AS TO_TIMESTAMP_LTZ(COALESCE(TRY_CAST({digits} AS BIGINT), -1), 3),
  arrived AS PROCTIME(),
  WATERMARK FOR rowtime AS
    CASE WHEN {_in_time(source)} AND {_SOUND} THEN rowtime - {lag} END
) {kafka.reading(source.topic, source.idle_ms)}"""


_TIMELESS = "rowtime < TO_TIMESTAMP_LTZ(0, 3)"


def _in_time(source: Source) -> str:
    return f"rowtime <= `timestamp` + {interval(source.ahead_ms)}"


def _texts(source: Source) -> str:
    """Take each column's text once, and the running maximum of the time.

    RAND() < 2 is true, and keeps the planner from writing `sound` and the texts anew wherever they
    are used: it merges no projection whose value of chance is used more than once. Each use would
    parse the message again; with three columns it is parsed six times, which were eleven.
    """
    columns = [f"{_json_text(column.name)} AS `{column.name}`" for column in source.columns]
    place = "payload, `partition`, `offset`, rowtime"
    read = (
        f"SELECT {place}, `timestamp`, arrived, {_SOUND} AND RAND() < 2 AS sound, "
        f"{', '.join(columns)} FROM `{source.name}__log`"
    )
    # Where the message has a time, JSON_VALUE has found it to be an object.
    timed = f"NOT ({_TIMELESS}) AND {_in_time(source)}"
    form = (
        f"CASE WHEN sound THEN (CASE WHEN {timed} THEN CAST(NULL AS STRING) "
        f"WHEN {_TIMELESS} AND {_BODY} IS NOT JSON OBJECT THEN {text(NOT_JSON)} "
        f"ELSE {text(AT_REASON)} END) "
        f"WHEN NOT ({_IS_UTF8}) THEN {text(NOT_UTF8)} ELSE {text(NOT_JSON)} END"
    )
    at = "EXTRACT(EPOCH FROM rowtime) * 1000 + EXTRACT(MILLISECOND FROM rowtime)"
    kept = _names(column.name for column in source.columns)
    return f"""CREATE TEMPORARY VIEW `{source.name}__text` AS
SELECT {place}, `at`, form, {kept},
  MAX(`at`) OVER (PARTITION BY `partition` ORDER BY arrived
                  ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS high
FROM (SELECT {place}, arrived, CASE WHEN sound AND {timed} THEN {at} END AS `at`,
  {form} AS form, {kept} FROM ({read}))"""


def _checked(source: Source) -> str:
    values, reasons = checks_sql(source, lambda name: f"`{name}`")
    reason = f"CASE WHEN form IS NOT NULL THEN form {reasons} END"
    place = "payload, `partition`, `offset`, `at`, rowtime, high"
    checked = f"SELECT {place}, {reason} AS reason, {', '.join(values)} FROM `{source.name}__text`"
    ranges = ranges_sql(source, "flink")
    if ranges:
        names = _names(column.name for column in source.columns)
        reason = f"CASE WHEN reason IS NOT NULL THEN reason {ranges} END"
        checked = f"SELECT {place}, {reason} AS reason, {names} FROM ({checked})"
    return f"CREATE TEMPORARY VIEW `{source.name}__checked` AS\n{checked}"


def _events(source: Source) -> str:
    derived = "".join(
        f", {expression.sql('flink')} AS `{name}`" for name, expression in source.computed.items()
    )
    written = _names(column.name for column in source.columns)
    return f"""CREATE TEMPORARY VIEW `{source.name}` AS
SELECT `partition`, `offset`, `at`, rowtime, {written}{derived}
FROM `{source.name}__checked`
WHERE reason IS NULL AND `at` >= {source.punctual_sql("high")}"""


def refused_sql(
    sources: Iterable[Source], kafka: Kafka, *, dead: str, late: str, also: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Print the two sinks of what is no event, and the inserts.

    A message is the bytes as they came, with source, topic, partition, offset and the reason (or
    the time and the watermark) as headers. Each sink is a producer with buffers and threads of its
    own, so all sources share the two. `also`: queries for more dead letters, those of streams.
    """
    tables = [
        f"CREATE TEMPORARY TABLE `{name}__refused` (payload BYTES, "
        f"headers MAP<STRING NOT NULL, BYTES> METADATA) {kafka.writing(topic)}"
        for name, topic in (("dead", dead), ("late", late))
    ]
    rows: dict[str, list[str]] = {"dead": [*also], "late": []}
    for source in sources:
        facts = {
            "source": text(source.name),
            "topic": text(source.topic),
            "partition": "CAST(`partition` AS STRING)",
            "offset": "CAST(`offset` AS STRING)",
        }
        is_late = f"reason IS NULL AND `at` < {source.punctual_sql('high')}"
        watermark = f"CAST({source.punctual_sql('high')} AS STRING)"
        for name, extra, where in (
            ("dead", {"reason": "reason"}, "reason IS NOT NULL"),
            ("late", {"at": "CAST(`at` AS STRING)", "watermark": watermark}, is_late),
        ):
            pairs = ", ".join(
                f"{text(key)}, CAST({value} AS BYTES)" for key, value in {**facts, **extra}.items()
            )
            rows[name].append(
                f"SELECT payload, MAP[{pairs}] FROM `{source.name}__checked` WHERE {where}"
            )
    inserts = [
        f"INSERT INTO `{name}__refused` {' UNION ALL '.join(each)}" for name, each in rows.items()
    ]
    return tables, inserts


def progress_sql(source: Source, every_ms: int, views: Sequence[View]) -> str:
    """Print the count per pane that tells every shard that a pane is complete.

    A progress event, a row of nothing but its time, is no row; it only makes panes complete.
    """
    known = " OR ".join(f"`{column.name}` IS NOT NULL" for column in source.columns)
    unkeyed = "".join(
        f", COUNT(CASE WHEN ({known}) AND ({missing_key(view)}) THEN 1 END) "
        f"AS `unkeyed_{view.name}`"
        for view in views
    )
    return f"""CREATE TEMPORARY VIEW `{source.name}__progress` AS
SELECT TUMBLE_ROWTIME(rowtime, {interval(every_ms)}) AS pane_time, {pane_end(every_ms)} AS pane,
  COUNT(CASE WHEN {known} THEN 1 END) AS n{unkeyed}
FROM `{source.name}` GROUP BY TUMBLE(rowtime, {interval(every_ms)})"""


def missing_key(view: View) -> str:
    """Print that a part of the view's key is null."""
    return " OR ".join(f"`{part}` IS NULL" for part in view.key)


def pane_end(every_ms: int) -> str:
    """Print the end of the pane of the rows of a group."""
    return f"(MIN(`at`) / {every_ms} + 1) * {every_ms}"


def view_sql(
    view: View, kafka: Kafka, *, topic: str, shard_keys: Sequence[str]
) -> tuple[list[str], str]:
    """Print a view's statements and its insert: one message per shard and pane, all its tiles.

    A message is ``{"end": e, "rows": n, "unkeyed": m, "tiles": [{"k0": …, "p0": …}, …]}``: key
    parts and partials by their place in the view, and under ``newest`` the newest row, which sorts
    as text: at, partition and offset with leading zeros, then its values as ``{"v0": …}``. Ends
    are the tile's ``e0``, …; bins stand beside the tiles, in the lists ``b0``, ….
    """
    tiles, rows = f"`{view.name}__tiles`", f"`{view.source.name}`"
    keys = _names(view.key)
    partials = "".join(
        f", {partial.stream_sql or partial.sql} AS p{i}" for i, partial in enumerate(view.partials)
    )
    newest = f", {_newest(view)} AS newest" if view.keeps_newest else ""
    ends = "".join(f", {ends_sql(each)} AS `_e{i}`" for i, each in enumerate(view.ends))
    step = interval(view.every_ms)
    make = f"""CREATE TEMPORARY VIEW {tiles} AS
SELECT {keys}, TUMBLE_ROWTIME(rowtime, {step}) AS pane_time, {pane_end(view.every_ms)} AS pane
  {partials}{newest}{ends}
FROM {rows} WHERE {" AND ".join(f"`{part}` IS NOT NULL" for part in view.key)}
GROUP BY {keys}, TUMBLE(rowtime, {step})"""
    types = view.source.types
    fields = {f"k{i}": (f"`{part}`", types[part]) for i, part in enumerate(view.key)}
    fields |= {f"p{i}": (f"p{i}", partial.type) for i, partial in enumerate(view.partials)}
    fields |= {"newest": ("newest", Type.STRING)} if view.keeps_newest else {}
    fields |= {f"e{i}": (f"`_e{i}`", Type.STRING) for i in range(len(view.ends))}
    row = _object(fields)
    shard = shard_sql([f"`{part}`" for part in view.key], view.shards)
    gathered = (
        f"SELECT {shard} AS shard, pane_time, pane, {row} AS item, CAST(0 AS BIGINT) AS n, "
        f"CAST(0 AS BIGINT) AS unkeyed{columns(view.bins, {})} FROM {tiles}"
    )
    bins, gathered_bins = bins_sql(view, step=step, pane=pane_end(view.every_ms), shard=shard)
    statements, insert = _panes(
        view.name,
        kafka,
        topic,
        shard_keys,
        [gathered, *gathered_bins],
        view.source.name,
        view.every_ms,
        unkeyed=f"`unkeyed_{view.name}`",
        items="tiles",
        bins=view.bins,
    )
    return [make, *bins, *statements], insert


def _object(fields: Mapping[str, tuple[str, Type]]) -> str:
    """Print a JSON object of fields, each an SQL expression and its type; NULL is null.

    JSON_OBJECT makes a tree of nodes for every row: a third of the time of a tile of three sums.
    """
    parts, opening = [], "{"
    for name, (value, kind) in fields.items():
        # A cast writes TRUE for true.
        number = kind in (Type.INT64, Type.FLOAT64)
        printed = f"CAST({value} AS STRING)" if number else f"JSON_STRING({value})"
        parts += [text(f'{opening}"{name}":'), f"COALESCE({printed}, 'null')"]
        opening = ","
    return f"CONCAT({', '.join([*parts, text('}')])})" if parts else "'{}'"


def _newest(view: View) -> str:
    row = _object({f"v{i}": (f"`{n.column}`", n.type) for i, n in enumerate(view.newest)})
    return f"MAX(CONCAT({place_sql()}, {row}))"


def _panes(
    name: str,
    kafka: Kafka,
    topic: str,
    shard_keys: Sequence[str],
    gathered: Sequence[str],
    progress: str,
    every_ms: int,
    *,
    unkeyed: str,
    items: str,
    bins: Sequence[Bins] = (),
) -> tuple[list[str], str]:
    """Gather items and progress per shard and pane into one message each."""
    beats = [
        f"SELECT {shard} AS shard, pane_time, pane, CAST(NULL AS STRING) AS item, "
        + (f"n, {unkeyed} AS unkeyed" if shard == 0 else "CAST(0 AS BIGINT), CAST(0 AS BIGINT)")
        + f"{columns(bins, {})} FROM `{progress}__progress`"
        for shard in range(len(shard_keys))
    ]
    union = f"CREATE TEMPORARY VIEW `{name}__items` AS " + " UNION ALL ".join([*gathered, *beats])
    sink = (
        f"CREATE TEMPORARY TABLE `{name}__panes` (shard STRING, message STRING) "
        f"{kafka.writing(topic, key='shard')}"
    )
    keys = " ".join(f"WHEN {i} THEN {text(key)}" for i, key in enumerate(shard_keys))
    lists = "".join(f"'],\"b{i}\":[', ARRAY_JOIN(ARRAY_AGG(b{i}), ','), " for i in range(len(bins)))
    # LISTAGG copies all of its text for every item: at a thousand tiles a pane this window took ten
    # times as long with it (4.3 s against 0.4 s for 500 panes).
    message = (
        "CONCAT('{\"end\":', CAST(MAX(pane) AS STRING), ',\"rows\":', CAST(SUM(n) AS STRING), "
        "',\"unkeyed\":', CAST(SUM(unkeyed) AS STRING), "
        f"',\"{items}\":[', ARRAY_JOIN(ARRAY_AGG(item), ','), {lists}']}}')"
    )
    insert = (
        f"INSERT INTO `{name}__panes` SELECT CASE shard {keys} END, {message} "
        f"FROM `{name}__items` GROUP BY shard, TUMBLE(pane_time, {interval(every_ms)})"
    )
    return [union, sink], insert


def decisions_sql(
    source: Origin, identity: str, every_ms: int, kafka: Kafka, *, topic: str, shard_key: str
) -> tuple[list[str], str]:
    """Print the panes of decisions: the same message as a view's, with ``decisions`` in it.

    A row is ``{"at", "partition", "offset", <every column of the source>}``.
    """
    names = [name for name in source.types if name != "at"]
    fields = ", ".join(f"'{name}' VALUE `{name}`" for name in ("at", "partition", "offset", *names))
    # Not gathered straight from the rows: the pane's end comes from a window of one row's own.
    rows = (
        f"SELECT 0 AS shard, rowtime AS pane_time, (`at` / {every_ms} + 1) * {every_ms} AS pane, "
        f"JSON_OBJECT({fields} NULL ON NULL) AS item, CAST(0 AS BIGINT) AS n, "
        f"CAST(0 AS BIGINT) AS unkeyed FROM `{source.name}` WHERE `{identity}` IS NOT NULL"
    )
    return _panes(
        "decision",
        kafka,
        topic,
        [shard_key],
        [rows],
        source.name,
        every_ms,
        unkeyed="CAST(0 AS BIGINT)",
        items="decisions",
    )


def _label(label: Expression) -> str:
    """Print a label; NULL, and so no example, where a number in it leaves its type.

    NotYet: such an outcome should be a dead letter, as a row with such a derived column is; for
    this the outcome's source must know the label, so that both jobs refuse the row.
    """
    checks = [f"{check} IS FALSE" for check in range_checks(label, "flink")]
    printed = label.sql("flink")
    return f"CASE WHEN NOT ({' OR '.join(checks)}) THEN {printed} END" if checks else printed


def examples_sql(
    outcome: Origin,
    identity: str,
    labels: Mapping[str, Expression],
    *,
    within_ms: int,
    every_ms: int,
    kafka: Kafka,
    predictions: str,
    topic: str,
    shard_key: str,
) -> tuple[list[str], str]:
    """Print the join of predictions with their outcomes, in panes of the outcome's time.

    It is an interval join said as a window: the newest prediction of the same id within
    `within_ms` before the outcome. Flink's own interval join holds its watermark back by the whole
    interval, so that panes of examples would come two days late.

    Of several labels, by the names of their tasks, each that is not null makes an example.
    """
    label = next(iter(labels.values()))
    several = len(labels) > 1
    no_task = ", CAST(NULL AS STRING) AS task" if several else ""
    log = f"""CREATE TEMPORARY TABLE `predictions__log` (
  id STRING, prediction STRING,
  rowtime TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  WATERMARK FOR rowtime AS rowtime - {interval(1)}
) {kafka.reading(predictions, 0).replace("'format' = 'raw'", _KEYED)}"""
    no_prediction = "CAST(NULL AS STRING) AS prediction"
    no_label = f"CAST(NULL AS {label.type.flink})"
    # A stream may have no row for long: the times of its sources make panes complete.
    below = roots(outcome) if outcome not in roots(outcome) else ()
    times = "".join(
        f"\nUNION ALL\nSELECT CAST(NULL AS STRING), rowtime, {no_prediction}, `at`, "
        f"CAST(NULL AS INT), CAST(NULL AS BIGINT), {no_label}{no_task} FROM `{source.name}`"
        for source in below
    )
    own = "\nUNION ALL\n".join(
        f"SELECT `{identity}`, rowtime, {no_prediction}, `at`, `partition`, `offset`, "
        f"{_label(each)}{f', {text(task)}' if several else ''}\nFROM `{outcome.name}`"
        for task, each in labels.items()
    )
    both = f"""CREATE TEMPORARY VIEW `labelled__both` AS
SELECT id, rowtime, prediction, TRY_CAST(COALESCE(
    JSON_VALUE(prediction, '$.at'), JSON_VALUE(prediction, '$.through')) AS BIGINT) AS `at`,
  CAST(NULL AS INT) AS `partition`,
  CAST(NULL AS BIGINT) AS `offset`, {no_label} AS label{no_task}
FROM `predictions__log` WHERE prediction IS NOT NULL
UNION ALL
{own}{times}"""
    joined = f"""CREATE TEMPORARY VIEW `labelled` AS
SELECT *, LAST_VALUE(prediction) OVER (PARTITION BY id ORDER BY rowtime
  RANGE BETWEEN {interval(within_ms)} PRECEDING AND CURRENT ROW) AS decided
FROM `labelled__both` WHERE id IS NOT NULL"""
    progress = f"""CREATE TEMPORARY VIEW `examples__progress` AS
SELECT TUMBLE_ROWTIME(rowtime, {interval(every_ms)}) AS pane_time,
  {pane_end(every_ms)} AS pane, COUNT(label) AS n
FROM `labelled__both` GROUP BY TUMBLE(rowtime, {interval(every_ms)})"""
    # A number's text reads back to the same bits; of a bool it would be TRUE, which is no JSON.
    said = "CAST(label AS STRING)"
    if label.type is Type.BOOL:
        said = "CASE WHEN label THEN 'true' ELSE 'false' END"
    elif label.type is Type.STRING:
        said = "JSON_STRING(label)"
    task = "',\"task\":', JSON_STRING(task), " if several else ""
    item = (
        "CONCAT('{\"at\":', CAST(`at` AS STRING), ',\"partition\":', CAST(`partition` AS STRING), "
        "',\"offset\":', CAST(`offset` AS STRING), "
        f"{task}',\"label\":', {said}, ',\"prediction\":', decided, '}}')"
    )
    rows = (
        f"SELECT 0 AS shard, rowtime AS pane_time, (`at` / {every_ms} + 1) * {every_ms} AS pane, "
        f"{item} AS item, CAST(0 AS BIGINT) AS n, CAST(0 AS BIGINT) AS unkeyed FROM `labelled` "
        "WHERE label IS NOT NULL AND decided IS NOT NULL"
    )
    statements, insert = _panes(
        "examples",
        kafka,
        topic,
        [shard_key],
        [rows],
        "examples",
        every_ms,
        unkeyed="CAST(0 AS BIGINT)",
        items="examples",
    )
    return [log, both, joined, progress, *statements], insert


_KEYED = (
    "'key.format' = 'raw', 'key.fields' = 'id', 'value.format' = 'raw', "
    "'value.fields-include' = 'EXCEPT_KEY'"
)
