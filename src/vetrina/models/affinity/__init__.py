"""Who bought most of the category: the dull way to choose whom to tell."""
