"""The page that shows every route, made from the OpenAPI document: one file, no scripts, nothing from elsewhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:1.8rem 0 .2rem}p{margin:.2rem 0}
code{font:14px ui-monospace,monospace}b{color:#2456a6;text-transform:uppercase}
table{border-collapse:collapse}td{border-bottom:1px solid #dde;padding:.15rem 1rem .15rem 0;vertical-align:top}
"""


def render_page(schema: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI 3.1 document."""
    title = schema["info"]["title"]
    version = schema["info"]["version"]
    known = schema.get("components", {}).get("schemas", {})
    routes = "".join(
        _route(path, method, operation, known)
        for path, methods in sorted(schema["paths"].items())
        for method, operation in methods.items()
    )
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)} {escape(version)}</h1><p>For machines: <a href='/openapi.json'>openapi.json</a>. Routes that "
        f"change anything but events want <code>Authorization: Bearer TOKEN</code>.</p>{routes}</html>"
    )


def _route(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(kind)}<td>{'required' if required else ''}</tr>"
        for name, kind, required in _body_fields(body, schemas)
    )
    table = f"<table>{rows}</table>" if rows else ""
    said = operation.get("description") or operation.get("summary") or ""
    return f"<h2><b>{method}</b> <code>{escape(path)}</code></h2><p>{escape(said)}</p>{table}"


def _body_fields(body: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Name, type and whether it is required, of the object that a body is, or is a list of."""
    found = _resolve_object(body, schemas)
    for name, field in found.get("properties", {}).items():
        yield name, _json_types(field), name in found.get("required", ())


def _resolve_object(body: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in body:
        return schemas.get(body["$ref"].rsplit("/", 1)[-1], {})
    for inner in (*body.get("oneOf", ()), *body.get("anyOf", ()), body.get("items")):
        if inner and (found := _resolve_object(inner, schemas)):
            return found
    return {}


def _json_types(field: Mapping[str, Any]) -> str:
    """The JSON types that a field takes; null is not worth a word."""
    choices = (field, *field.get("oneOf", ()), *field.get("anyOf", ()))
    named = [choice.get("type", []) for choice in choices]
    flat = [name for names in named for name in ([names] if isinstance(names, str) else names)]
    return " or ".join(name for name in dict.fromkeys(flat) if name != "null")
