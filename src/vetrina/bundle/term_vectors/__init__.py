"""Term vectors of products: which words a title and a text have, for the match features that BM25 sums away.

Words are stemmed and stored as keyed 64-bit hashes (BLAKE2b). The key is a digest of all words of the catalogue: a seller who
makes up a word that should stand for another one changes the key, and with it every hash. Products with the same text share it.

- ``key`` (16 bytes): key of the hashes.
- ``term_hashes.npy`` (terms,) uint64, ascending: a term's number is its place here.
- ``idf.npy`` (terms,) float32: inverse document frequency.
- ``text_of`` (items,) bit-packed: number of each product's text.
- ``terms`` bit-packed: term numbers of all texts, one text after the other; those of its title first and in order.
- ``starts`` (texts + 1,) bit-packed: where each text starts in ``terms``.
- ``title_lengths`` (texts,) bit-packed: how many terms of each text are its title's.
"""
