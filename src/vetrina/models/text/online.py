"""Semantic search: the query encoder and the nearest product texts."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vetrina.bundle import zstd_file
from vetrina.bundle.bit_packing import PackedIntegers
from vetrina.bundle.dense.read import DenseIndex
from vetrina.bundle.elias_fano import concatenated_ranges
from vetrina.bundle.onnx_session import open_session
from vetrina.core.arrays import Floats, Ints

CONFIG_FILE = "encoder.json"
INDEX_FILE = "index.faiss"


class TextEncoder:
    """A sentence encoder in ONNX Runtime with its tokenizer: texts to unit vectors (n, width).

    Another process that is sent an encoder opens its files again.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._folder = folder
        self._threads = threads
        config = msgspec.json.decode((folder / CONFIG_FILE).read_bytes())
        self._query_prompt: str = config["query_prompt"]
        self._document_prompt: str = config["document_prompt"]
        self._tokenizer = Tokenizer.from_buffer(zstd_file.read(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(config["max_tokens"])
        self._tokenizer.enable_padding(pad_id=config["padding_id"])
        self._session = open_session(zstd_file.read(folder / "encoder.onnx"), threads)

    def __reduce__(self) -> tuple[type, tuple[Path, int]]:
        return type(self), (self._folder, self._threads)

    def tokenise(self, texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask (n, length) of texts as they are."""
        encodings = self._tokenizer.encode_batch(texts)
        tokens = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        return tokens, mask

    def tokenise_queries(self, queries: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask (n, length) of queries with the encoder's query prompt."""
        return self.tokenise([self._query_prompt + query for query in queries])

    def encode(self, texts: list[str]) -> Floats:
        """Unit vectors (n, width) of texts as they are."""
        tokens, mask = self.tokenise(texts)
        return self._session.run(None, {"tokens": tokens, "mask": mask})[0]

    def has_token(self, word: str) -> bool:
        """Whether the vocabulary has a token for the whole word."""
        return self._tokenizer.token_to_id(word) is not None

    def encode_documents(self, texts: list[str]) -> Floats:
        """Unit vectors (n, width) of product texts with the encoder's document prompt."""
        return self.encode([self._document_prompt + text for text in texts])

    def encode_queries(self, texts: list[str]) -> Floats:
        """Unit vectors (n, width) of queries with the encoder's query prompt."""
        return self.encode([self._query_prompt + text for text in texts])

    def encode_query(self, text: str) -> Floats:
        """Unit vector (width,) of a query."""
        return self.encode_queries([text])[0]

    def vocabulary(self) -> list[str]:
        """The text of each token by its id, without the marks of its place in a word."""
        texts = []
        for token_id in range(self._tokenizer.get_vocab_size()):
            token = self._tokenizer.id_to_token(token_id) or ""
            text = token.removeprefix("##").replace("▁", " ").replace("Ġ", " ")
            texts.append(text.strip())
        return texts


class TextRetriever:
    """Nearest products of a query vector, over the vectors of distinct product texts."""

    def __init__(self, folder: Path) -> None:
        self._encoder = TextEncoder(folder)
        self._text_of = PackedIntegers(folder, "text_of")[:]
        order = np.argsort(self._text_of, kind="stable").astype(np.int32)
        n_texts = int(self._text_of.max(initial=-1)) + 1
        self._items_by_text = order
        self._starts = np.searchsorted(self._text_of[order], np.arange(n_texts + 1))
        self._index = DenseIndex(folder / INDEX_FILE)

    def encode_query(self, query: str) -> Floats:
        """Unit vector (width,) of a query."""
        return self._encoder.encode_query(query)

    def has_token(self, word: str) -> bool:
        """Whether the encoder's vocabulary has a token for the whole word, as for the common words of its language."""
        return self._encoder.has_token(word)

    def nearest(self, vector: Floats, limit: int) -> Ints:
        """Products (n,) of the ``limit`` nearest texts, best first; products of one text stand together."""
        texts, _ = self._index.nearest(vector, limit)
        starts = self._starts[texts]
        lengths = self._starts[texts + 1] - starts
        return self._items_by_text[concatenated_ranges(starts, lengths)]

    def vectors(self, items: Ints) -> Floats:
        """Vectors (n, width) of products (n,)."""
        texts, inverse = np.unique(self._text_of[items], return_inverse=True)
        return self._index.vectors(texts)[inverse]


def load(folder: Path) -> TextRetriever:
    """Opens what ``train`` or ``compress`` wrote."""
    return TextRetriever(folder)
