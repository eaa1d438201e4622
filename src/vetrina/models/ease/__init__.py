"""A closed-form linear model of the products that are taken most."""
