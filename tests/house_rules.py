"""House rules that a pattern in one line can hold; ruff, mypy and import-linter hold the others.

Run as a script it prints `path:line: reason` for each breach and exits 1 if there was one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RULES", "Rule", "breaches"]

ROOT = Path(__file__).parent.parent
_OURS = "feature_store jobs online_learning operators pipelines tests"


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern that no line may match, the folders it holds in, and the reason.

    `except_in` names files, by how their path begins, where the line may stand.
    """

    name: str
    pattern: str
    reason: str
    folders: str = _OURS
    suffixes: tuple[str, ...] = (".py",)
    except_in: tuple[str, ...] = ("tests/test_house_rules.py", "tests/house_rules.py")


RULES = (
    Rule(
        "code from data",
        r"\b(pickle|cloudpickle|dill|joblib|shelve|marshal)\.(loads?|dumps?|open)\b"
        r"|\btorch\.load\(|\byaml\.(unsafe_|full_)?load\(|(?<![\w.])(eval|exec)\(",
        "no deserialiser that can run code, no eval, no exec",
    ),
    Rule(
        "broad except",
        r"\bexcept\s*(:|\(?\s*(Base)?Exception\b)",
        "only the top of a job may catch everything",
        folders="feature_store online_learning operators pipelines tests",
    ),
    Rule(
        "sleep in a test",
        r"\bsleep\(",
        "wait for a condition with a deadline",
        folders="tests",
    ),
    Rule(
        "offset reset",
        r"auto[._]offset[._]reset['\"]?\s*[:=]\s*['\"](latest|earliest|smallest|largest)",
        "a lost offset is an error that says what was lost, never a silent reset",
    ),
    Rule(
        "clock in an operator",
        r"\btime\.time(_ns)?\(|\b(datetime|date)\.(now|today|utcnow)\(",
        "what is computed depends on the log and on t: time comes in as an argument",
        folders="operators",
    ),
    Rule(
        "commit",
        r"execute\(\s*f?['\"](BEGIN|COMMIT|ROLLBACK)|\.(commit|begin)\(\)",
        "after a failed statement COMMIT answers success: Catalogue.transaction() is the one way",
        except_in=(
            "feature_store/catalogue.py",
            "tests/chaos_kills.py",
            "tests/test_house_rules.py",
            "tests/house_rules.py",
        ),
    ),
    Rule(
        "bare type: ignore",
        r"#\s*type:\s*ignore(?!\[[a-z-]+(, ?[a-z-]+)*\]\s+#\s*\S)",
        "write `# type: ignore[code]  # reason`",
    ),
    Rule(
        "address in a lock",
        r"://|--(extra-)?index-url|--find-links|--trusted-host",
        "a lock names packages and hashes, not the places they come from",
        folders="requirements",
        suffixes=(".txt", ".in"),
    ),
)


def breaches(root: Path = ROOT, rules: tuple[Rule, ...] = RULES) -> Iterator[str]:
    """Each breach below `root`, as `path:line: name: reason`."""
    for rule in rules:
        pattern = re.compile(rule.pattern)
        for path in _files(root, rule):
            name = path.relative_to(root).as_posix()
            for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
                if pattern.search(line):
                    yield f"{name}:{number}: {rule.name}: {rule.reason}"


def _files(root: Path, rule: Rule) -> Iterator[Path]:
    for folder in rule.folders.split():
        for path in sorted((root / folder).rglob("*")):
            exempt = path.relative_to(root).as_posix().startswith(rule.except_in)
            if path.suffix in rule.suffixes and not exempt:
                yield path


if __name__ == "__main__":
    found = list(breaches())
    sys.stdout.writelines(f"{breach}\n" for breach in found)
    sys.exit(1 if found else 0)
