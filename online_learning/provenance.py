"""Which code on which machine makes a version: beside the version, no part of what it is."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

__all__ = ["code_digest", "provenance"]

_FOLDERS = ("operators", "online_learning", "pipelines", "feature_store", "jobs")
_PACKAGES = ("headrace", "numpy", "numba", "pyarrow", "torch")


def provenance(pipeline: str) -> dict[str, Any]:
    """Say it in words of JSON.

    Parameters
    ----------
    pipeline
        The digest of the pipeline that is run.

    Examples
    --------
    >>> sorted(provenance("e3b0"))
    ['code', 'machine', 'packages', 'pipeline', 'python']
    """
    return {
        "pipeline": pipeline,
        "code": code_digest(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


@cache
def code_digest() -> str:
    """Hash every module of headrace, as it is installed."""
    whole = hashlib.sha256()
    for folder in _FOLDERS:
        for name, data in sorted(_modules(files(f"headrace.{folder}"), folder)):
            whole.update(f"{name} {len(data)}\n".encode() + data)
    return whole.hexdigest()


def _modules(folder: Traversable, name: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            found += _modules(entry, f"{name}/{entry.name}")
        elif entry.name.endswith(".py"):
            found.append((f"{name}/{entry.name}", entry.read_bytes()))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
