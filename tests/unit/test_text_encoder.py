"""A pretrained encoder of the shop's choice: here a tiny one with random weights, made on the spot."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from vetrina.core.errors import BadInput
from vetrina.core.progress import Silent
from vetrina.core.types import Catalogue, Past, Plan
from vetrina.models.text import online, train
from vetrina.models.text.pretrained import Network, located

TITLES = ("red dress", "blue dress", "toy car", "red car")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "ask", "product", "red", "blue", "dress", "toy", "car")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    """A folder as sentence-transformers writes it: first token pools, and texts are announced."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(1)
    shape = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,
    )
    BertModel(shape).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    prompts = {"prompts": {"query": "ask ", "passage": "product "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return str(folder)


@pytest.fixture
def opened(encoder, tmp_path):
    """The model as it serves."""
    names, nothing = np.array(["a", "b", "c", "d"]), np.full(4, np.nan)
    empty = ("",) * 4
    catalogue = Catalogue(names, TITLES, empty, empty, empty, empty, nothing, nothing, nothing)
    into = tmp_path / "work/fit/text"
    into.mkdir(parents=True)
    notes = train.fit(Past(catalogue), replace(Plan(), encoder=encoder), into, Silent())
    assert notes["encoder"] == encoder
    assert notes["parity_cosine"] > 0.99
    return online.open(into)


def test_vectors_are_those_of_its_first_token_with_what_it_wants_before_a_text(encoder, opened):
    network = Network(located(encoder)).eval()
    tokens = torch.tensor([[WORDS.index(w) for w in ("[CLS]", "ask", "red", "dress")]])
    with torch.no_grad():
        wanted = network(tokens, torch.ones_like(tokens))[0].numpy()
    assert float(opened.encode("red dress") @ wanted) > 0.99
    np.testing.assert_allclose(np.linalg.norm(opened.vectors(np.arange(4)), axis=1), 1.0, atol=0.02)


def test_a_product_is_nearest_to_its_own_text(encoder, opened):
    own = Network(located(encoder)).eval()
    for item, title in enumerate(TITLES):
        tokens = torch.tensor([[WORDS.index(w) for w in ("[CLS]", "product", *title.split())]])
        with torch.no_grad():
            vector = own(tokens, torch.ones_like(tokens))[0].numpy()
        assert opened.nearest(vector, 1).tolist() == [item]


def test_what_is_no_encoder_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"lacks config\.json, tokenizer\.json"):
        located(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="cannot be had"):
        located("nobody/no-such-encoder")
    with pytest.raises(BadInput, match="cannot be had"):
        located("not an id !")
