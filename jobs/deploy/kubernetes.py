"""headrace deploy kubernetes: a folder of resources, and of what their images are made of.

::

    pipeline ─┐          pipeline.yaml   the file itself, as a ConfigMap
    target   ─┴─ checked ┬─► views.yaml, labels.yaml    FlinkDeployments
                         ├─► store.yaml, learner.yaml   StatefulSets, volumes, Services
                         ├─► shards.yaml                where the store has shards
                         ├─► network.yaml, monitoring.yaml
                         └─► Dockerfile.jobs, Dockerfile.processes

The same pipeline and target give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ruamel.yaml import YAML

from headrace.jobs.deploy import around, images, processes
from headrace.jobs.deploy.flink_jobs import flink_job
from headrace.jobs.deploy.pods import Value
from headrace.jobs.deploy.target import Target, checked
from headrace.jobs.machine.flink import FLINK_JOBS
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.pipeline import Pipeline

__all__ = ["resources", "write"]

_WIDTH = 1000  # no value is broken into lines


def resources(pipeline: Pipeline, target: Target) -> dict[str, list[Value]]:
    """Give the resources by the file that they stand in.

    Raises
    ------
    EnvironmentProblem, UnknownName
        Where the pipeline cannot run in pods.

    """
    checked(pipeline, target)
    return {
        "pipeline.yaml": [around.config_map(pipeline, target)],
        **{f"{job}.yaml": [flink_job(pipeline, target, job)] for job in FLINK_JOBS},
        "store.yaml": processes.store(pipeline, target),
        **(
            {"shards.yaml": processes.shards(pipeline, target)} if pipeline.store_shards > 1 else {}
        ),
        "learner.yaml": processes.learner(pipeline, target),
        "network.yaml": around.policies(pipeline, target),
        "monitoring.yaml": around.monitors(pipeline, target),
    }


def write(pipeline: Pipeline, target: Target, folder: Path) -> list[Path]:
    """Write everything into a folder, over what stands there by these names; give the paths."""
    found = resources(pipeline, target)
    texts: Mapping[str, str] = {
        **{name: _yaml(each) for name, each in found.items()},
        "Dockerfile.jobs": images.jobs(target),
        "Dockerfile.processes": images.processes_image(target),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        asked, do = f"asked to write into {folder}", "choose another folder by --out"
        raise EnvironmentProblem(asked, str(error.strerror), do) from error
    return [folder / name for name in texts]


def _yaml(documents: Sequence[Value]) -> str:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.width = _WIDTH
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # it is a bool
    writer.representer.ignore_aliases = lambda *_: True  # what two parts share is written twice
    text = io.StringIO()
    writer.dump_all(documents, text)
    return text.getvalue()
