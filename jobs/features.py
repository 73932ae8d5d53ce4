"""Features in Python: of entities now, and for training sets; names and habits are Feast's.

::

    entity_rows ─► get_online_features      ─► the features as of now, and how fresh they are
    entity_df   ─► get_historical_features  ─► one row out for each, in order, as of its own time
    query       ─► sql                      ─► Arrow

A feature at t is the same whichever way it is asked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from headrace.feature_store.training import TrainingSet, names_of
from headrace.jobs.stores import OnlineFeatures, Opened, Running, Stored

__all__ = ["FeatureStore", "OnlineFeatures", "TrainingSet"]

_MS = 1_000_000


class FeatureStore:
    """The features of a pipeline: of one that runs, or of a store's file that is opened here.

    Parameters
    ----------
    state
        The state folder of the running pipeline, in which the store process says where it listens.

    """

    def __init__(self, state: Path | str = ".headrace/demo") -> None:
        self._stored: Stored = Running(Path(state))

    @classmethod
    def open(cls, path: Path | str, pipeline: Path | str) -> Self:
        """Open a store's file in this process, when its pipeline does not run.

        Parameters
        ----------
        path
            The DuckDB file, or the state folder that it is in.
        pipeline
            The pipeline's YAML file.

        Raises
        ------
        StoreError
            Where there is no such file, a process has it, or it holds another pipeline's tables.

        """
        opened = cls.__new__(cls)
        opened._stored = Opened(Path(path), Path(pipeline))
        return opened

    def close(self) -> None:
        """Close the connections, or the file."""
        self._stored.close()

    def get_online_features(
        self,
        features: Sequence[str] | None = None,
        entity_rows: Sequence[Mapping[str, Any]] = (),
        *,
        at: int | None = None,
    ) -> OnlineFeatures:
        """Read features of entities: each a value per column of the views' keys.

        Parameters
        ----------
        features
            Their names, alone or as ``view:feature``, in the order wanted; all unless given.
        entity_rows
            Rows; columns that are left out are null, and a view whose key is null has no features.
        at
            The time they are of, ms, UTC; now unless given.

        Raises
        ------
        StoreError, UnknownName
            Where a feature does not exist, or a key is not of its column's type.

        """
        names = names_of(features, self._stored.features)
        now = time.time_ns() // _MS
        return self._stored.online(names, entity_rows, now if at is None else at)

    def get_historical_features(
        self,
        entity_df: object,
        features: Sequence[str] | None = None,
        *,
        at: str | None = None,
        statuses: bool = False,
    ) -> TrainingSet:
        """Put beside each decision the features as of its own time: a training set.

        One row comes out for each that went in, in the same order, with its columns as they were;
        a feature that has no value is null. Nothing is read before it is asked for, by
        ``to_df()``, ``to_arrow()``, ``to_record_batches()`` or ``to_parquet()``; the last two have
        one part of the decisions in memory at a time.

        Parameters
        ----------
        entity_df
            An Arrow table or reader, a pandas or a Polars frame, the path of a Parquet file: with
            the time and the keys of the features' views.
        features
            Their names, alone or as ``view:feature``; all unless given.
        at
            The column of the time: int64 ms, or a timestamp (without a zone: UTC). Unless given
            it is ``at``, or ``event_timestamp`` where there is no ``at``.
        statuses
            Put beside each feature what its value stands for, in ``<feature>__status``:
            ``present``, ``never_seen`` or ``expired``.

        Raises
        ------
        StoreError, UnknownName
            Where a feature or a column does not exist, or is not of its type.

        """
        names = names_of(features, self._stored.features)
        asking, read, at_once = self._stored.historical(names, at, statuses=statuses)
        return TrainingSet(entity_df, asking, read, at_once=at_once)

    def sql(self, query: str) -> pa.Table:
        """Ask one SELECT over the store's tables."""
        return self._stored.sql(query)
