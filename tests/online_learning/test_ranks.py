"""Ranks: a batch is cut, and what is learned depends on the log and on their number alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.jobs.machine.waiting import wait_until
from headrace.online_learning.learning import Learning
from headrace.online_learning.models import losses
from headrace.online_learning.models.batched import Batched, DcnV2, DeepFm, Dlrm, WideAndDeep
from headrace.online_learning.models.model import State
from headrace.online_learning.models.multitask import Mmoe
from headrace.online_learning.settings import LearningError
from headrace.operators.errors import CorruptError, EnvironmentProblem
from tests.online_learning.made_up import log
from tests.online_learning.model_laws import crashes_lose_nothing, cuts_change_no_bit
from tests.online_learning.test_batched import ENCODING, SMALL, TOLD, rows
from tests.online_learning.test_learner import feed, learning

if TYPE_CHECKING:
    from headrace.online_learning.deep.ranks import Ranks

torch = pytest.importorskip("torch", reason="no torch found: the extra `deep` has it")

TWO, THREE = replace(SMALL, ranks=2), replace(SMALL, ranks=3)
NETS: list[Batched] = [
    DcnV2(batch=17, width=4, ranks=2),
    DeepFm(batch=16, width=4, ranks=3),
    Dlrm(batch=16, width=4, ranks=3),
    WideAndDeep(batch=1024, width=4, ranks=2),
]
LEARNER = replace(TOLD, model=TWO)


def those(kind: Batched) -> Ranks:
    from headrace.online_learning.deep.ranks import ranks_of

    seconds = kind.rank_timeout_ms / 1000
    return ranks_of(kind.ranks, threads=kind.threads, timeout_seconds=seconds)


@pytest.fixture(scope="module", autouse=True)
def shared() -> Iterator[None]:
    """Hold the ranks, so that not every model starts its own."""
    held = [those(kind) for kind in (TWO, THREE)]
    yield
    for ranks in held:
        ranks.close()


def learned(kind: Batched, count: int = 400) -> State:
    model = kind.blank(ENCODING)
    model.advance(*rows(count))
    return model.state()


def by_hand(kind: Batched, count: int) -> dict[str, NDArray[np.float32]]:
    """Let a net alone learn in this process, part by part: gradients are added in their order."""
    from headrace.online_learning.deep.divided import parts
    from headrace.online_learning.deep.part import DeepPart

    inputs, steps = rows(count)
    assert steps.at is not None
    deep = DeepPart(kind.net(ENCODING))
    own = np.flatnonzero(~np.isnan(steps.labels))
    for start in range(0, len(own) - kind.batch + 1, kind.batch):
        some = own[start : start + kind.batch]
        numbers = inputs.numbers[some]
        p = losses.probabilities(deep.score(inputs.ids[some], numbers) + steps.offset)
        told = torch.from_numpy(((p - steps.labels[some]) * inputs.weights[some]).astype("f4"))
        at = deep.table.sight(inputs.ids[some], at=steps.at[some])
        lines, total = [], torch.zeros_like(deep.dense.gradient)
        for part in parts(kind.batch, kind.ranks):
            leaf = deep.table.gather(at[part]).requires_grad_()
            dense = torch.from_numpy(numbers[part].astype("f4")).clamp(-10, 10)
            torch.autograd.backward(deep.net(leaf, dense), told[part].reshape(-1, 1))
            lines.append(leaf.grad)
            total += deep.dense.gradient
            deep.dense.gradient.zero_()
        deep.dense.gradient.copy_(total)
        deep.dense.step(kind.batch)
        deep.table.learn(at, torch.cat(lines))
    return dict(deep.state().arrays)


@pytest.mark.parametrize("kind", NETS, ids=lambda kind: f"{kind.name} in {kind.ranks}")
def test_processes_learn_what_one_does_part_by_part(kind: Batched) -> None:
    count = 5 * kind.batch
    found, expected = learned(kind, count).arrays, by_hand(kind, count)
    for name, array in expected.items():
        assert np.array_equal(found[f"deep/{name}"], array), name


@pytest.mark.parametrize("kind", [TWO, THREE], ids=["2", "3"])
def test_a_cut_anywhere_with_a_snapshot_between_changes_no_bit(kind: Batched) -> None:
    cuts_change_no_bit(kind, ENCODING, *rows(), examples=8)


def test_more_ranks_learn_nearly_the_same_and_not_the_same_bits() -> None:
    one, two = learned(SMALL).arrays, learned(TWO).arrays
    assert one.keys() == two.keys()
    for name, array in one.items():
        assert np.allclose(array, two[name], rtol=1e-5, atol=1e-6), name
    assert not np.array_equal(one["deep/dense.weights"], two["deep/dense.weights"])


@pytest.mark.parametrize("count", [511, 512, 1000])
def test_to_predict_with_ranks_changes_no_bit(count: int) -> None:
    """Where they learned nothing yet, and after a state was taken up."""
    inputs, _ = rows(count)
    one, three = SMALL.blank(ENCODING).deep, THREE.blank(ENCODING).deep
    for _ in range(2):
        told = one.score(inputs.ids, inputs.numbers)
        assert np.array_equal(three.score(inputs.ids, inputs.numbers), told)
        learning = SMALL.blank(ENCODING)
        learning.advance(*rows())
        one.restore(learning.deep.state())
        three.restore(learning.deep.state())


def test_several_tasks_are_shared_alike() -> None:
    one = Mmoe(batch=16, width=4, device="cpu")
    inputs, steps = rows(600)
    steps = replace(steps, labels=2 * (steps.rows % 2) + steps.labels)
    models = [replace(one, ranks=ranks).blank(ENCODING) for ranks in (1, 2)]
    alone, shared = (model.advance(inputs, steps) for model in models)
    assert np.allclose(alone, shared, rtol=1e-4)
    models[0].restore(models[1].state())
    told, other = (model.deep.score(inputs.ids, inputs.numbers) for model in models)
    assert np.array_equal(told, other)
    assert told.shape == (600, 2)
    some, part = rows(150)
    part = replace(part, labels=2 * (part.rows % 2) + part.labels)
    cuts_change_no_bit(replace(one, ranks=2), ENCODING, some, part, examples=4)


def test_models_of_several_nets_share_their_ranks() -> None:
    """Each batch is of the weights of the model whose it is."""
    kinds = [TWO, replace(TWO, hidden=(8,)), replace(TWO, seed=2)]
    inputs, steps = rows()
    alone = [learned(kind, 150) for kind in kinds]
    models = [kind.blank(ENCODING) for kind in kinds]
    for start in range(0, 150, 10):
        for model in models:
            model.advance(inputs, steps.part(start, start + 10))
    for model, state in zip(models, alone, strict=True):
        found = model.state().arrays
        assert all(np.array_equal(found[name], array) for name, array in state.arrays.items())


def test_layers_of_one_net_are_told_apart() -> None:
    from headrace.online_learning.deep.divided import Divided
    from headrace.online_learning.deep.part import DeepPart

    settings, ranks = TWO.net(ENCODING), those(TWO)
    one, other = (DeepPart(settings, Divided(settings, ranks)) for _ in range(2))
    inputs, _ = rows(1000)
    for part, signal_of in ((one, 1.0), (other, -1.0)):
        part.logits(inputs.ids, inputs.numbers, at=np.zeros(1000, np.int64))
        part.learn(np.full(1000, signal_of))
    said = [part.score(inputs.ids, inputs.numbers) for part in (one, other)]
    alone = [DeepPart(settings), DeepPart(settings)]
    for part, shared, expected in zip(alone, (one, other), said, strict=True):
        part.restore(shared.state())
        assert np.array_equal(part.score(inputs.ids, inputs.numbers), expected)


def test_a_learner_with_ranks_loses_nothing_by_a_crash(tmp_path: Path) -> None:
    crashes_lose_nothing(tmp_path, LEARNER, log(), (3, 9))


def undisturbed(folder: Path, told: Learning) -> str:
    with learning(folder, told) as learner:
        feed(learner, [(50, 10)])
        return learner.digest()


def lost(folder: Path, told: Learning, number: int, named: str) -> None:
    """Let a rank get a signal amid the log: the learner ends with an error, and no rank stays."""
    with learning(folder, told) as learner:
        assert not feed(learner, [(30, 5)], steps=9)
        assert isinstance(told.model, Batched)
        pids = those(told.model).pids
        os.kill(pids[-1], number)
        with pytest.raises(EnvironmentProblem, match=named):
            feed(learner, [(30, 5)])
        assert not [pid for pid in pids if alive(pid)]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (signal.SIGKILL, THREE, "it was ended by SIGKILL"),
        (signal.SIGSTOP, replace(TWO, rank_timeout_ms=4_000), "it did not answer within 4 s"),
    ],
    ids=["killed", "stopped"],
)
def test_a_rank_that_is_lost_is_named_and_the_learner_goes_on(
    tmp_path: Path, number: int, kind: Batched, words: str
) -> None:
    told = replace(LEARNER, model=kind)
    expected, last = undisturbed(tmp_path / "whole", told), kind.ranks - 1
    named = rf"asked rank {last} of {kind.ranks} \(process \d+\) for its part; {words}; start the"
    lost(tmp_path, told, number, named)
    with learning(tmp_path, replace(LEARNER, model=replace(kind, rank_timeout_ms=60_000))) as one:
        assert one.offsets["predictions"] > 0  # of a snapshot
        feed(one, [(11, 3), (50, 9)])
        assert one.digest() == expected


_HELD = """
import sys, time, torch
from headrace.online_learning.deep.divided import Divided
from headrace.online_learning.deep.ranks import Ranks
from headrace.online_learning.deep.settings import Deep, Field

ranks = Ranks(int(sys.argv[2]), threads=1, timeout_seconds=60.0)
layers = Divided(Deep((Field("a"),)), ranks)
if sys.argv[1] == "come up":
    ranks._up(time.monotonic() + 60)  # now they wait for this one, which does not join
print(*ranks.pids, flush=True)
for line in sys.stdin:
    print(len(layers.score(torch.zeros(1000, 16), torch.zeros(1000, 0))), flush=True)
"""


@pytest.mark.parametrize(("amid", "count"), [("work", 3), ("come up", 2), ("start", 2)])
def test_ranks_go_on_when_told_to_stop_and_end_with_their_learner(amid: str, count: int) -> None:
    argv, pipe = [sys.executable, "-c", _HELD, amid, str(count)], subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, bufsize=0) as learner:
        assert learner.stdin is not None
        assert learner.stdout is not None
        pids = [int(pid) for pid in learner.stdout.readline().split()]
        assert len(pids) == count - 1
        for _ in range(2 * (amid == "work")):
            learner.stdin.write(b"go on\n")
            assert learner.stdout.readline() == b"1000\n"
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
        learner.kill()
    wait_until(lambda: not any(map(alive, pids)), 60.0, "the end of the ranks")


def test_ranks_listen_on_the_loopback_interface_alone() -> None:
    model = TWO.blank(ENCODING)
    model.advance(*rows())
    links = [link for pid in those(TWO).pids for link in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {str(link.readlink()) for link in links if link.is_symlink()}
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line.split() for path in tables for line in path.read_text().splitlines()[1:]]
    local = [line[1].split(":")[0] for line in lines if f"socket:[{line[9]}]" in inodes]
    assert local
    assert set(local) <= {"0100007F", f"{0:024x}01000000", "0000000000000000FFFF00000100007F"}


def test_a_snapshot_of_other_ranks_is_refused(tmp_path: Path) -> None:
    with learning(tmp_path, LEARNER) as learner:
        feed(learner, [(50, 10)], steps=9)
        learner.snapshot_now()
    for ranks in (1, 3):
        told = replace(LEARNER, model=replace(TWO, ranks=ranks))
        with (
            pytest.raises(CorruptError, match="made under other settings"),
            learning(tmp_path, told),
        ):
            pass


def test_one_rank_is_what_it_was_and_starts_none() -> None:
    assert "ranks" not in SMALL.facts
    assert TWO.facts == {**SMALL.facts, "ranks": 2}
    assert replace(TWO, rank_timeout_ms=1).facts == TWO.facts
    text = (
        "import sys; from tests.online_learning.test_batched import ENCODING, SMALL, rows\n"
        "SMALL.blank(ENCODING).advance(*rows())\n"
        "print('headrace.online_learning.deep.ranks' in sys.modules)"
    )
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-c", text]
    assert subprocess.check_output(argv, env={**os.environ, **root}, text=True) == "False\n"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"ranks": 0}, "asked for ranks = 0"),
        ({"ranks": 3, "batch": 2}, "a batch has 2 labels, and each rank learns a part"),
        ({"ranks": 2, "device": "cuda"}, "the device is 'cuda'"),
    ],
)
def test_what_cannot_be_is_refused(told: dict[str, Any], words: str) -> None:
    with pytest.raises(LearningError, match=words):
        replace(DcnV2(), **told)
