"""A shop whose truth is known, and shoppers who visit it over real HTTP."""
