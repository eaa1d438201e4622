"""Products for a shopper, a session or a product page."""
