"""The OpenAPI document states a bound for every text, number, list and object that a request may hold."""

from collections.abc import Iterator
from typing import Any

import pytest

from vetrina.core.errors import BadInput
from vetrina.core.filters import Filters, parse_filters
from vetrina.scenarios.search.schema import SearchBody
from vetrina.serve.app import create_app
from vetrina.serve.openapi import describe
from vetrina.serve.schemas import EventBody, ProductBody, parse_body

FEWEST_SCHEMAS = 8  # that requests are made of
BOUNDS = {
    "string": ("maxLength", "enum"),
    "integer": ("maximum",),
    "number": ("maximum",),
    "array": ("maxItems",),
    "object": ("additionalProperties", "maxProperties"),
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The OpenAPI document of an empty shop."""
    return describe(create_app(tmp_path_factory.mktemp("empty") / "shop"))


def unbounded(schema: Any, path: str) -> Iterator[str]:
    """Where a schema takes a value without a bound."""
    if isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from unbounded(inner, f"{path}[{number}]")
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if isinstance(kind, str) and kind in BOUNDS and not any(name in schema for name in BOUNDS[kind]):
        yield path
    is_open_object = schema.get("additionalProperties") not in (None, False)
    if kind == "object" and is_open_object and "maxProperties" not in schema:
        yield path
    for name, inner in schema.items():
        if name not in ("enum", "default"):
            yield from unbounded(inner, f"{path}.{name}")


def named_schemas(part: Any) -> Iterator[str]:
    """Names of the schemas that a part of the document refers to."""
    if isinstance(part, list):
        for inner in part:
            yield from named_schemas(inner)
    if isinstance(part, dict):
        for name, inner in part.items():
            if name == "$ref":
                yield inner.rpartition("/")[2]
            else:
                yield from named_schemas(inner)


def schemas_of_requests(document: dict[str, Any]) -> dict[str, Any]:
    """The schemas of request bodies, with those that they are made of."""
    schemas = document["components"]["schemas"]
    bodies = []
    for methods in document["paths"].values():
        bodies += [operation.get("requestBody") for operation in methods.values()]
    open_names = list(named_schemas(bodies))
    of_requests: dict[str, Any] = {}
    while open_names:
        name = open_names.pop()
        if name not in of_requests:
            of_requests[name] = schemas[name]
            open_names += named_schemas(schemas[name])
    return of_requests


def test_every_value_of_a_request_has_a_bound(document):
    schemas = schemas_of_requests(document)
    assert len(schemas) >= FEWEST_SCHEMAS
    unbounded_places = []
    for name, schema in schemas.items():
        unbounded_places += unbounded(schema, name)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", []):
                unbounded_places += unbounded(parameter["schema"], f"{method} {path} {parameter['name']}")
    assert unbounded_places == []


def test_every_route_states_its_refusals(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path in ("/healthz", "/readyz"):
                continue
            assert "400" in operation["responses"], path
            if "security" in operation:
                assert "401" in operation["responses"], path
            if "requestBody" in operation:
                assert {"413", "415"} <= set(operation["responses"]), f"{method} {path}"


@pytest.mark.parametrize("text", ["a\x00", "a\n", "\x7f", "", "x" * 257], ids=repr)
def test_an_id_holds_no_control_character_and_has_a_length(text):
    """S4, S40: one rule for every id."""
    with pytest.raises(BadInput, match="user_id"):
        parse_body({"user_id": text, "type": "view"}, EventBody)


@pytest.mark.parametrize(
    "fields",
    [
        {"cost": -1.0},
        {"price": 1e13},
        {"stock": -1},
        {"attributes": {"a": {"b": {"c": 1}}}},
        {"attributes": {"a": 10**16}},
        {"description": "x" * 60_000},
        {"title": "a\x00"},
    ],
    ids=str,
)
def test_a_product_out_of_bounds_is_refused(fields):
    with pytest.raises(BadInput, match=next(iter(fields))):
        parse_body({"title": "a", **fields}, ProductBody)


def test_a_number_is_no_truth_value_and_a_whole_float_is_an_integer():
    with pytest.raises(BadInput, match="explain"):
        parse_body({"query": "a", "explain": 0}, SearchBody)
    assert parse_body({"query": "a", "limit": 5.0}, SearchBody).limit == 5


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"weight": 3}, "weight"),
        ({"brand": ["a"] * 51}, "brand"),
        ({"price": {"min": "1"}}, "price"),
        ({"price": {"least": 1}}, "least"),
        ({"in_stock": 1}, "in_stock"),
    ],
    ids=str,
)
def test_a_filter_that_is_not_understood_is_named(fields, named):
    """S3, S11: a filter is understood or refused, never ignored."""
    with pytest.raises(BadInput, match=named):
        parse_filters(fields)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        (Filters(category="Home"), True),
        (Filters(category=["Garden", "Home > Lamps"]), True),
        (Filters(category="Home > Lam"), False),
        (Filters(brand="Alder", in_stock=True), True),
        (Filters(in_stock=False), False),
        (parse_filters({"price": {"min": 5, "max": 9}}), True),
        (parse_filters({"price": {"min": 9.5}}), False),
        (parse_filters({"stock": {"min": 0}}), False),
    ],
    ids=str,
)
def test_a_category_filter_holds_all_below_it_and_a_range_both_ends(filters, matches):
    product = {"category": "Home > Lamps", "brand": "Alder", "price": 9.0}
    assert filters.match(product) is matches
