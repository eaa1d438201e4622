"""EASE: a closed-form linear item-to-item model of the most frequent products."""
