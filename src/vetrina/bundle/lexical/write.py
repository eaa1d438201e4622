"""Writer of the BM25 index."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import tantivy

from vetrina.bundle.lexical.read import BOOSTS
from vetrina.core.tokeniser import split_unspaced_scripts

_TOKENIZER = "en_stem"
_HEAP_BYTES = 64_000_000


def _schema() -> tantivy.Schema:
    """The fields: text under the names of BOOSTS, without word positions, and ``item``, the catalogue index."""
    builder = tantivy.SchemaBuilder()
    for name in BOOSTS:
        builder.add_text_field(name, stored=False, tokenizer_name=_TOKENIZER, index_option="freq")
    builder.add_unsigned_field("item", stored=False, fast=True)
    return builder.build()


def write_lexical_index(folder: Path, documents: Iterable[Mapping[str, str | int]]) -> None:
    """Write an index of ``documents`` in one segment order, so that equal input gives equal ranks."""
    schema = _schema()
    index = tantivy.Index(schema, path=str(folder))
    writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)
    for document in documents:
        texts = {name: split_unspaced_scripts(str(document[name])) for name in BOOSTS}
        writer.add_document(tantivy.Document.from_dict({**document, **texts}, schema))
    writer.commit()
    writer.wait_merging_threads()
