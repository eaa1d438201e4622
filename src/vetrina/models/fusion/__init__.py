"""One vector a product, of everything that is known of it: a product nobody has seen has a good one."""
