"""HTML page of the HTTP API, rendered from its OpenAPI document.

One file without scripts that loads nothing from other servers.
"""

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
    """The HTML page of an OpenAPI 3.1 document."""
    title = schema["info"]["title"]
    version = schema["info"]["version"]
    schemas = schema.get("components", {}).get("schemas", {})
    sections = []
    for path, methods in sorted(schema["paths"].items()):
        for method, operation in methods.items():
            sections.append(_route(path, method, operation, schemas))
    routes = "".join(sections)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)} {escape(version)}</h1><p>For machines: <a href='/openapi.json'>openapi.json</a>, with all "
        f"bounds. Routes for operators need <code>Authorization: Bearer TOKEN</code>.</p>{routes}</html>"
    )


def _route(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The HTML section of one route: its description and the fields of its request body."""
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("schema", {})
    rows = []
    for name, types, is_required in _body_fields(body, schemas):
        mark = "required" if is_required else ""
        rows.append(f"<tr><td><code>{escape(name)}</code><td>{escape(types)}<td>{mark}</tr>")
    table = f"<table>{''.join(rows)}</table>" if rows else ""
    description = operation.get("description") or operation.get("summary") or ""
    return f"<h2><b>{method}</b> <code>{escape(path)}</code></h2><p>{escape(description)}</p>{table}"


def _body_fields(body: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Name, JSON types and whether it is required, of each field of a body that is an object or a list of objects."""
    object_schema = _resolve_object(body, schemas)
    for name, field in object_schema.get("properties", {}).items():
        yield name, _json_types(_resolve_reference(field, schemas)), name in object_schema.get("required", ())


def _resolve_object(body: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of the first object in a body, following references, alternatives and lists; empty if there is none."""
    if "$ref" in body:
        return _resolve_reference(body, schemas)
    for inner in (*body.get("oneOf", ()), *body.get("anyOf", ()), body.get("items")):
        object_schema = _resolve_object(inner, schemas) if inner else {}
        if object_schema:
            return object_schema
    return {}


def _resolve_reference(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference names; any other schema itself."""
    if "$ref" not in schema:
        return schema
    return schemas.get(schema["$ref"].rsplit("/", 1)[-1], {})


def _json_types(field: Mapping[str, Any]) -> str:
    """The JSON types of a field without null, such as "string or number"."""
    names: list[str] = []
    for choice in (field, *field.get("oneOf", ()), *field.get("anyOf", ())):
        types = choice.get("type", [])
        if isinstance(types, str):
            types = [types]
        names.extend(types)
    return " or ".join(name for name in dict.fromkeys(names) if name != "null")
