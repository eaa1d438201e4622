"""Ads scenario: which ads a user is shown, in which order and at which price."""
