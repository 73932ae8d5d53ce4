"""OpenLineage: that a job runs, what it reads, what it writes, which column is made of which.

::

    OPENLINEAGE_URL=… ──► START ─► RUNNING with each version of a model ─► COMPLETE, FAIL, ABORT
                           └────────────┴── a queue, and a thread beside the process ─► backend
    no such variable  ──► nothing is imported, nothing is told

What a backend does not take is dropped, and that is said once: no job waits for it. An event has
names and types as they are declared, never what a row contains or what an error says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from headrace.jobs.lineage.datasets import Dataset, Field, Flow, flow
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Run", "running", "wanted"]

_MOST_WAITING = 100
_END_SECONDS = 2.0
"""How much later a process ends for what is not told yet."""
_log = logging.getLogger(__name__)


def wanted(environment: Mapping[str, str]) -> bool:
    """Say whether the variables of OpenLineage's client ask for events.

    >>> wanted({"OPENLINEAGE_URL": "http://there"}), wanted({})
    (True, False)
    >>> wanted({"OPENLINEAGE_CONFIG": "lineage.yml", "OPENLINEAGE_DISABLED": "true"})
    False
    """
    if environment.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    named = any(environment.get(f"OPENLINEAGE_{name}") for name in ("URL", "CONFIG"))
    return named or any(name.startswith("OPENLINEAGE__TRANSPORT__") for name in environment)


class Run:
    """One run of a job, from its start to its end; of one that nobody asked for nothing is told."""

    def __init__(self, job: str, *, batch: bool, flows: Callable[[], Flow] | None) -> None:
        self._job, self._batch, self._flows = job, batch, flows
        self._flow: Flow | None = None
        self._id = ""
        self._version = 0
        self._sender = _Sender() if flows else None

    def say(self, state: str, error: str = "") -> None:
        """Tell that it began, goes on, or ended."""
        if self._sender is not None:
            now = datetime.now(UTC).isoformat()
            self._sender.put(partial(self._event, state, now, self._version, error))

    def version(self, number: int) -> None:
        """Tell that it has written a version of its model, unless it was told before."""
        if number > self._version:
            self._version = number
            self.say("RUNNING")

    def close(self) -> None:
        """Tell what is left, but do not wait long for that."""
        if self._sender is not None:
            self._sender.close()

    def _event(self, state: str, at: str, version: int, error: str) -> Any:
        """Make an event; in the thread that tells it."""
        from openlineage.client import event_v2, facet_v2
        from openlineage.client.uuid import generate_new_uuid

        self._id = self._id or str(generate_new_uuid())
        kind = "BATCH" if self._batch else "STREAMING"
        typed = facet_v2.job_type_job.JobTypeJobFacet(
            processingType=kind, integration="HEADRACE", jobType="JOB"
        )
        failed = facet_v2.error_message_run.ErrorMessageRunFacet(error, "PYTHON")
        if self._flow is None:
            self._flow = self._flows() if self._flows else Flow((), ())
        told = self._flow
        return event_v2.RunEvent(
            eventType=event_v2.RunState[state],
            eventTime=at,
            run=event_v2.Run(self._id, {"errorMessage": failed} if error else {}),
            job=event_v2.Job(
                os.environ.get("OPENLINEAGE_NAMESPACE", "headrace"), self._job, {"jobType": typed}
            ),
            inputs=[
                event_v2.InputDataset(*each.place, facets=_facets(each)) for each in told.inputs
            ],
            outputs=[
                event_v2.OutputDataset(*each.place, facets=_facets(each, version))
                for each in told.outputs
            ],
        )


@contextmanager
def running(
    pipeline: Pipeline, job: str, bootstrap: str, state: Path, *, ends: bool = True
) -> Iterator[Run]:
    """Tell of a job for as long as the context lasts.

    With `ends` false it goes on elsewhere when the context is left, and no end is told.
    """
    flows = partial(flow, pipeline, job, bootstrap, state) if wanted(os.environ) else None
    run = Run(f"{pipeline.name}.{job}", batch=job == "backfill", flows=flows)
    run.say("START")
    try:
        yield run
        if ends:
            run.say("COMPLETE")
    except SystemExit as ended:  # so a job of Flink's ends that has not begun yet
        run.say("COMPLETE" if ended.code in (0, None) else "ABORT")
        raise
    except Exception as error:
        run.say("FAIL", type(error).__name__)
        raise
    except BaseException:
        run.say("ABORT")
        raise
    finally:
        run.close()


class _Sender:
    """The thread that tells, and what waits for it."""

    def __init__(self) -> None:
        self._said = False
        self._queue: queue.Queue[Callable[[], Any] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="lineage", daemon=True)
        self._thread.start()

    def put(self, event: Callable[[], Any]) -> None:
        """Have it told; where too much waits it is dropped."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._say("too much waits for an answer")

    def _run(self) -> None:
        try:
            client = _client()
        except ModuleNotFoundError:
            self._say("install headrace[lineage]")
            return
        except Exception as error:  # noqa: BLE001  # the top of a thread: of a client's settings
            self._say(f"its settings are refused: {type(error).__name__}")
            return
        while (event := self._queue.get()) is not None:
            try:
                client.emit(event())
            except Exception as error:  # noqa: BLE001  # the top of a thread: any transport's
                self._say(f"{type(error).__name__}; it is tried again with the next event")
        with contextlib.suppress(Exception):
            client.close(_END_SECONDS)

    def _say(self, why: str) -> None:
        """Say that nothing arrives, once."""
        if not self._said:
            self._said = True
            _log.warning(
                "lineage, which OPENLINEAGE_… asks for, is not told, and this not said again: %s",
                why,
            )

    def close(self) -> None:
        """Wait a little for what is left; not where it was in vain before."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(0.0 if self._said else _END_SECONDS)


def _client() -> Any:
    from openlineage.client import OpenLineageClient, set_producer

    # What fails is said once, here, and not with each try.
    for name in ("openlineage", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    set_producer(f"urn:headrace:{metadata.version('headrace')}")
    # Where this process was started is no place of the pipeline's code, and its address may have a
    # password in it; who wants it told says so in a setting of the client's.
    return OpenLineageClient(config={"facets": {"source_code_location": {"disabled": True}}})


def _facets(dataset: Dataset, version: int = 0) -> dict[str, Any]:
    from openlineage.client import facet_v2

    found: dict[str, Any] = {}
    if dataset.fields:
        kind = facet_v2.schema_dataset
        fields = [
            kind.SchemaDatasetFacetFields(name, each.type) for name, each in dataset.fields.items()
        ]
        found["schema"] = kind.SchemaDatasetFacet(fields)
    made = {name: _lineage(each) for name, each in dataset.fields.items() if each.of}
    if made:
        found["columnLineage"] = facet_v2.column_lineage_dataset.ColumnLineageDatasetFacet(made)
    if version and dataset.versioned:
        found["version"] = facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(str(version))
    return found


def _lineage(column: Field) -> Any:
    from openlineage.client.facet_v2 import column_lineage_dataset as facet

    how = [facet.Transformation("DIRECT", "IDENTITY" if column.same else "TRANSFORMATION")]
    return facet.Fields([facet.InputField(*place, name, how) for place, name in sorted(column.of)])
