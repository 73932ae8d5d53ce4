"""Asking a store process over HTTP."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.ipc as ipc

from headrace.jobs.serving.access import Secret
from headrace.operators.errors import StoreError
from headrace.operators.sealed import unsealed

__all__ = ["Client", "Told", "told_address"]

_ARROW = "application/vnd.apache.arrow.stream"
_SECONDS = 120.0


def _written(path: Path) -> dict[str, str]:
    """Read the address; what was written by hand has no seal."""
    data = path.read_bytes()
    with contextlib.suppress(orjson.JSONDecodeError):
        match orjson.loads(data):
            case {"address": str(), **more} as told if more.keys() <= {"flight", "token"}:
                return {name: str(value) for name, value in told.items()}
    return unsealed(path, data, "start the store again: it writes the file anew")


@dataclass(frozen=True)
class Told:
    """What an address file says: where HTTP and Flight are, and where the token is."""

    http: str
    flight: str
    token: str | None

    def bearer(self) -> bytes:
        """Give the value of the header `authorization`; an AccessError where there is no token."""
        return b"" if self.token is None else f"Bearer {Secret.of(self.token).reveal()}".encode()


def told_address(address_file: Path) -> Told:
    """Read an address file; a StoreError where no store has written it."""
    try:
        told = _written(address_file)
    except FileNotFoundError as error:
        asked = f"asked for the store that is named in {address_file}"
        raise StoreError(asked, "there is no such file", "start the pipeline") from error
    return Told(told["address"], told.get("flight", ""), told.get("token"))


class Client:
    """A store process, by the address that it wrote into the state folder.

    Parameters
    ----------
    address_file
        Holds ``{"address": "host:port", "flight": "host:port"}``, sealed, and where one is wanted
        ``"token": "env:NAME"``; read anew at every question, for a store that was started again has
        another port.

    """

    def __init__(self, address_file: Path) -> None:
        self._address_file = address_file
        self._client = httpx.Client(timeout=_SECONDS, trust_env=False)

    def healthy(self) -> bool:
        """Say whether it answers."""
        try:
            return self._client.get(self._url("/healthz"), timeout=2.0).is_success
        except (httpx.HTTPError, StoreError):
            return False

    def status(self) -> dict[str, Any]:
        """Ask how far it is."""
        answer: dict[str, Any] = self._ask("GET", "/v1/status").json()
        return answer

    def sql(self, query: str) -> pa.Table:
        """Ask one SELECT."""
        answer = self._ask("POST", "/v1/sql", json={"query": query}, headers={"accept": _ARROW})
        return ipc.open_stream(answer.content).read_all()

    def predict(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Ask for predictions and the features they are made from."""
        answer: dict[str, Any] = self._ask("POST", "/v1/predict", json={"rows": rows}).json()
        return answer

    def features(
        self, rows: list[dict[str, Any]], names: list[str] | None = None
    ) -> dict[str, Any]:
        """Ask for features of some rows, all unless named, and how far each view is complete."""
        body = {"rows": rows} if names is None else {"rows": rows, "features": names}
        answer: dict[str, Any] = self._ask("POST", "/v1/features", json=body).json()
        return answer

    def feature_schema(self) -> pa.Schema:
        """Ask for every feature's name and type."""
        return ipc.open_stream(self._ask("GET", "/v1/features").content).schema

    def training(self, decisions: pa.Table) -> pa.Table:
        """Ask for the features of decisions with `at` and the views' keys: one row for each."""
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, decisions.schema) as writer:
            writer.write_table(decisions)
        body = sink.getvalue().to_pybytes()
        headers = {"content-type": _ARROW}
        answer = self._ask("POST", "/v1/training", content=body, headers=headers)
        return ipc.open_stream(answer.content).read_all()

    def why(self, decision: str) -> dict[str, Any]:
        """Ask why a decision was scored as it was."""
        params = {"decision": decision}
        answer: dict[str, Any] = self._ask("GET", "/v1/why", params=params).json()
        return answer

    def address(self) -> str:
        """Give the URL that it answers at."""
        return self._url("")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _sent(self, method: str, url: str, **request: Any) -> httpx.Response:
        """Send it; once more where its connection broke, for whoever was asked may have ended.

        Nothing that is asked here changes anything.
        """
        try:
            return self._client.request(method, url, **request)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return self._client.request(method, url, **request)

    def _url(self, path: str) -> str:
        return f"http://{told_address(self._address_file).http}{path}"

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        told = told_address(self._address_file)
        url = f"http://{told.http}{path}"
        asked = f"asked the store at {url}"
        headers = dict(request.pop("headers", {}))
        if told.token is not None:
            headers["authorization"] = told.bearer().decode()
        try:
            response = self._sent(method, url, headers=headers, **request)
        except httpx.HTTPError as error:
            do = "start the pipeline, or look at the store's log"
            raise StoreError(asked, f"it does not answer: {error}", do) from error
        if response.is_success:
            return response
        try:
            told = orjson.loads(response.content)
            raise StoreError(told["asked"], told["found"], told["do"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            found = f"{response.status_code}: {response.text[:500]}"
            raise StoreError(asked, found, "look at the store's log") from None
