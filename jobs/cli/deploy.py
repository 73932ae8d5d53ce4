"""The commands that write a pipeline down for a cluster: ``headrace deploy kubernetes``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["deploy"]

deploy = typer.Typer(no_args_is_help=True, help="Write a pipeline down for a cluster.")


@deploy.callback()
def _deploy() -> None:
    """Keep `kubernetes` a command of its own, though it is the only one so far."""


@deploy.command()
def kubernetes(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline's YAML file.")],
    image: Annotated[str, typer.Option(help="Registry and name of the images, without a tag.")],
    out: Annotated[Path, typer.Option(help="The folder to write into.")],
    checkpoints: Annotated[
        str | None, typer.Option(help="s3://bucket/folder; that of the file's flink: unless given.")
    ] = None,
    parallelism: Annotated[
        int | None, typer.Option(min=1, help="Of the views job; the file's unless given.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What resources begin with; the pipeline's unless given.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="kubectl's unless given.")] = None,
    secret: Annotated[
        str | None, typer.Option(help="The Secret with what `env:` names; NAME unless given.")
    ] = None,
    storage: Annotated[str, typer.Option(help="The size of each volume.")] = "20Gi",
    storage_class: Annotated[
        str | None, typer.Option(help="Of the volumes; the cluster's default unless given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write Kubernetes' resources of a pipeline, and the Dockerfiles of its images."""
    from headrace.jobs.cli.evolve import show
    from headrace.jobs.deploy import deployed
    from headrace.jobs.deploy import kubernetes as writing
    from headrace.jobs.deploy.target import Target, keys
    from headrace.pipelines.load import load

    declared = load(pipeline)
    named = name or declared.name
    target = Target(
        image=image,
        checkpoints=checkpoints or declared.flink.checkpoints or "",
        name=named,
        secret=secret or named,
        namespace=namespace,
        parallelism=parallelism or declared.flink.parallelism,
        storage=storage,
        storage_class=storage_class,
    )
    planned = deployed.checked(declared, out)
    written = writing.write(declared, target, out)
    wanted = sorted(keys(declared, "store"))
    console = Console()
    if as_json:
        images = [target.image_of(what) for what in ("jobs", "processes")]
        paths = [str(path) for path in written]
        console.print_json(
            data={
                "written": paths,
                "images": images,
                "secret": target.secret,
                "keys": wanted,
                "plan": asdict(planned),
            }
        )
        return
    if planned.changes:
        show(console, planned)
    for path in written:
        console.print(f"{path} is written", markup=False, highlight=False, soft_wrap=True)
    console.print(f"the Secret {target.secret} is to have {', '.join(wanted)}", soft_wrap=True)
