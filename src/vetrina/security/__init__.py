"""Keys, pseudonyms, signatures and tokens."""
