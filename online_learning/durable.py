"""Files that are whole or not there: written aside, synced, renamed, and the folder synced."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["sha256", "sync_folder", "write", "write_and_sync"]


def sha256(data: bytes) -> str:
    """Hash bytes as a manifest names them.

    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def write(path: Path, data: bytes) -> None:
    """Put a file at `path` so that a crash at any instant leaves the old one or the new one."""
    aside = path.with_name(f".{path.name}.tmp")
    write_and_sync(aside, data)
    aside.replace(path)
    sync_folder(path.parent)


def write_and_sync(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's names: a rename is not durable before."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
