"""Launch scenario: audiences for a new product, users similar to a list, or users of a segment."""
