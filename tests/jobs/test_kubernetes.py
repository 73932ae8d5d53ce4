"""What `headrace deploy kubernetes` writes: by the published schemas, and by what it means.

The schemas come with packages: Kubernetes' own kinds with `kubernetes-validate`, PodMonitor with
`cloudcoil-models-prometheus-operator`, FlinkDeployment with the jar of its operator's classes.
"""

from __future__ import annotations

import base64
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer.main
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule
from ruamel.yaml import YAML

from headrace.jobs import assembly, roles, transport
from headrace.jobs.cli.main import application
from headrace.jobs.deploy import around
from headrace.jobs.deploy.kubernetes import resources, write
from headrace.jobs.deploy.target import Target
from headrace.jobs.machine.broker import Broker
from headrace.jobs.machine.java import Jar, jars
from headrace.operators.errors import EnvironmentProblem, HeadraceError
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import TEXT
from tests.jobs.conftest import Say

KUBERNETES = "1.37"
CRD = Jar(
    "org.apache.flink:flink-kubernetes-operator-api:1.10.0",
    "flink",
    "b1f44814e17514fa8395c61b329a3ee9087123a5bda5b21fe1a495d5182c30b6",
    190_877,
)
CRD_ENTRY = "META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"
KAFKA = """\
kafka:
  bootstrap: [kafka-1.example.com:9093, kafka-2.example.com:9093]
  properties:
    security.protocol: SASL_SSL
    sasl.mechanism: SCRAM-SHA-512
    sasl.username: small
    sasl.password: env:KAFKA_PASSWORD
    ssl.ca.location: {authority}
"""
SERVE = """\
serve:
  host: 0.0.0.0
  port: 8000
  flight_port: 8001
  hosts: [small-store]
  metrics: {learner: 9102}
  tokens: {read: env:READ_TOKEN, admin: env:ADMIN_TOKEN}
"""
WHOLE = "kafka: {bootstrap: 'kafka:9092'}\n" + SERVE
JOINED = """\
streams:
  located: {from: click, join: {table: users.csv, on: {user: user}, columns: {city: string}}}
"""
TARGET = Target(
    image="registry.example.com:5000/team/small",
    checkpoints="s3://bucket/flink/",
    name="small",
    secret="small-tokens",  # noqa: S106  # a name
    namespace="models",
    parallelism=2,
    storage="50Gi",
    storage_class="fast",
    version="1.2.3",
)
KINDS = {
    "pipeline.yaml": ["ConfigMap"],
    "views.yaml": ["FlinkDeployment"],
    "labels.yaml": ["FlinkDeployment"],
    "store.yaml": ["PersistentVolumeClaim", "Service", "StatefulSet"],
    "learner.yaml": ["PersistentVolumeClaim", "Service", "StatefulSet"],
    "network.yaml": ["NetworkPolicy"] * 4,
    "monitoring.yaml": [*["PodMonitor"] * 4, "PrometheusRule"],
}


def pipeline(folder: Path, text: str | None = None) -> Pipeline:
    (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (folder / "users.csv").write_text("user,city\nu,Oslo\n")
    path = folder / "small.yaml"
    whole = TEXT.replace("views:\n", JOINED + "views:\n", 1)
    path.write_text(text or whole + KAFKA.format(authority=folder / "ca.pem") + SERVE)
    return load(path)


@pytest.fixture
def written(tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """Everything, as a reader of YAML finds it in the folder."""
    write(pipeline(tmp_path), TARGET, tmp_path / "out")
    yaml = YAML(typ="safe", pure=True)
    return {name: list(yaml.load_all(tmp_path / "out" / name)) for name in KINDS}


def mappings_of(found: Any) -> Iterator[dict[str, Any]]:
    """Find every mapping in what was written, however deep."""
    if isinstance(found, dict):
        yield found
        found = list(found.values())
    for each in found if isinstance(found, list) else ():
        yield from mappings_of(each)


def pods_of(found: Any) -> Iterator[dict[str, Any]]:
    """Find the templates of pods, wherever they stand; a template that adds to another is none."""
    for each in mappings_of(found):
        spec = each.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            yield each


def containers_of(found: Any) -> Iterator[dict[str, Any]]:
    for each in mappings_of(found):
        for name in ("containers", "initContainers"):
            yield from each.get(name, [])


# --- by the published schemas ---------------------------------------------------------------------


def test_kubernetes_own_kinds_are_as_its_schemas_say(
    written: dict[str, list[dict[str, Any]]],
) -> None:
    assert {name: [each["kind"] for each in found] for name, found in written.items()} == KINDS
    others = {"FlinkDeployment", "PodMonitor", "PrometheusRule"}
    own = [each for found in written.values() for each in found if each["kind"] not in others]
    assert len(own) == 11
    for each in own:
        assert kubernetes_validate.validate(each, KUBERNETES, strict=True) == KUBERNETES
        wrong = {**each, "spec": {**each.get("spec", {}), "replica": 1}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_pod_templates_of_flink_are_pods_of_kubernetes(
    written: dict[str, list[dict[str, Any]]],
) -> None:
    """The CRD's copy of a pod knows names and types; Kubernetes' own schema what is required."""
    for name in ("views.yaml", "labels.yaml"):
        spec = written[name][0]["spec"]
        first = spec["jobManager"]["podTemplate"]["spec"]
        main = [
            {"image": spec["image"], **each} for each in spec["podTemplate"]["spec"]["containers"]
        ]
        pod = {
            **spec["podTemplate"],
            "spec": {**spec["podTemplate"]["spec"], **first, "containers": main},
        }
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_pod_monitors_give_the_labels_that_alerts_go_by(
    written: dict[str, list[dict[str, Any]]],
) -> None:
    found = []
    *monitors, _ = written["monitoring.yaml"]
    for each in monitors:
        (endpoint,) = each["spec"]["podMetricsEndpoints"]
        found.append({rule["targetLabel"]: rule["replacement"] for rule in endpoint["relabelings"]})
    assert {each["process"] for each in found} >= {"store", "views", "labels"}
    for each in found:
        assert each["job"] == "headrace"
        assert each["pipeline"] == "small"


def test_what_prometheus_reads_is_as_its_operator_says(
    written: dict[str, list[dict[str, Any]]],
) -> None:
    for each in written["monitoring.yaml"]:
        monitor = each["kind"] == "PodMonitor"
        read = (PodMonitor if monitor else PrometheusRule).model_validate(each)
        # A key that is not known is left out.
        assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == each


@pytest.fixture(scope="session")
def crd() -> dict[str, Any]:
    """The schema of FlinkDeployment, in which an object has no other keys than it says."""
    try:
        path = jars("flink", locked=[CRD])[0]
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))
    with zipfile.ZipFile(path) as jar:
        declared = YAML(typ="safe").load(jar.read(CRD_ENTRY).decode())
    schema: dict[str, Any] = declared["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    properties = schema["properties"]
    properties["apiVersion"] = properties["kind"] = {"type": "string"}
    properties["metadata"] = {"type": "object"}
    _close(schema)
    # Version 1.10 is the newest whose classes are published there; Flink 2.3 is of a later one.
    properties["spec"]["properties"]["flinkVersion"]["enum"].append("v2_3")
    return schema


def _close(schema: dict[str, Any]) -> None:
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
        for each in schema["properties"].values():
            _close(each)
    if isinstance(schema.get("items"), dict):
        _close(schema["items"])


def test_flink_deployments_are_as_their_operator_says(
    written: dict[str, list[dict[str, Any]]], crd: dict[str, Any]
) -> None:
    validator = jsonschema.Draft202012Validator(crd)
    for name in ("views.yaml", "labels.yaml"):
        each = written[name][0]
        validator.validate(each)
        spec = {**each["spec"], "job": {**each["spec"]["job"], "parallel": 2}}
        with pytest.raises(jsonschema.ValidationError, match="'parallel' was unexpected"):
            validator.validate({**each, "spec": spec})


# --- what is written means what it should ---------------------------------------------------------


def test_every_argument_is_understood(written: dict[str, list[dict[str, Any]]]) -> None:
    command = typer.main.get_command(application).commands["process"]  # type: ignore[attr-defined]  # it is a group
    asked = [each["args"] for each in containers_of(written) if "args" in each]
    for name in ("views.yaml", "labels.yaml"):
        job = written[name][0]["spec"]["job"]
        driver, rest = job["args"][:4], job["args"][4:]
        assert driver[0::2] == ["-pyclientexec", "-pym"]
        assert driver[3] == "headrace.jobs.cli.main"
        asked.append(rest)
    found = []
    for arguments in asked:
        assert arguments[0] == "process"
        with command.make_context("process", list(arguments[1:])) as context:
            found.append(context.params["role"])
            assert context.params["pipeline"] == Path("/etc/headrace/small.yaml")
            assert context.params["state"] == Path("/var/lib/headrace")
            assert context.params["bootstrap"].count("kafka-") == 2
    assert sorted(found) == sorted([*roles.ROLES, "history", *["topics"] * 4])


def test_every_container_is_confined_and_no_pod_is_root(
    written: dict[str, list[dict[str, Any]]],
) -> None:
    for each in containers_of(written):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
    found = list(pods_of(written))
    assert len(found) == 4
    for pod in found:
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_what_is_mounted_is_there(written: dict[str, list[dict[str, Any]]]) -> None:
    claims = [
        each["metadata"]["name"]
        for found in written.values()
        for each in found
        if each["kind"] == "PersistentVolumeClaim"
    ]
    assert claims == ["small-store", "small-learner"]
    keys = {*written["pipeline.yaml"][0]["data"]}
    assert keys == {"small.yaml", "users.csv", "kafka-ca.pem"}
    for pod in pods_of(written):
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        for container in containers_of(pod):
            for mount in container["volumeMounts"]:
                assert mount["name"] in volumes
                assert mount.get("subPath", "small.yaml") in keys
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                name = written["pipeline.yaml"][0]["metadata"]["name"]
                assert volume["configMap"]["name"] == name
    store = next(each for each in containers_of(written["store.yaml"]) if each["name"] == "store")
    mounted = {each["mountPath"]: each for each in store["volumeMounts"]}
    assert mounted["/var/lib/headrace/learner"]["readOnly"]


def test_what_is_looked_for_by_labels_is_found(written: dict[str, list[dict[str, Any]]]) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods_of(written)]
    selectors = re.findall(r'"(?:matchLabels|selector)": (\{"app[^{}]*\})', json.dumps(written))
    wanted = [json.loads(each) for each in selectors]
    own = [each for each in wanted if "app.kubernetes.io/component" in each]
    assert len(own) == 2 + 2 + 4 + 4 + 1 + 2  # sets, Services, policies, monitors, affinity, peers
    for selector in own:
        assert [selector.items() <= each.items() for each in labels].count(True) == 1
    ports = {
        each["name"] for container in containers_of(written) for each in container.get("ports", [])
    }
    *monitors, _ = written["monitoring.yaml"]
    for monitor in monitors:
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports


def test_what_is_secret_is_a_reference(
    written: dict[str, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("READ_TOKEN", "ADMIN_TOKEN", "KAFKA_PASSWORD"):
        monkeypatch.setenv(name, "canary-of-a-secret")
    write(load(tmp_path / "small.yaml"), TARGET, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert "canary" not in path.read_text()
    keys = {
        container["name"]: {
            each["name"]: each["valueFrom"]["secretKeyRef"]
            for each in container["env"]
            if "valueFrom" in each
        }
        for container in containers_of(written)
    }
    assert [*keys["store"]] == ["ADMIN_TOKEN", "KAFKA_PASSWORD", "READ_TOKEN"]
    assert keys["learner"] == keys["store"]  # it answers, too: with its metrics
    assert [*keys["history"]] == [*keys["topics"]] == ["KAFKA_PASSWORD"]
    reference = {"name": "small-tokens", "key": "KAFKA_PASSWORD"}
    # Flink's JVMs read it, too, where no process of ours runs.
    both = dict.fromkeys(["HEADRACE_KAFKA_PASSWORD", "KAFKA_PASSWORD"], reference)
    assert keys["flink-main-container"] == both


def test_a_learner_that_does_not_answer_has_no_token_and_no_monitor(tmp_path: Path) -> None:
    declared = pipeline(tmp_path, TEXT + WHOLE.replace("  metrics: {learner: 9102}\n", ""))
    found = resources(declared, TARGET)
    container = next(each for each in containers_of(found) if each["name"] == "learner")
    assert [each for each in container["env"] if "valueFrom" in each] == []
    assert "ports" not in container
    assert len(found["monitoring.yaml"]) == 4
    assert found["network.yaml"][1]["spec"]["ingress"] == []
    for each in found["learner.yaml"]:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_jobs_keep_their_state_in_the_object_storage(
    written: dict[str, list[dict[str, Any]]],
) -> None:
    for job, parallelism in (("views", 2), ("labels", 1)):
        spec = written[f"{job}.yaml"][0]["spec"]
        settings = spec["flinkConfiguration"]
        kept = [value for value in settings.values() if "://" in value]
        assert len(kept) == 3
        assert all(value.startswith(f"s3://bucket/flink/small/{job}/") for value in kept)
        assert spec["job"]["upgradeMode"] == "savepoint"
        assert settings["web.submit.enable"] == "false"
        assert spec["job"]["parallelism"] == parallelism
        assert spec["image"] == "registry.example.com:5000/team/small-jobs:1.2.3"


# --- a store of shards, a model of ranks ----------------------------------------------------------


@pytest.fixture
def sharded(tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    text = TEXT.replace("key: user\n", "key: user\n    shards: 3\n")
    return resources(pipeline(tmp_path, text + WHOLE + "store: {shards: 2}\n"), TARGET)


def test_shards_are_pods_with_a_name_a_number_and_a_volume_each(
    sharded: dict[str, list[dict[str, Any]]],
) -> None:
    service, pods = sharded["shards.yaml"]
    for each in (service, pods, *sharded["store.yaml"], *sharded["network.yaml"]):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    spec = pods["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert (spec["replicas"], service["spec"]["clusterIP"]) == (2, "None")
    assert spec["serviceName"] == service["metadata"]["name"] == "small-shard"
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    (claimed,) = spec["volumeClaimTemplates"]
    assert claimed["spec"]["resources"] == {"requests": {"storage": "50Gi"}}
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounted[claimed["metadata"]["name"]] == "/var/lib/headrace"
    numbered = {each["name"]: each["valueFrom"] for each in container["env"] if "valueFrom" in each}
    assert numbered.pop("SHARD_NUMBER") == {
        "fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}
    }
    assert {*numbered} == {"READ_TOKEN", "ADMIN_TOKEN"}  # by which its head is known
    assert container["args"][1] == "shard-$(SHARD_NUMBER)"
    (_, history) = spec["template"]["spec"]["initContainers"]
    assert history["args"][1] == "history-$(SHARD_NUMBER)"
    assert [*numbered, "SHARD_NUMBER"] == [  # no token: it asks Kafka alone
        "ADMIN_TOKEN",
        "READ_TOKEN",
        *(each["name"] for each in history["env"] if "valueFrom" in each),
    ]
    (head,) = [each for each in containers_of(sharded["store.yaml"]) if each["name"] == "store"]
    command = typer.main.get_command(application).commands["process"]  # type: ignore[attr-defined]  # it is a group
    with command.make_context("process", container["args"][1:]) as context:
        flight, metrics = context.params["flight"], context.params["metrics"]
    with command.make_context("process", head["args"][1:]) as context:
        asked = context.params["shard"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert (flight, metrics) == (f"0.0.0.0:{ports['flight']}", ports["metrics"])
    assert asked == [f"small-shard-{n}.small-shard:{ports['flight']}" for n in range(2)]


def test_shards_are_reached_by_their_head_alone_and_watched_each(
    sharded: dict[str, list[dict[str, Any]]],
) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in sharded["network.yaml"]}
    by_head, by_all = policies["small-shard"]["ingress"]
    store = sharded["store.yaml"][-1]["spec"]["template"]["metadata"]["labels"]
    (peer,) = by_head["from"]
    assert peer["podSelector"]["matchLabels"].items() <= store.items()
    assert [each["port"] for each in by_head["ports"]] == [8002]
    assert ([each["port"] for each in by_all["ports"]], "from" in by_all) == ([9103], False)
    monitors = {each["metadata"]["name"]: each for each in sharded["monitoring.yaml"]}
    monitor = monitors["small-shard"]
    PodMonitor.model_validate(monitor)
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["relabelings"][-1]) == (
        "metrics",
        {
            "sourceLabels": ["__meta_kubernetes_pod_label_apps_kubernetes_io_pod_index"],
            "targetLabel": "process",
            "replacement": "shard-$1",
        },
    )
    assert "authorization" in endpoint


@pytest.mark.parametrize(
    ("settings", "cores", "memory"),
    [("", "500m", "4Gi"), (", threads: 2", "2", "4Gi"), (", threads: 2, ranks: 3", "6", "6Gi")],
)
def test_a_learner_of_ranks_asks_for_the_cores_of_all(
    tmp_path: Path, settings: str, cores: str, memory: str
) -> None:
    deep = f"model: {{kind: dcn_v2, tokens: [user], publish_every: 1h{settings}}}\n"
    text = re.sub(r"^model:.*(\n  .*)*\n", deep, TEXT, flags=re.MULTILINE)
    found = resources(pipeline(tmp_path, text + WHOLE), TARGET)["learner.yaml"]
    kubernetes_validate.validate(found[-1], KUBERNETES, strict=True)
    (container,) = found[-1]["spec"]["template"]["spec"]["containers"]
    given = container["resources"]
    assert (given["requests"]["cpu"], given["limits"]["memory"]) == (cores, memory)


def test_the_same_is_written_again_and_a_changed_file_starts_pods_anew(tmp_path: Path) -> None:
    declared = pipeline(tmp_path)
    paths = write(declared, TARGET, tmp_path / "out")
    before = [path.read_bytes() for path in paths]
    write(declared, TARGET, tmp_path / "out")
    assert [path.read_bytes() for path in paths] == before
    first = [each["metadata"]["annotations"] for each in pods_of(resources(declared, TARGET))]
    declared.path.write_text(declared.path.read_text() + "# changed\n")
    again = [each["metadata"]["annotations"] for each in pods_of(resources(declared, TARGET))]
    assert len(first) == 4
    assert all(one != other for one, other in zip(first, again, strict=True))


def test_images_have_what_is_locked(tmp_path: Path) -> None:
    write(pipeline(tmp_path), TARGET, tmp_path)
    root = Path(__file__).parents[2]
    for name in ("jobs", "processes"):
        text = (tmp_path / f"Dockerfile.{name}").read_text()
        copied = re.findall(r"^COPY ((?:requirements|dist)/.*) \S+$", text, flags=re.MULTILINE)
        files = " ".join(copied).split()
        assert files == [
            "requirements/build.txt",
            "requirements/run.txt",
            "dist/headrace-1.2.3-py3-none-any.whl",
        ]
        assert all((root / each).is_file() for each in files[:2])
        assert text.count("--require-hashes") == 2
        assert re.search(r"^USER [1-9]\d*$", text, flags=re.MULTILINE)
    assert "flink-s3-fs-presto-2.3.0.jar" in (tmp_path / "Dockerfile.jobs").read_text()


def test_a_table_that_is_no_text_is_carried_too(tmp_path: Path) -> None:
    declared = pipeline(tmp_path)
    (tmp_path / "users.csv").write_bytes(b"\xff\x00")
    found = around.config_map(declared, TARGET)
    assert base64.b64decode(found["binaryData"]["users.csv"]) == b"\xff\x00"
    kubernetes_validate.validate(found, KUBERNETES, strict=True)


# --- what cannot run there ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT + SERVE, r"a broker of its own.*; add kafka: \{bootstrap: host:9092\}"),
        (TEXT + "kafka: {bootstrap: '127.0.0.1:9092'}\n" + SERVE, "in a pod is the pod itself"),
        (TEXT + "kafka: {bootstrap: 'kafka:9092'}\n", r"answers at 127.0.0.1, port 0.*add serve:"),
        (TEXT + WHOLE + "flink: {rest: 'flink:8081'}\n", "at flink:8081; leave `rest` out"),
        (TEXT + WHOLE.replace("port: 8000", "port: 0"), "answers at 0.0.0.0, port 0"),
        (TEXT + WHOLE.replace("small-store", "other"), "does not answer to that name; add small-"),
        (TEXT + WHOLE.replace("read: env:READ_TOKEN, ", ""), "nobody has a token to read"),
        (TEXT + WHOLE.replace("learner: 9102", "learner: 0"), "any port that is free.*choose one"),
        (TEXT + WHOLE.replace("env:READ", "file:/READ"), "file:/READ_TOKEN, a file that pods do"),
        (
            TEXT.replace("x: int64}}", "x: int64}, files: c.csv, live_from: 2026-01-01T00:00:00Z}")
            + WHOLE,
            "the source 'click' has files, and a pod has none; send them",
        ),
    ],
)
def test_a_pipeline_that_cannot_run_in_pods_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "c.csv").write_text("at,name,user,page,x\n")
    declared = pipeline(tmp_path, text)
    with pytest.raises(HeadraceError, match=said):
        write(declared, TARGET, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "a_b"}, r"the name 'a_b'.*no DNS label.*give another by --name"),
        ({"name": "a" * 38}, "of at most 37 characters"),
        ({"secret": "Up"}, "give another by --secret"),
        ({"namespace": "-a"}, "give another by --namespace"),
        ({"storage_class": "a b"}, "the storage class 'a b'.*--storage-class"),
        ({"image": "hub/shop:1.0"}, r"'hub/shop:1.0'; it has a tag"),
        ({"image": "hub/shop@sha256:0"}, "it has a tag, or is no image's name"),
        ({"storage": "20GB"}, "'20GB'; that is no size; write it like 20Gi"),
        ({"checkpoints": ""}, "no object storage.*; give --checkpoints s3://bucket/folder"),
        ({"checkpoints": "/mnt/flink"}, "no object storage"),
        ({"checkpoints": "file:///mnt"}, "object storage 'file'; known: .*'gs'.*'s3'"),
    ],
)
def test_a_target_that_cannot_be_is_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(HeadraceError, match=said):
        write(pipeline(tmp_path), replace(TARGET, **changed), tmp_path / "out")


def test_files_that_cannot_be_carried_are_refused(tmp_path: Path) -> None:
    declared = pipeline(tmp_path)
    (tmp_path / "users.csv").write_text("x" * 1_000_001)
    with pytest.raises(EnvironmentProblem, match=r"1,0.* bytes, and it takes a MiB"):
        around.config_map(declared, TARGET)
    (tmp_path / "users.csv").unlink()
    with pytest.raises(EnvironmentProblem, match=r"users.csv; No such file"):
        around.config_map(declared, TARGET)


# --- as it is typed -------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote_and_what_the_secret_needs(say: Say, tmp_path: Path) -> None:
    declared = pipeline(tmp_path)
    words = ["deploy", "kubernetes", declared.path, "--image", "hub/small"]
    words += ["--out", tmp_path / "out", "--checkpoints", "s3://bucket/flink"]
    status, said = say(*words)
    assert status == 0, said
    assert f"{tmp_path}/out/views.yaml is written" in said
    assert "the Secret small is to have ADMIN_TOKEN, KAFKA_PASSWORD, READ_TOKEN" in said
    status, said = say(*words, "--secret", "other", "--json")
    told = json.loads(said)
    assert len(told.pop("written")) == 9
    assert told["images"][0].startswith("hub/small-jobs:")
    assert told["secret"] == "other"  # noqa: S105  # a name
    declared.path.write_text(
        declared.path.read_text() + "flink: {parallelism: 3, checkpoints: s3://b/c}\n"
    )
    status, said = say(*words[:-2])
    assert status == 0, said
    text = (tmp_path / "out" / "views.yaml").read_text()
    assert "parallelism: 3" in text
    assert "execution.checkpointing.dir: s3://b/c/small/views/" in text
    status, said = say(*words, "--name", "a_b")
    assert status == 1
    assert said.startswith("headrace: asked for the name 'a_b' in Kubernetes; ")
    status, said = say(*words, "--parallelism", "0")
    assert status == 2


def test_the_page_is_true(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text("utf-8")
    part = page[page.index("## On Kubernetes") :]
    lines = re.findall(r"^```yaml\n(.*?)^```", part, flags=re.M | re.S)[0]
    asked = re.findall(r"^headrace (deploy .*)$", part, flags=re.M)
    assert len(asked) == 1
    monkeypatch.chdir(tmp_path)
    assert say("init", "shop")[0] == 0
    with Path("shop.yaml").open("a") as file:
        file.write(lines)
    status, said = say(*asked[0].split())
    assert status == 0, said
    assert {path.name for path in Path("kubernetes").iterdir()} == {
        *KINDS,
        "Dockerfile.jobs",
        "Dockerfile.processes",
    }
    assert all(f"`{name}`" in part for name in KINDS)
    images = re.findall(r"-t (\S+) \.$", part, flags=re.M)
    assert len(images) == 2
    whole = "".join(Path("kubernetes", name).read_text() for name in KINDS)
    assert all(f"image: {image}\n" in whole for image in images)
    secret = re.findall(r"--from-literal=(\w+)=", part)
    assert secret == ["READ_TOKEN", "PREDICT_TOKEN"]
    assert f"the Secret shop is to have {', '.join(sorted(secret))}" in said


@pytest.mark.kafka
def test_topics_are_made_once_and_a_source_that_nobody_writes_is_missed(
    broker: Broker, tmp_path: Path
) -> None:
    text = TEXT.replace("pipeline: small", "pipeline: podded")
    text = text.replace("ask: {columns", "ask: {topic: podded-ask, columns")
    declared = pipeline(
        tmp_path, text.replace("click: {columns", "click: {topic: podded-click, columns")
    )
    with pytest.raises(EnvironmentProblem, match="there is no topic podded-ask, podded-click"):
        roles.run_topics(declared, broker.address, tmp_path / "state")
    transport.create_topics(broker.address, assembly.source_topics(declared))
    for _ in range(2):
        roles.run_topics(declared, broker.address, tmp_path / "state")
    names = {topic.name for topic in assembly.topics(declared)}
    assert names <= transport.topics(broker.address)
