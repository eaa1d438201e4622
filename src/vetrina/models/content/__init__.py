"""What products are, one vector each, whoever took them: a product that nobody has seen has one, too."""
