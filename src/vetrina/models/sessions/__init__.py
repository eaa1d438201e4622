"""Session-kNN: what similar past sessions went on to."""
