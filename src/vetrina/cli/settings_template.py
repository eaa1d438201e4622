"""The settings file that ``vetrina init`` writes."""

SETTINGS_TEMPLATE = """\
# What this shop may set; every line shows its default. docs/reference/settings.md explains each.

# [columns.products]          # the design's name = the name in your file
# product_id = "sku"

# [weights]                   # how much an event type says about taste
# view = 0.1

# [split]
# validation_days = 14.0
# holdout_days = 14.0

# [gate]
# margin = 0.02               # how much worse than the champion a candidate may be

# [train]
# refit = true                # train the served file on everything once the judged one passed

# [serve]
# host = "127.0.0.1"
# port = 8337
"""
