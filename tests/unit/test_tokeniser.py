"""Text as words, and the index of them."""

from hypothesis import given
from hypothesis import strategies as st

from vetrina.bundle.lexical.read import LexicalIndex
from vetrina.bundle.lexical.write import write_lexical_index
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.filters import NO_FILTERS
from vetrina.core.tokeniser import split_unspaced_scripts, tokenise


def test_writing_without_spaces_is_taken_apart_by_characters_and_pairs():
    assert tokenise("红色连衣裙 Size-10") == [
        "红",
        "色",
        "连",
        "衣",
        "裙",
        "红色",
        "色连",
        "连衣",
        "衣裙",
        "size",
        "10",
    ]
    assert tokenise("Red Dress, size 10") == ["red", "dress", "size", "10"]
    assert split_unspaced_scripts("Müller's über-Jeans") == "Müller's über-Jeans"


@given(st.text(max_size=60))
def test_no_letter_is_lost_and_nothing_is_empty(text):
    found = tokenise(text)
    assert all(word and not word.isspace() for word in found)
    assert {c for c in text.lower() if c.isalnum()} <= set("".join(found))


def test_a_chinese_query_finds_the_product_that_holds_all_of_it_first(tmp_path):
    titles = ["红色长裤", "蓝色连衣裙", "红色连衣裙", "儿童玩具车", "Red dress 2026"]
    write_lexical_index(tmp_path, ({"item": i, "title": t, "everything": t} for i, t in enumerate(titles)))
    items, scores = LexicalIndex(tmp_path).search("红色连衣裙", 10)
    assert items[0] == 2
    assert set(items) == {0, 1, 2}
    assert scores[0] > 1.2 * scores[1]
    assert LexicalIndex(tmp_path).search("RED dresses", 10)[0].tolist() == [4]


def test_a_fresh_chinese_product_is_found_by_part_of_its_title():
    fresh = DeltaIndex(changed_products={"new": {"title": "红色连衣裙"}, "other": {"title": "儿童玩具车"}})
    assert [product for product, _ in fresh.search("连衣裙", NO_FILTERS)] == ["new"]
