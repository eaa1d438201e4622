"""Encodes a query and finds the products whose text means the like."""

from pathlib import Path

import msgspec
import numpy as np
from tokenizers import Tokenizer

from vetrina.core import zstd_file
from vetrina.core.bit_packing import PackedIntegers
from vetrina.core.elias_fano import concatenated_ranges
from vetrina.core.onnx_session import open_session
from vetrina.core.types import Floats, Ints
from vetrina.retrieval.dense import DenseIndex
from vetrina.retrieval.transform_coding import AXES_FILE, INDEX_FILE, TransformCodedIndex

REASON = "means what you asked for"
CONFIG_FILE = "encoder.json"


class TextEncoder:
    """Text to unit vectors (n, width)."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        used = msgspec.json.decode((folder / CONFIG_FILE).read_bytes())
        self._query_prompt: str = used["query"]
        self._document_prompt: str = used["document"]
        self._tokenizer = Tokenizer.from_buffer(zstd_file.read(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(used["longest"])
        self._tokenizer.enable_padding(pad_id=used["pad"])
        self._session = open_session(zstd_file.read(folder / "encoder.onnx"), threads)

    def tokenise(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and mask, int64 (n, length)."""
        coded = self._tokenizer.encode_batch(texts)
        return np.array([c.ids for c in coded], np.int64), np.array([c.attention_mask for c in coded], np.int64)

    def tokenise_queries(self, queries: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and mask of what somebody asks, int64 (n, length)."""
        return self.tokenise([self._query_prompt + query for query in queries])

    def encode(self, texts: list[str]) -> Floats:
        """Unit vectors (n, width) float32 of texts as they are."""
        tokens, mask = self.tokenise(texts)
        return self._session.run(None, {"tokens": tokens, "mask": mask})[0]

    def has_token(self, word: str) -> bool:
        """Whether there is a token for the whole word."""
        return self._tokenizer.token_to_id(word) is not None

    def encode_documents(self, texts: list[str]) -> Floats:
        """Unit vectors (n, width) of products' texts."""
        return self.encode([self._document_prompt + text for text in texts])

    def encode_queries(self, texts: list[str]) -> Floats:
        """Unit vectors (n, width) of what somebody asks."""
        return self.encode([self._query_prompt + text for text in texts])

    def encode_query(self, text: str) -> Floats:
        """Unit vector (width,) of what somebody asks."""
        return self.encode_queries([text])[0]

    def vocabulary(self) -> list[str]:
        """What each token stands for, by its number, without the marks of where in a word it stands."""
        tokens = (self._tokenizer.id_to_token(i) or "" for i in range(self._tokenizer.get_vocab_size()))
        return [token.removeprefix("##").replace("▁", " ").replace("Ġ", " ").strip() for token in tokens]


class TextRetriever:
    """Vectors of distinct texts; ``text_of`` (items,) says which text a product has."""

    def __init__(self, folder: Path) -> None:
        self._encoder = TextEncoder(folder)
        self._text_of = PackedIntegers(folder, "text_of")[:]
        order = np.argsort(self._text_of, kind="stable").astype(np.int32)
        self._items_by_text = order
        self._starts = np.searchsorted(self._text_of[order], np.arange(int(self._text_of.max(initial=-1)) + 2))
        coded = (folder / AXES_FILE).exists()
        self._index = TransformCodedIndex(folder) if coded else DenseIndex(folder / INDEX_FILE)

    def encode_query(self, query: str) -> Floats:
        """Unit vector (width,) of what somebody asks, as ``nearest`` is asked and ``vectors`` are given."""
        return self._index.to_index_space(self._encoder.encode_query(query))

    def has_token(self, word: str) -> bool:
        """Whether the encoder has a token for the whole word, as it has for those that are common in its language."""
        return self._encoder.has_token(word)

    def nearest(self, vector: Floats, limit: int) -> Ints:
        """Products (n,), best first; at most ``limit`` texts, products of one text stand together."""
        texts, _ = self._index.nearest(vector, limit)
        lengths = self._starts[texts + 1] - self._starts[texts]
        return self._items_by_text[concatenated_ranges(self._starts[texts], lengths)]

    def vectors(self, items: Ints) -> Floats:
        """(n, width) of some products."""
        texts, at = np.unique(self._text_of[items], return_inverse=True)
        return self._index.vectors(texts)[at]


def load(folder: Path) -> TextRetriever:
    """Read what ``train`` wrote."""
    return TextRetriever(folder)
