"""Semantic search: a pretrained sentence encoder, and one vector for every distinct product text."""
