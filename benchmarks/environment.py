"""An environment of a peer's own: from PyPI by its lock, kept in the folder of state.

A peer pins other versions of what headrace runs on, too; nothing of it comes near ours.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.measure import say

__all__ = ["python_of", "versions_of"]

_ROOT = Path(__file__).parent.parent
_KEPT = _ROOT / ".headrace" / "bench"
_PIP = "install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:"


def python_of(peer: str) -> Path:
    """Give the interpreter of a peer's environment, which is made where it is not there yet.

    Raises
    ------
    SystemExit
        Where pip cannot install it; pip has then said why.

    """
    lock = _ROOT / "requirements" / f"peer-{peer}.txt"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    digest = hashlib.sha256(lock.read_bytes() + version.encode()).hexdigest()[:12]
    folder = _KEPT / f"{peer}-{digest}"
    python, done = folder / "bin" / "python", folder / "done"
    if done.exists():
        return python
    say(f"   installing {peer} into an environment of its own")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    argv = [str(python), "-m", "pip", *_PIP.split(), "-r", str(lock)]
    if subprocess.run(argv, check=False).returncode:
        message = f"asked for the peer {peer}; pip could not install {lock.name}; see above"
        raise SystemExit(message)
    done.touch()
    return python


def versions_of(peer: str) -> dict[str, str]:
    """Give what a peer's environment is asked for, with the versions."""
    asked = (_ROOT / "requirements" / f"peer-{peer}.in").read_text().splitlines()
    return dict(line.split("==") for line in asked if "==" in line)
