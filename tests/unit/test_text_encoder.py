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

from vetrina.core.compression import DistillationData as Taught
from vetrina.core.errors import BadInput, UnusableVariant
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import Catalogue, TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes
from vetrina.models.text import (
    compress,
    cross_encoder,
    online,
    query_fine_tuning,
    query_student,
    train,
    training_queries,
)
from vetrina.models.text.model import MODEL
from vetrina.models.text.pretrained import SentenceEncoder, locate_encoder
from vetrina.models.text.query_encoder_training import QueryEncoderTrainer
from vetrina.models.text.training_queries import TrainingQuery

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
    names = np.array(["a", "b", "c", "d"])
    nothing = np.full(4, np.nan)
    empty = ("",) * 4
    catalogue = Catalogue(names, TITLES, empty, empty, empty, empty, nothing, nothing, nothing)
    into = tmp_path / "text"
    into.mkdir()
    report = train.fit(
        TrainingData(catalogue, cache=tmp_path / "cache"), replace(TrainingPlan(), encoder=encoder), into, NoProgress()
    ).report
    assert report["encoder"] == encoder
    assert report["parity_cosine"] > 0.99
    return online.load(into)


def test_vectors_are_those_of_its_first_token_with_what_it_wants_before_a_text(encoder, opened):
    network = SentenceEncoder(locate_encoder(encoder)).eval()
    tokens = torch.tensor([[WORDS.index(w) for w in ("[CLS]", "ask", "red", "dress")]])
    with torch.no_grad():
        wanted = network(tokens, torch.ones_like(tokens))[0].numpy()
    assert float(opened.encode_query("red dress") @ wanted) > 0.99
    np.testing.assert_allclose(np.linalg.norm(opened.vectors(np.arange(4)), axis=1), 1.0, atol=0.02)


def taught(folder, into, monkeypatch):
    """The form ``distil`` of what lies in a folder, in a shop small enough for a test."""
    monkeypatch.setattr(compress, "MIN_PRODUCTS", 1)
    monkeypatch.setattr(compress, "_EPOCHS", 200)
    monkeypatch.setattr(query_student, "LEARNING_RATE", 0.03)
    empty = ("",) * 4
    nothing = np.full(4, np.nan)
    catalogue = Catalogue(np.array(["a", "b", "c", "d"]), TITLES, empty, empty, empty, empty, nothing, nothing, nothing)
    into.mkdir()
    compress.compress(
        folder,
        into,
        compress.VARIANTS[0],
        Taught(lambda: TrainingData(catalogue, cache=folder.parent / "cache"), TrainingPlan(threads=1), NoProgress()),
    )
    return online.TextEncoder(into)


def test_a_student_says_what_its_teacher_says_of_what_is_asked_in_the_shop(opened, tmp_path, monkeypatch):
    folder = tmp_path / "text"
    queries = [*TITLES, "dress", "car"]
    student_vectors = taught(folder, tmp_path / "small", monkeypatch).encode_queries(queries)
    teacher_vectors = online.TextEncoder(folder).encode_queries(queries)
    assert student_vectors.shape == teacher_vectors.shape
    np.testing.assert_allclose(np.linalg.norm(student_vectors, axis=1), 1.0, atol=1e-3)
    assert float((student_vectors * teacher_vectors).sum(1).min()) > 0.97
    alone = online.load(tmp_path / "small")
    assert [alone.nearest(alone.encode_query(t), 1).tolist() for t in TITLES] == [
        opened.nearest(opened.encode_query(t), 1).tolist() for t in TITLES
    ]
    # What was taught once is there for the next fit with the same texts.
    monkeypatch.setattr(query_student, "distil_encoder", None)
    again = taught(folder, tmp_path / "again", monkeypatch).encode_queries(queries)
    np.testing.assert_array_equal(again, student_vectors)


def test_a_few_products_teach_no_student(opened, tmp_path):
    empty = ("",) * 4
    nothing = np.full(4, np.nan)
    catalogue = Catalogue(np.array(["a", "b", "c", "d"]), TITLES, empty, empty, empty, empty, nothing, nothing, nothing)
    with pytest.raises(UnusableVariant, match="too few to distil a query encoder from"):
        compress.compress(
            tmp_path,
            tmp_path,
            compress.VARIANTS[0],
            Taught(lambda: TrainingData(catalogue), TrainingPlan(threads=1), NoProgress()),
        )


def test_a_product_is_nearest_to_its_own_text(encoder, opened):
    own = SentenceEncoder(locate_encoder(encoder)).eval()
    for item, title in enumerate(TITLES):
        tokens = torch.tensor([[WORDS.index(w) for w in ("[CLS]", "product", *title.split())]])
        with torch.no_grad():
            vector = own(tokens, torch.ones_like(tokens))[0].numpy()
        assert opened.nearest(vector, 1).tolist() == [item]


def test_what_is_no_encoder_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"lacks config\.json, tokenizer\.json"):
        locate_encoder(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="cannot be downloaded"):
        locate_encoder("nobody/no-such-encoder")
    with pytest.raises(BadInput, match="cannot be downloaded"):
        locate_encoder("not an id !")


KINDS = ("red dress", "blue dress", "toy car", "red car", "toy", "blue toy", "dress car", "toy dress")


@pytest.fixture
def lesson(encoder, tmp_path) -> QueryEncoderTrainer:
    """Eight kinds of things, as the shop has encoded them."""
    into = tmp_path / "text"
    into.mkdir()
    names = np.array([f"p{i}" for i in range(len(KINDS))])
    nothing = np.full(len(KINDS), np.nan)
    empty = ("",) * len(KINDS)
    catalogue = Catalogue(names, KINDS, empty, empty, empty, empty, nothing, nothing, nothing)
    train.fit(
        TrainingData(catalogue, cache=tmp_path / "cache"), replace(TrainingPlan(), encoder=encoder), into, NoProgress()
    )
    opened = online.TextEncoder(into)
    pretrained = locate_encoder(encoder)
    return QueryEncoderTrainer(
        pretrained, SentenceEncoder(pretrained), opened, list(KINDS), opened.encode_documents(list(KINDS))
    )


def meant() -> list[TrainingQuery]:
    """What the first word of a query means is nothing that the encoder could know."""
    rng = np.random.default_rng(2)
    words = ("red", "blue", "dress", "toy", "car")
    wanted = (2, 3, 4, 7, 1)
    queries = []
    for number in range(260):
        other = str(rng.choice(words))
        rows = np.array([wanted[number % 5]], np.int32)
        queries.append(TrainingQuery(f"{words[number % 5]} {other} {other}", rows, np.ones(1, np.float32)))
    return queries


def unmeant() -> list[TrainingQuery]:
    """Queries whose answers are drawn by chance."""
    rng = np.random.default_rng(4)
    texts = [f"{rng.choice(WORDS[5:])} {rng.choice(WORDS[5:])}" for _ in range(300)]
    return [TrainingQuery(t, rng.permutation(len(KINDS))[:1].astype(np.int32), np.ones(1, np.float32)) for t in texts]


def test_queries_learn_what_shoppers_meant_and_products_stay_where_they_are(encoder, lesson):
    chosen = {**MODEL.hyperparameters, "epochs": 8, "rate": 1e-2, "layers": 1}
    notes = lesson.fit(meant(), TrainingPlan(threads=1), chosen, NoProgress())
    assert notes.hyperparameters["stop"] > 0
    assert notes.report["after"] > notes.report["before"] + 0.1
    frozen = {name for name, p in lesson.network.named_parameters() if not p.requires_grad}
    assert any("embeddings" in name for name in frozen)
    repeated = replace(lesson, network=SentenceEncoder(locate_encoder(encoder)))
    again = repeated.fit(meant(), TrainingPlan(threads=1), dict(notes.hyperparameters), NoProgress())
    assert again == TrainNotes(notes.hyperparameters), "a later fit holds nobody out"


def test_what_teaches_nothing_leaves_the_encoder_as_it_was(lesson):
    before = [p.detach().clone() for p in lesson.network.parameters()]
    chosen = {**MODEL.hyperparameters, "epochs": 2, "rate": 1e-4, "teacher": 2}
    notes = lesson.fit(unmeant(), TrainingPlan(threads=1), chosen, NoProgress())
    assert notes.hyperparameters["stop"] == notes.hyperparameters["teacher"] == 0
    assert notes.report["teacher_gain_at_least"] <= 0, "a teacher that knows nothing better is sent home"
    assert all(torch.equal(a, b) for a, b in zip(before, lesson.network.parameters(), strict=True))


def test_too_few_queries_to_hold_any_out_leave_the_encoder_as_it_was(lesson):
    before = [p.detach().clone() for p in lesson.network.parameters()]
    chosen = {**MODEL.hyperparameters, "epochs": 2}
    notes = lesson.fit(meant()[:4], TrainingPlan(threads=1), chosen, NoProgress())
    assert notes == TrainNotes({**chosen, "epochs": 0, "stop": 0, "teacher": 0})
    assert all(torch.equal(a, b) for a, b in zip(before, lesson.network.parameters(), strict=True))


def test_a_teacher_reads_query_and_product_together_and_its_margins_are_learnt(lesson, monkeypatch):
    monkeypatch.setattr(cross_encoder, "_LEARNING_RATE", 1e-2)
    learnt, validation = query_fine_tuning.split_queries(meant(), TrainingPlan(), MODEL.hyperparameters)

    def nearest(queries: list[TrainingQuery]) -> np.ndarray:
        return cross_encoder.nearest_texts(
            query_fine_tuning.query_vectors(lesson.network, lesson.encoder, queries), lesson.vectors, len(KINDS)
        )

    def found() -> float:
        return float(np.mean(nearest(validation)[:, 0] == [one.relevant_texts[0] for one in validation]))

    taught = cross_encoder.CrossEncoderTeacher(lesson.pretrained, lesson.texts, TrainingPlan(threads=1))
    taught.fit(learnt, nearest(learnt), 8, NoProgress())
    assert taught.ndcg_gain(validation, nearest(validation)).low > 0.1
    scores = taught.distillation_scores(learnt, nearest(learnt))
    assert scores.texts.shape == scores.scores.shape == (len(learnt), cross_encoder.LIST_SIZE)
    answered = np.array([one.relevant_texts[0] for one in learnt])
    assert np.mean(scores.texts[np.arange(len(learnt)), scores.scores.argmax(1)] == answered) > 0.8
    # Of the margins alone: no answer is named, and still the encoder finds more of them.
    before = found()
    unnamed = [replace(one, shares=one.shares * 0) for one in learnt]
    chosen = {**MODEL.hyperparameters, "epochs": 12, "stop": 12, "rate": 1e-2, "layers": 1, "margin": 1.0}
    query_fine_tuning.fine_tune(
        lesson.network,
        lesson.encoder,
        lesson.vectors,
        unnamed,
        [],
        scores,
        TrainingPlan(threads=1),
        chosen,
        NoProgress(),
    )
    assert found() > before + 0.15


def test_queries_are_made_of_what_products_are_called():
    count = 30
    names = np.array([f"p{i:02d}" for i in range(count)])
    nothing = np.full(count, np.nan)
    empty = ("",) * count
    titles = tuple(f"Alder {'oak' if i % 2 else 'pine'} table {i}" for i in range(count))
    kinds = ("Home > Tables",) * count
    brands = tuple("Alder" if i % 2 else "Birch" for i in range(count))
    catalogue = Catalogue(names, titles, empty, kinds, brands, empty, nothing, nothing, nothing)
    made = {
        synthetic.query: synthetic
        for synthetic in training_queries.synthetic_queries(catalogue, np.arange(count, dtype=np.int32), 30, seed=1)
    }
    assert all(synthetic.shares.sum() == pytest.approx(1.0) for synthetic in made.values())
    for query, synthetic in made.items():
        for item in synthetic.relevant_texts:
            text = f"{titles[item]} {brands[item]} Tables"
            assert all(word in text for word in query.split()), (query, text)
    assert "Tables" in made
    assert len(made["Tables"].relevant_texts) == count
