"""The Open Inference Protocol: what the model takes and gives, with the store's own features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from headrace.jobs.store import StoreProcess
from tests.feature_store.made_up import EVERY
from tests.jobs.test_server import processing, serving

AT = {"name": "at", "shape": [2], "datatype": "INT64", "data": [2 * EVERY, 2 * EVERY]}
USER = {"name": "user", "shape": [2, 1], "datatype": "BYTES", "data": [["u"], ["nobody"]]}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    with processing(tmp_path_factory.mktemp("inference")) as one:
        weights = one.scorer._served._weights  # type: ignore[attr-defined]  # of a linear one
        weights[:] = [(i % 7 - 3) / 10 for i in range(len(weights))]
        yield one


@pytest.fixture(scope="module")
def http(process: StoreProcess) -> Iterator[httpx.Client]:
    with serving(process) as client:
        yield client


def test_the_server_and_its_model_are_described(http: httpx.Client) -> None:
    assert http.get("/v2").json()["name"] == "headrace"
    assert http.get("/v2/health/live").json() == {"live": True}
    ready = http.get("/v2/health/ready")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json() == http.get("/readyz").json()
    model = http.get("/v2/models/small").json()
    assert (model["name"], model["versions"], model["platform"]) == (
        "small",
        ["0"],
        "headrace_ftrl",
    )
    kinds = {each["name"]: each["datatype"] for each in model["inputs"]}
    assert kinds["user"] == "BYTES"
    assert (kinds["at"], kinds["wind"], kinds["n"]) == ("INT64", "FP64", "INT64")
    assert model["outputs"][0] == {"name": "p", "datatype": "FP64", "shape": [-1]}
    assert http.get("/v2/models/small/versions/0").json() == model
    assert http.get("/v2/models/small/ready").json() == {"name": "small", "ready": True}


def test_it_predicts_what_v1_predicts(http: httpx.Client) -> None:
    rows = [{"at": 2 * EVERY, "user": user, "hour": 7} for user in ("u", "nobody")]
    told = http.post("/v1/predict", json={"rows": rows}).json()
    hour = {"name": "hour", "shape": [2], "datatype": "INT32", "data": [7, 7]}
    for path in ("/v2/models/small/infer", "/v2/models/small/versions/0/infer"):
        answer = http.post(path, json={"id": "mine", "inputs": [AT, USER, hour]}).json()
        assert (answer["model_name"], answer["model_version"]) == ("small", "0")
        assert answer["id"] == "mine"
        assert answer["outputs"][0] == {
            **{"name": "p", "datatype": "FP64", "shape": [2]},
            "data": told["predictions"],
        }
        assert answer["outputs"][1]["data"] == [0, 0]
    assert len(set(told["predictions"])) == 2


def test_a_feature_that_is_given_is_taken(http: httpx.Client) -> None:
    hour = {"name": "hour", "shape": [2], "datatype": "INT64", "data": [7, 7]}
    given = {"name": "n", "shape": [2], "datatype": "INT64", "data": [2, 0]}
    asked = {"inputs": [hour, given], "outputs": [{"name": "p"}]}
    rows = [{"at": 2 * EVERY, "user": user, "hour": 7} for user in ("u", "nobody")]
    told = http.post("/v1/predict", json={"rows": rows}).json()
    (only,) = http.post("/v2/models/small/infer", json=asked).json()["outputs"]
    assert only["data"] == told["predictions"]  # u has n = 2, nobody has 0
    given["data"] = [None, 0]
    assert (
        http.post("/v2/models/small/infer", json=asked).json()["outputs"][0]["data"][1]
        == (told["predictions"][1])
    )


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "hour", "shape": [1], "datatype": "INT64", "data": [7], **changes}]}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "inputs is not there"),
        ({"inputs": []}, "no input came"),
        ({"inputs": [7]}, "asked with inputs.0; it is no tensor with a name"),
        ({"inputs": [{}]}, "no tensor with a name"),
        (tensor(name="huor"), "the input 'huor'; known: .*did you mean 'hour'"),
        (tensor(datatype="BYTES"), "hour is INT64 or .*, not BYTES"),
        (tensor(datatype=None), "not None"),
        (tensor(data=7), "its data and shape are no lists"),
        (tensor(shape=[2]), r"its shape is \[2\] and it has 1 values"),
        (tensor(shape=[1, 2]), "its shape is"),
        (tensor(shape=["1"]), "its shape is"),
        (tensor(data=[1.5]), "hour = 1.5; it is no int64"),
        (tensor(data=[True]), "hour = True; it is no int64"),
        (tensor(data=[[7]]), r"hour = \[7\]; it is no int64"),
        (tensor(data=[]), "its shape is"),
        (tensor(data=[], shape=[0]), "asked for no rows"),
        (tensor(data=[7] * 1001, shape=[1001]), "more than 1000 values"),
        (tensor(name="n", data=["x"]), "asked with the feature n = 'x'; it is no int64"),
        ({"inputs": [*tensor()["inputs"], *tensor()["inputs"]]}, "the input 'hour' came before"),
        ({"inputs": [*tensor()["inputs"], AT]}, "different numbers of rows"),
        ({**tensor(), "outputs": [{"name": "q"}]}, "the output 'q'; known: 'model_version', 'p'"),
        ({**tensor(), "outputs": [7]}, "the output 'None'"),
        ({**tensor(), "id": 7}, "id is of another type"),
        ({**tensor(), "input": 7}, "asked with 'input'"),
    ],
)
def test_a_wrong_tensor_is_told(http: httpx.Client, asked: object, found: str) -> None:
    import re

    answer = http.post("/v2/models/small/infer", json=asked)
    assert answer.status_code == 400
    assert re.search(found, answer.json()["error"]), answer.text


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("smal", "the model 'smal'; known: 'small'; did you mean 'small'?"),
        ("small/versions/7", "version '7' of the model 'small'; version 0 is served"),
        ("small/versions/x", "version 'x'"),
        ("small/versions/-1", "version '-1'"),
    ],
)
@pytest.mark.parametrize("end", ["", "/ready", "/infer"])
def test_a_model_that_is_not_there_is_told(
    http: httpx.Client, path: str, end: str, found: str
) -> None:
    method = "POST" if end == "/infer" else "GET"
    answer = http.request(method, f"/v2/models/{path}{end}", json=tensor())
    assert answer.status_code == 404
    assert found in answer.json()["error"]
