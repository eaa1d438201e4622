"""Files of a target: plain manifests with Kustomize overlays, or a Helm chart."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_folder
from vetrina.core.version import VERSION
from vetrina.deploy import TARGETS
from vetrina.deploy.templates import Templates
from vetrina.deploy.values import Values, values_schema, values_yaml

RELEASE_NAME = "vetrina"  # of the plain manifests, where Helm asks for one
_CHART = Path(__file__).parent / "chart"
_OVERLAYS = Path(__file__).parent / "overlays"
_HELPERS = "_helpers.tpl"
_LIST = ".rendered"  # names of the files in the folder, so that a later call knows what may be replaced
# Templates that the overlay high-availability adds where the values do not.
_OPTIONAL = ("autoscaling", "monitoring")
_ADDING_OVERLAY = "high-availability"
# 1.27 knows matchLabelKeys of topology spread constraints, and schemas before 1.29 refuse a podFailurePolicy by exit status.
_CHART_YAML = """\
apiVersion: v2
name: vetrina
description: Search, recommendations and ads of one shop
type: application
version: {version}
appVersion: {app_version}
kubeVersion: ">=1.29.0-0"
"""
_VALUES_INTRO = (
    "Values of the chart, with their defaults; values.schema.json checks them.",
    "values-small.yaml and values-high-availability.yaml are sets of values for helm install -f.",
)


def render_target(target: str, into: Path, values: Values) -> list[str]:
    """Write the files of a target to a folder, in one step.

    Args:
        target: ``kubernetes`` or ``helm``.
        into: The folder. One that holds nothing but what an earlier call wrote is replaced.
        values: What the manifests say.

    Returns:
        The names of the files.

    Raises:
        BadInput: The folder holds other files or cannot be written, or the target is unknown.
    """
    if target == "kubernetes":
        files = plain_manifests(values)
    elif target == "helm":
        files = helm_chart(values)
    else:
        raise BadInput(target, "is no target", f"use one of {', '.join(TARGETS)}")
    files[_LIST] = "".join(f"{name}\n" for name in files)
    _refuse_other_files(into)
    with atomic_folder(into, is_complete=lambda _: False) as folder:
        for name, text in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    return list(files)


def _refuse_other_files(into: Path) -> None:
    """Raise BadInput unless everything in a folder was written by an earlier call."""
    if not into.exists():
        return
    if not into.is_dir():
        raise BadInput(str(into), "is no folder", "name a new one")
    written = {_LIST}
    if (into / _LIST).exists():
        written.update((into / _LIST).read_text("utf-8").splitlines())
    for file in sorted(into.rglob("*")):
        name = str(file.relative_to(into))
        if not file.is_dir() and name not in written:
            way_out = "name a new folder, or move that file beside it: what is rendered replaces the whole folder"
            raise BadInput(str(into), f"holds {name}, which an earlier call did not write", way_out)


def plain_manifests(values: Values) -> dict[str, str]:
    """The text of each file of a Kustomize base and its overlays, by path."""
    templates = _templates()
    context = _context(values.to_dict())
    files: dict[str, str] = {}
    for template in sorted((_CHART / "templates").glob("*.yaml")):
        text = templates.render(template.read_text("utf-8"), context)
        if text.strip():
            files[f"base/{template.name}"] = text
    files["base/kustomization.yaml"] = _kustomization([Path(name).name for name in files])
    for template in sorted(_OVERLAYS.glob("*/*.yaml")):
        name = str(template.relative_to(_OVERLAYS.parent))
        files[name] = templates.render(template.read_text("utf-8"), context)
    all_enabled = values.to_dict()
    for name in _OPTIONAL:
        if not all_enabled[name]["enabled"]:
            all_enabled[name]["enabled"] = True
            text = (_CHART / "templates" / f"{name}.yaml").read_text("utf-8")
            files[f"overlays/{_ADDING_OVERLAY}/{name}.yaml"] = templates.render(text, _context(all_enabled))
    return files


def helm_chart(values: Values) -> dict[str, str]:
    """The text of each file of the chart, by path; its defaults are the values."""
    files: dict[str, str] = {}
    for file in sorted(_CHART.rglob("*")):
        if file.is_file():
            files[str(file.relative_to(_CHART))] = file.read_text("utf-8")
    files["Chart.yaml"] = _CHART_YAML.format(version=_semantic_version(VERSION), app_version=VERSION)
    files["values.yaml"] = values_yaml(values, _VALUES_INTRO)
    files["values.schema.json"] = json.dumps(values_schema(), indent=2) + "\n"
    return files


def _templates() -> Templates:
    helpers = (_CHART / "templates" / _HELPERS).read_text("utf-8")
    texts = {str(file.relative_to(_CHART)): file.read_text("utf-8") for file in (_CHART / "files").iterdir()}
    return Templates(helpers, texts)


def _context(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"Values": values, "Release": {"Name": RELEASE_NAME}}


def _kustomization(resources: list[str]) -> str:
    lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "resources:"]
    lines += [f"  - {name}" for name in resources]
    return "\n".join(lines) + "\n"


def _semantic_version(version: str) -> str:
    """A version of Python as Helm reads one: 0.2.0.dev1 is 0.2.0-dev1."""
    return re.sub(r"\.?((?:a|b|rc|dev|post)\d+)$", r"-\1", version)
