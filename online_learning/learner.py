"""A learner as a state machine: messages go in, versions come out, and time is the log's.

    predictions ──► waiting ─┐ complete: at < min(predictions' through, examples' end)
    examples    ──► waiting ─┴─► merge by event time ─► predict · score · learn ─┐
                                              save ◄─ publish ◄─ the gate judges ┘

The order is that of event time. At one instant all predictions come first, then the labels by
(partition, offset); so a decision at t is predicted with every label before t learned and no other.
What is processed at a time, and how messages were cut into batches, changes nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from headrace.online_learning.arrivals import Arrivals, no_inputs
from headrace.online_learning.challengers import Challengers
from headrace.online_learning.checksum import Checksum
from headrace.online_learning.drift_watch import DriftWatch
from headrace.online_learning.encoding import Encoder
from headrace.online_learning.gate import PREDICTORS, Gate
from headrace.online_learning.learning import Learning
from headrace.online_learning.lock import Holder, Lock
from headrace.online_learning.models import model as models
from headrace.online_learning.models.model import Inputs, Kind, Steps, under, within
from headrace.online_learning.moments import Moments
from headrace.online_learning.observer import Note, Observer, Seen
from headrace.online_learning.pending import Pending
from headrace.online_learning.provisional import GIVEN, Learned, Provisional
from headrace.online_learning.registry import Registry
from headrace.online_learning.rivals import Made, Rivals
from headrace.online_learning.scorer import MOMENTS
from headrace.online_learning.scores import result, rows, scores, staleness
from headrace.online_learning.settings import LearningError
from headrace.online_learning.snapshot import FOLDER, Saved, Snapshot, Snapshots
from headrace.online_learning.start import restored
from headrace.online_learning.stepping import INPUTS, course
from headrace.online_learning.verdict import Limits
from headrace.online_learning.version import fault
from headrace.online_learning.waiting import NEVER, Columns
from headrace.online_learning.window_scores import WindowScores
from headrace.operators.evaluation import State

__all__ = ["Advance", "Learner", "registry"]

_SCORES = ("prequential", "served", "prequential_all", "served_all")
_COUNTS = (
    "predictions",  # decisions predicted
    "examples",  # labels learned
    "duplicate_labels",  # of a decision that had one; the first counts
    "early_labels",  # before their decision: learning them would tell the future
    "late_labels",  # longer after their decision than `within_ms`
    "unlabelled",  # decisions forgotten without a label
    "unfit_labels",  # such as the kind of model does not learn: a count below 0
    "provisional",  # learned as negative while their outcome could still come
    "taken_back",  # of these: the outcome was positive
    "restarts",  # times that the model had to begin anew, for a weight was no number
)
_log = logging.getLogger(__name__)

Tell = Callable[[Sequence[Note], int], None]
"""Takes notes, and the number of the first of them among all that there ever were."""


def registry(folder: Path) -> Registry:
    """Open the versions that the learner in `folder` publishes."""
    return Registry(folder / "versions")


@dataclass(frozen=True, slots=True)
class Advance:
    """What a step brought: decisions predicted, labels learned, versions published.

    `through_ms` is the event time before which all is done; None before the first event.
    """

    predictions: int
    examples: int
    versions: tuple[int, ...]
    through_ms: int | None


class Learner:
    """One model that learns in `folder`, going on from the snapshot there.

    Feed both topics from `offsets` on, in order and without gaps, and call `advance` after each
    batch. A crash at any instant loses nothing: a new learner goes on from the last snapshot, and
    the messages read again lead to the same weights, scores and versions, bit for bit.

    Parameters
    ----------
    settings
        What to learn and how.
    folder
        Holds the snapshots, the versions and the lock. One learner at a time.
    tell
        Is given the notes of each step before anything of it is saved. After a crash the same
        notes come again under the same numbers.
    also
        Versions that are written and stay, besides those that would.
    provenance
        Which code and which machine learns; it changes nothing that is learned.

    Raises
    ------
    EnvironmentProblem
        When another learner has the folder.
    CorruptError
        When there are snapshots and none can be used, or they are of other settings.
    """

    def __init__(
        self,
        settings: Learning,
        folder: Path,
        tell: Tell | None = None,
        *,
        also: Collection[int] = (),
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self._tell = tell
        self._notes: list[Note] = []
        self._noted = 0
        self._observers = _observers(settings)
        self._also = frozenset(also)
        self._provenance = provenance or {}
        self._drift = _watch(settings)
        if self._drift is not None:
            self._observers["drift"] = self._drift
        self._lock = Lock(folder)
        self._registry = registry(folder)
        digest, keep = settings.digest, settings.keep
        self._snapshots = Snapshots(folder / FOLDER, digest=digest, keep=keep)
        encoder = Encoder(settings.encoding)
        self._model = settings.model.blank(settings.encoding)
        self._moments = Moments(len(settings.encoding.numbers))
        first = Registry(folder / "first")
        self._rivals = Rivals(settings, first=first)
        self._gate = Gate(settings.gate if settings.model.task != "number" else None)
        self._challengers = _challengers(settings)
        self._read = {name: Checksum() for name in ("predictions", "examples")}
        self._begun = {"predictions": 0, "examples": 0}  # the offsets at the version before
        self._parent = 0
        self._scores = {name: scores(settings.model) for name in (*_SCORES, *self._rivals.names)}
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._through: int | None = None
        self._next_cut: int | None = None
        self._version = 0
        self._offsets = {"predictions": 0, "examples": 0}
        self._pane_end = NEVER  # of the last pane that is done
        whole, real = np.empty(0, np.int64), np.empty(0, np.float64)
        given, of_each = settings.model.room(0), np.empty((0, len(settings.kinds)))
        by = {name: np.empty(0, object) for name in settings.score_by}
        self._pending = Pending(
            {
                **{"decided": whole, "given": given, "labelled": self._unlabelled(0)},
                **{"rivals": self._rivals.unsaid(0), **by},
                **({} if settings.negative_after_ms is None else {"served": real, GIVEN: of_each}),
                **({"contest": of_each} if self._challengers else {}),
            }
        )
        none = no_inputs(settings, encoder)
        after, within = settings.negative_after_ms, settings.within_ms
        self._provisional = None if after is None else Provisional(after, within, none)
        self._began: Mapping[str, Any] | None = None  # what it learned before the log, if it did
        self._restore(folder)
        self._arrivals = Arrivals(
            settings,
            encoder,
            next_seq=self._pending.first + len(self._pending),
            through_ms=self._through_or_never,
            pane_end=self._pane_end,
            knows_ms=self._knows_ms,
        )

    @property
    def holder(self) -> Holder:
        """Name this process, as the lock does."""
        return self._lock.holder

    @property
    def offsets(self) -> dict[str, int]:
        """Give the offset at which to read each topic after a restart, as the last step left it."""
        return dict(self._offsets)

    def predictions(self, batch: Sequence[bytes], next_offset: int) -> None:
        """Take messages of the predictions topic, the last of which is before `next_offset`.

        Messages that were seen are skipped. Null inputs are values of their own.

        Raises
        ------
        LearningError
            When a message cannot be read, or one was lost, or is earlier than what came before.
        """
        self._arrivals.predictions(batch, next_offset)

    def examples(self, batch: Sequence[bytes], next_offset: int) -> None:
        """Take messages of the examples topic, the last of which is before `next_offset`.

        A pane that ends no later than one before it was sent again, and is skipped.

        Raises
        ------
        LearningError
            When a message cannot be read, or an example is not of its pane's time.
        """
        self._arrivals.examples(batch, next_offset)

    def advance(self) -> Advance:
        """Process everything that is complete; publish at each multiple passed, then save.

        Of the versions that this makes only those are written that stay; all have their numbers.
        What is saved is the state at the end: a replay saves once a batch, not once a version.

        Raises
        ------
        LearningError
            When an example tells another time of its decision than the decision did.
        """
        predictions, examples = self._counts["predictions"], self._counts["examples"]
        unfit = self._counts["unfit_labels"]
        horizon = self._arrivals.complete_ms
        published: list[int] = []
        written: set[int] = set()
        if horizon > self._through_or_never:
            every = self.settings.publish_every_ms
            if self._next_cut is None:
                first = self._arrivals.first_ms
                if first is not None and first < horizon:
                    self._next_cut = (first // every + 1) * every
            while self._next_cut is not None and self._next_cut <= horizon:
                self._step(self._next_cut)
                self._next_cut += every
                self._version += 1
                published.append(self._version)
                stays = (horizon - self._next_cut) // every + 1 < self.settings.keep
                if self._publish(written=stays or self._version in self._also):
                    written.add(self._version)
                self._act(self._next_cut - every)
            if horizon > self._through_or_never:
                self._step(horizon)
        self._tell_notes()
        now = self._counts["unfit_labels"]
        if now.bit_length() > unfit.bit_length():  # at the first, then at twice as many
            said = "labels that are none that a model of the kind %r learns are left out: %d so far"
            _log.warning(said, self.settings.model.name, now)
        if published:
            self._name(published[-1], written)
            self._registry.prune(self.settings.keep, self._also)
            self.snapshot_now()
        return Advance(
            self._counts["predictions"] - predictions,
            self._counts["examples"] - examples,
            tuple(published),
            self._through,
        )

    def snapshot_now(self) -> None:
        """Save the state as it is, as for a clean stop; no version is published."""
        self._snapshots.save(self._snapshot())

    def close(self) -> None:
        """Let go of the folder; what is not saved will be learned again."""
        self._lock.release()

    def status(self) -> dict[str, Any]:
        """Say how far the learner is, what it counted, and both scores.

        `prequential` is the trainer's score: each decision predicted with the labels before it.
        `served` is that of the probabilities that were given. Both are over decisions from
        `score_from_ms` on, and with `_all` over every one; a decision counts when its label comes.
        `staleness` is what the served score is behind the trainer's.
        """
        told = {name: result(self._scores[name]) for name in _SCORES}
        return {
            "through_ms": self._through,
            **self._counts,
            "pending": _without(self._pending.rows["labelled"]),
            "waiting": self._arrivals.waiting,
            "versions": self._version,
            "offsets": self.offsets,
            **told,
            "staleness": staleness(told["prequential"], told["served"]),
            "rivals": {name: result(self._scores[name]) for name in self._rivals.names},
            "gate": self._gate.status(),
            **({"challengers": self._challengers.status()} if self._challengers else {}),
        }

    @property
    def saved(self) -> Saved | None:
        """Give when and how the last snapshot of this process was saved."""
        return self._snapshots.saved

    def digest(self) -> str:
        """Hash all that was learned, scored and counted: equal states have equal digests."""
        snapshot = self._snapshot()
        whole = hashlib.sha256(orjson.dumps(snapshot.facts, option=orjson.OPT_SORT_KEYS))
        for name, array in sorted(snapshot.arrays.items()):
            whole.update(f"{name} {array.dtype} {array.shape}".encode())
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()

    @property
    def _knows_ms(self) -> int:
        return NEVER if self._began is None else int(self._began["until_ms"])

    @property
    def _through_or_never(self) -> int:
        return NEVER if self._through is None else self._through

    def _step(self, until: int) -> None:
        """Process everything before `until`."""
        decisions, labels = self._arrivals.take(until)
        self._decide(decisions)
        labels = self._admit(labels)
        self._read["predictions"].add([decisions[n] for n in ("at", "place", "slots", "numbers")])
        self._read["examples"].add([labels[name] for name in ("at", "seq", "decided", "label")])
        final = self._learn(until, decisions, labels)
        self._score(final)
        if self._observers:
            self._look_on(Seen(until, decisions, self._with_what_was_said(final)))
        self._counts["predictions"] += len(decisions["at"])
        self._counts["examples"] += len(labels["at"])
        if len(decisions["at"]):
            self._offsets["predictions"] = int(decisions["place"][-1]) + 1
        for end, place in self._arrivals.panes(until):
            self._pane_end, self._offsets["examples"] = end, place + 1
        self._through = until
        self._forget()

    def _decide(self, decisions: Columns) -> None:
        """Wait for the labels of decisions; what is said of them comes when they are predicted."""
        count = len(decisions["at"])
        given = self.settings.model.room(count)
        blank = {"given": given, "rivals": self._rivals.unsaid(count)}
        blank["contest"] = np.zeros((count, len(self.settings.kinds)))
        none = np.full_like(blank["contest"], np.nan)
        said = {name: decisions[name] for name in ("served", *self.settings.score_by)}
        labelled = self._unlabelled(count)
        if self._provisional:
            self._provisional.decide(decisions, self._pending.first + len(self._pending))
        rows = {"decided": decisions["at"], "labelled": labelled, GIVEN: none}
        self._pending.append({**rows, **blank, **said})

    def _unlabelled(self, count: int) -> NDArray[np.bool_]:
        """Say of so many decisions that they have no label; of each task, where there are some."""
        kind = self.settings.model
        return np.zeros((count, len(kind.parts)) if kind.task == "bools" else count, np.bool_)

    def _admit(self, labels: Columns) -> Columns:
        """Keep the labels to be learned: in time, and the first of their decision."""
        after = labels["at"] - labels["decided"]
        late, early = after > self.settings.within_ms, after < 0
        unfit = ~self.settings.model.fits(labels["label"]) & ~late & ~early
        ours = np.flatnonzero(~late & ~early & ~unfit)
        place = self._pending.place(labels["seq"][ours])
        known = (place >= 0) & (place < len(self._pending))
        decided, labelled = self._pending.rows["decided"], self._pending.rows["labelled"]
        tasks = labelled.shape[1] if labelled.ndim > 1 else 1
        labelled = labelled.reshape(-1)  # of each decision one after the other
        if not known.all() or (decided[place] != labels["decided"][ours]).any():
            asked = "asked to learn the label of a decision"
            found = "its example tells another time of it than its prediction did"
            raise LearningError(asked, found, "look at what joins predictions and outcomes")
        place = place * tasks + self.settings.model.tasks_of(labels["label"][ours])
        first = np.zeros(len(ours), np.bool_)
        first[np.unique(place, return_index=True)[1]] = True
        first &= ~labelled[place]
        labelled[place] = True
        self._counts["late_labels"] += int(late.sum())
        self._counts["early_labels"] += int(early.sum())
        self._counts["unfit_labels"] += int(unfit.sum())
        self._counts["duplicate_labels"] += int((~first).sum())
        return {name: column[ours[first]] for name, column in labels.items()}

    def _learn(self, until: int, decisions: Columns, labels: Columns) -> Columns:
        """Predict and learn in order of event time, all predictions of an instant first.

        Gives the labels that are final: those that came, and that none will come.
        """
        start = len(self._pending) - len(decisions["at"])
        if self._provisional:
            learned = self._provisional.learned(until, labels, self._pending)
            said, labels = self._learn_in_parts(decisions, learned), learned.final
        else:
            told = labels if self._drift is None else self._drift.weighed(labels)
            said = self._advance(*course(self.settings, self._moments, decisions, told))
            said = said[: len(decisions["at"])]
        self._pending.rows["given"][start:] = said[:, self._leads]
        if self._challengers:
            self._pending.rows["contest"][start:] = said
        decided = Inputs(*(decisions[name] for name in INPUTS))
        rivals = self._rivals.predict(decided, decisions["at"], labels)
        self._pending.rows["rivals"][start:] = rivals
        return labels

    def _advance(self, inputs: Inputs, steps: Steps) -> NDArray[np.float64]:
        """Let every model take the steps; give what each said of each row: (rows, kinds)."""
        said = steps.by_row(self._model.advance(inputs, steps.of(self._leads)))
        said = finite(said, self.settings.model.nothing)
        return (
            self._challengers.advance(inputs, steps, said) if self._challengers else said[:, None]
        )

    def _learn_in_parts(self, decisions: Columns, learned: Learned) -> NDArray[np.float64]:
        """Learn negatives before their time, and positives that take them back."""
        logged = self._pending.rows[GIVEN]
        place = self._pending.place(learned.labels["seq"])
        given = [np.empty((0, logged.shape[1]))]
        for some, told in learned.parts(decisions, self._pending):
            labels = {name: column[told] for name, column in learned.labels.items()}
            again, early = labels["again"], labels["before_its_time"]
            # A model that began anew has not learned the negative, and has nothing to take back.
            labels["back"] = np.where(again[:, None], np.nan_to_num(logged[place[told]]), 0.0)
            made = {name: column[some] for name, column in decisions.items()}
            said = self._advance(*course(self.settings, self._moments, made, labels))
            count = len(made["at"])
            logged[place[told][early]] = said[count:][early]
            given.append(said[:count])
            self._counts["provisional"] += int(early.sum())
            self._counts["taken_back"] += int(again.sum())
        return np.concatenate(given)

    def _score(self, labels: Columns) -> None:
        """Score what was predicted at decision time, here and by the store."""
        place = self._pending.place(labels["seq"])
        trainer, rivals = (self._pending.rows[name][place] for name in ("given", "rivals"))
        start = self.settings.score_from_ms
        scored = labels["decided"] >= (NEVER if start is None else start)
        for name, given in (("prequential", trainer), ("served", labels["served"])):
            every = rows(self.settings.model, given, labels["label"])
            self._scores[f"{name}_all"].add(every)
            self._scores[name].add(every if scored.all() else every.take(np.flatnonzero(scored)))
        for i, name in enumerate(self._rivals.names):
            some = rows(self.settings.model, rivals[scored, i].copy(), labels["label"][scored])
            self._scores[name].add(some)
        if self.settings.model.task != "number":
            beside = [rivals[:, self._rivals.said.index(name)] for name in PREDICTORS[1:]]
            said, came = np.stack([trainer, *beside], axis=1), labels["label"]
            if self.settings.model.task == "bools":  # of each label its task's own
                task = self.settings.model.tasks_of(came)
                said, came = said[np.arange(len(came)), :, task], came % 2
            self._gate.learn(said, came, labels["decided"])
        if self._challengers:
            self._challengers.learn(self._pending.rows["contest"][place], labels["label"])

    def _with_what_was_said(self, labels: Columns) -> Columns:
        place = self._pending.place(labels["seq"])
        by = {name: self._pending.rows[name][place] for name in self.settings.score_by}
        return {**labels, "trainer": self._pending.rows["given"][place], **by}

    def _look_on(self, seen: Seen) -> None:
        notes = [note for each in self._observers.values() for note in each.see(seen)]
        # In the order in which they are due, so that it does not matter how steps were cut.
        self._notes += sorted(notes, key=lambda note: note.due)

    def _tell_notes(self) -> None:
        """Tell what was noted; then it may be saved that it was."""
        if self._tell is not None and self._notes:
            self._tell(self._notes, self._noted)
        self._noted += len(self._notes)
        self._notes = []

    def _forget(self) -> None:
        """Drop the decisions of which no label can come any more."""
        gone = self._pending.forget(before=self._through_or_never - self.settings.within_ms)
        self._counts["unlabelled"] += _without(gone["labelled"])

    def _act(self, now: int) -> None:
        """Do what is due when a version was made."""
        if self._drift is not None:
            done = self._drift.act(now, self._model, self._moments)
            self._notes += done
            if self._challengers and any(note.name == "drift.promote" for note in done):
                self._challengers.prefer()
        if self._challengers:
            led = self._challengers.leads
            self._model, notes = self._challengers.settle(now, self._model)
            self._notes += notes
            if self._challengers.leads != led:
                self._parent = 0  # the next version goes on from none that was made

    @property
    def _leads(self) -> int:
        return self._challengers.leads if self._challengers else 0

    @property
    def _kind(self) -> Kind:
        """Give the kind of the model that learns now."""
        return self.settings.kinds[self._leads]

    def _publish(self, *, written: bool) -> bool:
        """Make a version; a crash before the next snapshot makes the same one again.

        Say whether it was written: one that is not finite is not.
        """
        arrays = {MOMENTS: self._moments.state.copy(), **self._model.weights()}
        number, through, wrong = self._version, self._through_or_never, fault(arrays)
        size = sum(array.nbytes for array in arrays.values())
        verdict = self._gate.judge(number, through_ms=through, wrong=wrong, size_bytes=size)
        facts: dict[str, Any] = {
            "encoding": self.settings.encoding.digest,
            "model": self._kind.facts,
            "through_ms": through,
            "parent": self._parent,
            "offsets": self.offsets,
            "data": self._data(),
            "metrics": {name: result(self._scores[name]) for name in ("prequential", "served")},
            "gate": verdict.facts,
        }
        if self._challengers:
            facts["metrics"]["challengers"] = self._challengers.status()
        note = Note(due=through, at=through, name="gate.verdict", value=number, cause=str(verdict))
        self._notes.append(note)
        if verdict.verdict in ("held", "rolled_back"):
            _log.warning("version %d %s; version %s serves", number, verdict, verdict.champion)
        if wrong:
            self._begin_anew()
        else:
            self._rivals.publish(number, Made(arrays, facts))
            self._parent = number
            if written:
                self._write(number, Made(arrays, facts))
        self._rivals.choose(verdict.champion, verdict.previous)
        return written and not wrong

    def _begin_anew(self) -> None:
        """Put a blank model in the place of one with a weight that is no number.

        From such a state nothing leads back. The champion serves until the new model has labels
        enough, and is not shown worse.
        """
        _log.error("a weight is no number: the model begins anew; lower its rates")
        self._model = self._kind.blank(self.settings.encoding)
        if GIVEN in self._pending.rows:  # the new model has learned no negative to take back
            self._pending.rows[GIVEN][:, self._leads] = np.nan
        self._counts["restarts"] += 1
        self._parent = 0

    def _data(self) -> dict[str, Any]:
        """Say which messages came since the version before, and the checksum of all till now."""
        told: dict[str, Any] = {
            name: {"from": self._begun[name], "to": end, "checksum": self._read[name].text}
            for name, end in self._offsets.items()
        }
        self._begun = dict(self._offsets)
        return told if self._began is None else {**told, "start": dict(self._began)}

    def _write(self, number: int, made: Made) -> None:
        self._registry.publish(number, made.arrays, **made.facts, provenance=self._provenance)

    def _name(self, newest: int, written: Collection[int]) -> None:
        """Write what bears a name, which may be older than all that stay; then the names."""
        gate = self._gate
        for number in (gate.champion, gate.previous):
            if number is not None and number not in written:
                self._write(number, self._rivals.made(number))
        cut = (self._next_cut or 0) - self.settings.publish_every_ms
        self._registry.judged(
            newest, champion=gate.champion, previous=gate.previous, through_ms=cut
        )

    def _snapshot(self) -> Snapshot:
        model, rivals, gate = self._model.state(), self._rivals.state(), self._gate.state()
        arrays: dict[str, NDArray[Any]] = {
            **within("model/", model.arrays),
            **within("made/", rivals.arrays),
            **within("gate/", gate.arrays),
            **{f"read/{name}": read.state for name, read in self._read.items()},
            "moments": self._moments.state,
        }
        pending, names = self._pending.said()
        arrays |= pending
        if self._provisional:
            arrays |= within("provisional/", self._provisional.state().arrays)
        challengers = self._challengers.state() if self._challengers else None
        if challengers:
            arrays |= within("challengers/", challengers.arrays)
        observed = {name: each.state() for name, each in self._observers.items()}
        for name, seen in observed.items():
            arrays |= within(f"observers/{name}/", seen.arrays)
        states = {name: score.state() for name, score in self._scores.items()}
        for name, state in states.items():
            arrays |= state.within(name)
        facts = {
            "model": dict(model.facts),
            "rivals": dict(rivals.facts),
            "gate": dict(gate.facts),
            "parent": self._parent,
            "begun": self._begun,
            "scores": {name: state.facts for name, state in states.items()},
            "counts": self._counts,
            "through": self._through,
            "next_cut": self._next_cut,
            "version": self._version,
            "offsets": self._offsets,
            "pane_end": self._pane_end,
            "first": self._pending.first,
            "pending": names,
            "observers": {name: state.facts for name, state in observed.items()},
            "noted": self._noted,
            "start": self._began,
            **({"challengers": dict(challengers.facts)} if challengers else {}),
        }
        return Snapshot(arrays, facts)

    def _restore(self, folder: Path) -> None:
        snapshot = self._snapshots.restore()
        if snapshot is None:
            if there := self._registry.numbers():
                said = "%s: version %d is there and no snapshot; learning from the log's start"
                _log.warning(said, self._registry.folder, there[-1])
            if (start := restored(self.settings, folder)) is not None:
                self._model.restore(start.state)
                self._moments.state[:] = start.moments
                self._began = start.facts
            return
        arrays, facts = snapshot.arrays, snapshot.facts
        self._began = facts.get("start")
        if self._challengers:
            told = models.State(under("challengers/", arrays), facts["challengers"])
            self._challengers.restore(told)
            self._model = self._kind.blank(self.settings.encoding)
        self._model.restore(models.State(under("model/", arrays), facts["model"]))
        self._moments.state[:] = arrays["moments"]
        self._pending.restore(facts["first"], arrays, facts["pending"])
        if self._provisional:
            self._provisional.restore(models.State(under("provisional/", arrays), {}))
        for name, observer in self._observers.items():
            seen = models.State(under(f"observers/{name}/", arrays), facts["observers"][name])
            observer.restore(seen)
        self._noted = facts["noted"]
        self._rivals.restore(models.State(under("made/", arrays), facts["rivals"]))
        self._gate.restore(models.State(under("gate/", arrays), facts["gate"]))
        for name, read in self._read.items():
            read.state[:] = arrays[f"read/{name}"]
        self._parent, self._begun = facts["parent"], dict(facts["begun"])
        for name in self._scores:
            state = State(arrays, {}).part(name, facts["scores"][name])
            self._scores[name] = self._scores[name].from_state(state)
        self._counts = {name: facts["counts"][name] for name in _COUNTS}
        self._through, self._next_cut = facts["through"], facts["next_cut"]
        self._version, self._offsets = facts["version"], dict(facts["offsets"])
        self._pane_end = facts["pane_end"]


def _observers(settings: Learning) -> dict[str, Observer]:
    """Give who looks on, by name."""
    found: dict[str, Observer] = {}
    if settings.score_every_ms is not None:
        every, within = settings.score_every_ms, settings.within_ms
        found["windows"] = WindowScores(every, within, settings.score_by, settings.model)
    return found


def _challengers(settings: Learning) -> Challengers | None:
    if settings.challenge is None:
        return None
    limits = settings.gate or Limits()
    return Challengers(settings.model, settings.challenge, settings.encoding, limits)


def _watch(settings: Learning) -> DriftWatch | None:
    if settings.watching is None:
        return None
    told = settings.watching, settings.encoding, settings.publish_every_ms
    return DriftWatch(*told, settings.model)


def finite(given: NDArray[np.float64], nothing: float) -> NDArray[np.float64]:
    """Put `nothing` in the place of predictions of which a number is none, whole.

    >>> finite(np.array([[0.5, np.nan], [0.25, 0.75]]), 0.5).tolist()
    [[0.5, 0.5], [0.25, 0.75]]
    """
    known = np.isfinite(given)
    if given.ndim > 1:
        known = known.all(axis=1, keepdims=True)
    return np.where(known, given, nothing)


def _without(labelled: NDArray[np.bool_]) -> int:
    """Count the decisions that have no label, of no task.

    >>> _without(np.array([True, False])), _without(np.array([[True, False], [False, False]]))
    (1, 1)
    """
    return int((~(labelled.any(axis=1) if labelled.ndim > 1 else labelled)).sum())
