"""Named properties of products, whatever form a shop keeps them in."""

import polars as pl

from vetrina.data.product_tokens import product_tokens


def said(column: str, value: str) -> tuple[str, ...]:
    """The tokens of one cell."""
    return product_tokens(pl.DataFrame({column: [value]}), [column] if column not in ("category", "brand") else [])[0]


def test_a_product_is_in_every_level_of_its_category():
    assert said("category", "A > B > C") == ("category: A", "category: A > B", "category: A > B > C")


def test_json_lists_and_objects_name_their_values():
    assert said("attributes", '{"colour": "red", "sizes": [1, 2]}') == (
        "attributes colour: red", "attributes sizes: 1", "attributes sizes: 2",
    )  # fmt: skip
    assert said("attributes", "[12, 45]") == ("attributes: 12", "attributes: 45")
    assert said("specs", '[{"name": "width", "kind": "n", "value": "3"}]') == ("specs width: 3",)


def test_plain_text_is_a_list_where_it_has_separators():
    assert said("material", "wood, steel") == ("material: wood", "material: steel")
    assert said("attributes", "12 45") == ("attributes: 12", "attributes: 45")
    assert said("colour", "dark red") == ("colour: dark red",)
    assert said("colour", "{broken") == ("colour: {broken",)


def test_prose_and_nothing_name_nothing():
    assert said("story", "once upon a time " * 10) == ()
    assert product_tokens(
        pl.DataFrame({"brand": [None], "x": [""]}, schema={"brand": pl.String, "x": pl.String}), ["x"]
    ) == ((),)
