"""Which ads a shopper sees, in which order and at which price."""
