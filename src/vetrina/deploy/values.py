"""Values of the manifests: types, defaults and documentation, and a file that changes some of them.

What a class here says is said once: `values.yaml`, `values.schema.json` and the checks of `--values` are made from it.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from vetrina.core.errors import BadInput
from vetrina.core.settings import Settings
from vetrina.core.version import VERSION

_WAY_OUT = "docs/how-to/kubernetes.md lists all values"
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@|[?&]password=")
_MIN_SIMILARITY = 0.6  # of a value's name to one that is meant
_REFERENCE = re.compile(r"^#/\$defs/")
_DEFAULT_SETTINGS = """\
[store]
url = "postgresql://vetrina@postgres/vetrina"  # its password is PGPASSWORD in the Secret
bundles = "s3://vetrina/shop"

[serve]
hosts = ["localhost", "vetrina-api"]  # every name by which clients call the service

[log]
format = "json"
"""

# Names of objects of Kubernetes, quantities of resources, and so on, as the API server checks them.
_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_IMAGE = r"^[^\s]+$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_SCHEDULE = r"^(@[a-z]+|([^\s]+ ){4}[^\s]+)$"
_MAX_REPLICAS = 1_000
_MAX_PORT = 65_535


class ImageValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Images, each with a tag or a digest."""

    serve: Annotated[str, Meta(pattern=_IMAGE, description="image of the service")] = f"vetrina-serve:{VERSION}"
    train: Annotated[str, Meta(pattern=_IMAGE, description="image of controller and jobs")] = f"vetrina-train:{VERSION}"


class SecretValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Names of Secrets, which must exist."""

    keys: Annotated[str, Meta(pattern=_NAME, description="the files of the shop's folder keys")] = "vetrina-keys"
    environment: Annotated[
        str, Meta(pattern=_NAME, description="variables: PGPASSWORD, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY")
    ] = "vetrina-environment"


class ApiValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The service."""

    replicas: Annotated[int, Meta(ge=1, le=_MAX_REPLICAS, description="pods, where nothing scales them")] = 2
    cpu: Annotated[str, Meta(pattern=_QUANTITY, description="requested CPU; a worker uses one core")] = "1"
    memory: Annotated[str, Meta(pattern=_QUANTITY, description="requested memory, and its limit")] = "1Gi"
    bundle_space: Annotated[
        str,
        Meta(
            pattern=_QUANTITY,
            description="disk for copies of bundles: each version that a pod has served since its start",
        ),
    ] = "10Gi"
    when_unsatisfiable: Annotated[
        Literal["ScheduleAnyway", "DoNotSchedule"],
        Meta(description="what happens to a pod where a second one on the same node is all that is left"),
    ] = "ScheduleAnyway"


class TrainingValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Controller and training."""

    cpu: Annotated[str, Meta(pattern=_QUANTITY, description="requested CPU; `[train] threads` uses it")] = "2"
    memory: Annotated[str, Meta(pattern=_QUANTITY, description="requested memory, and its limit")] = "4Gi"
    scheduled: Annotated[bool, Meta(description="train by the clock, too; the controller does when it is due")] = False
    schedule: Annotated[str, Meta(pattern=_SCHEDULE, description="when, in the terms of cron")] = "0 3 * * *"


class DataValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The volume of the lake."""

    shared: Annotated[
        bool, Meta(description="several nodes mount it (ReadWriteMany), so that two controllers run; else one does")
    ] = True
    size: Annotated[str, Meta(pattern=_QUANTITY, description="its size")] = "50Gi"
    storage_class: Annotated[
        str,
        Meta(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", description="its class; empty for the cluster's default"),
    ] = ""


class AutoscalingValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Pods of the service by requests in flight; needs an adapter for the metric."""

    enabled: Annotated[bool, Meta(description="make a HorizontalPodAutoscaler")] = False
    min_replicas: Annotated[int, Meta(ge=1, le=_MAX_REPLICAS, description="fewest pods")] = 3
    max_replicas: Annotated[int, Meta(ge=1, le=_MAX_REPLICAS, description="most pods")] = 10
    requests_in_flight: Annotated[
        str, Meta(pattern=_QUANTITY, description="mean number in a pod that another pod is started above")
    ] = "1"

    def __post_init__(self) -> None:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is more than maxReplicas {self.max_replicas}")


class NetworkPolicyValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who may call the service, and whom it may call."""

    enabled: Annotated[bool, Meta(description="make NetworkPolicies")] = True
    namespaces: Annotated[
        tuple[Annotated[str, Meta(pattern=_NAME)], ...],
        Meta(description="namespaces that may call it, beside its own"),
    ] = ("ingress-nginx", "monitoring")
    database_port: Annotated[int, Meta(ge=1, le=_MAX_PORT, description="port of the database")] = 5432
    storage_port: Annotated[int, Meta(ge=1, le=_MAX_PORT, description="port of object storage")] = 443


class MonitoringValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Objects of the Prometheus Operator."""

    enabled: Annotated[bool, Meta(description="make a ServiceMonitor, and a PrometheusRule with the alerts")] = False


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """All values."""

    settings: Annotated[str, Meta(description="the shop's vetrina.toml, without any secret")] = _DEFAULT_SETTINGS
    service_account: Annotated[str, Meta(pattern=_NAME, description="an existing ServiceAccount")] = "default"
    secrets: SecretValues = SecretValues()
    image: ImageValues = ImageValues()
    api: ApiValues = ApiValues()
    training: TrainingValues = TrainingValues()
    data: DataValues = DataValues()
    autoscaling: AutoscalingValues = AutoscalingValues()
    monitoring: MonitoringValues = MonitoringValues()
    network_policy: NetworkPolicyValues = NetworkPolicyValues()

    def to_dict(self) -> dict[str, Any]:
        """The values by the names that they have in a file."""
        return msgspec.to_builtins(self)


def load_values(file: Path | None) -> Values:
    """The values of a YAML file; what it does not name has its default.

    Raises:
        BadInput: The file cannot be read, or holds a value that does not exist, is not allowed or would show a password.
    """
    if file is None:
        return Values()
    import yaml

    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(str(file), f"is no YAML ({' '.join(str(error).split())})", "correct it there") from None
    try:
        values = msgspec.convert({} if content is None else content, Values)
    except msgspec.ValidationError as error:
        raise _wrong_value(file, str(error)) from None
    _check_settings(file, values.settings)
    return values


def _wrong_value(file: Path, message: str) -> BadInput:
    """What ``msgspec`` says about a value, with its name first and the nearest one that exists."""
    place = _PLACE.search(message)
    path = place.group(1) if place else ""
    rule = _PLACE.sub("", message)
    unknown = _UNKNOWN_FIELD.match(rule)
    if unknown is None:
        return BadInput(f"{file}: {path or 'the file'}", f"has a wrong value ({rule})", _WAY_OUT)
    name = ".".join(filter(None, (path, unknown.group(1))))
    nearest = difflib.get_close_matches(name, value_names(), 1, _MIN_SIMILARITY)
    if not nearest:
        return BadInput(f"{file}: {name}", "is no value of the manifests", _WAY_OUT)
    return BadInput(f"{file}: {name}", "is no value of the manifests", f"the nearest one is {nearest[0]}")


def _check_settings(file: Path, text: str) -> None:
    """Raise BadInput for a vetrina.toml that several pods cannot share, or that holds a password."""
    place = f"{file}: settings"
    try:
        settings = msgspec.convert(tomllib.loads(text), Settings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(place, str(error), "correct that entry; docs/reference/settings.md lists all") from None
    store = settings.store
    if not store.url.startswith("postgresql://"):
        raise BadInput(
            f"{place}: [store] url", "names no PostgreSQL, which pods share", "write postgresql://USER@HOST/NAME"
        )
    if "://" not in store.bundles or store.bundles.startswith("file"):
        raise BadInput(f"{place}: [store] bundles", "names no storage that pods share", "write s3://BUCKET/SHOP")
    if settings.serve.tls_cert:
        rule = "would have the pods speak TLS, and probes and Service ask them without"
        raise BadInput(f"{place}: [serve] tls_cert", rule, "leave TLS to the Ingress or to a mesh")
    rule = "holds a password, and a ConfigMap shows it to everybody"
    if _PASSWORD_IN_URL.search(store.url):
        raise BadInput(f"{place}: [store] url", rule, "make it PGPASSWORD of the Secret that secrets.environment names")
    if any(_PASSWORD_IN_URL.search(url) for url in settings.alerts.urls):
        raise BadInput(f"{place}: [alerts] urls", rule, "let Alertmanager send the alerts of the PrometheusRule")


def value_names() -> list[str]:
    """Every value and every group of values, such as ``api`` and ``api.memory``."""
    return [name for name, _ in _documented(values_schema())]


def values_schema() -> dict[str, Any]:
    """The JSON schema of the values."""
    (root,), definitions = msgspec.json.schema_components([Values], ref_template="#/$defs/{name}")
    name = _REFERENCE.sub("", root["$ref"])
    schema = definitions.pop(name)
    schema["properties"]["global"] = {"type": "object"}  # which Helm adds where this chart is a part of another one
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "$defs": definitions}


def values_yaml(values: Values, intro: Sequence[str]) -> str:
    """The values as a documented YAML file, which intro lines of a comment begin."""
    lines = [f"# {line}" for line in intro]
    all_values = values.to_dict()
    for name, description in _documented(values_schema()):
        *groups, own_name = name.split(".")
        value: Any = all_values
        for part in (*groups, own_name):
            value = value[part]
        indent = "  " * len(groups)
        if isinstance(value, dict):
            lines += ["", f"# {description}", f"{own_name}:"]
            continue
        lines += [f"{indent}# {description}", *_entry(indent, own_name, value)]
    return "\n".join(lines) + "\n"


def _entry(indent: str, name: str, value: Any) -> list[str]:
    if isinstance(value, str) and "\n" in value:
        body = [f"{indent}  {line}".rstrip() for line in value.splitlines()]
        return [f"{indent}{name}: |", *body]
    return [f"{indent}{name}: {json.dumps(value)}"]


def _documented(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and description of every value and group, in the order of the classes."""
    for name, entry in schema["properties"].items():
        reference = _reference_of(entry)
        if reference is None:
            if "description" in entry:
                yield name, entry["description"]
            continue
        group = cast(Mapping[str, Any], schema["$defs"][reference])
        yield name, group["description"].splitlines()[0]
        for inner_name, inner in group["properties"].items():
            yield f"{name}.{inner_name}", inner["description"]


def _reference_of(entry: Mapping[str, Any]) -> str | None:
    """The name of the definition that a property refers to."""
    if "$ref" in entry:
        return _REFERENCE.sub("", entry["$ref"])
    for alternative in entry.get("allOf", ()):
        return _reference_of(alternative)
    return None
