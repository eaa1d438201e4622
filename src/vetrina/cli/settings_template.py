"""The settings file that ``vetrina init`` writes."""

SETTINGS_TEMPLATE = """\
# Settings of this shop; every line shows its default. docs/reference/settings.md explains each.

# [columns.products]          # Vetrina's column name = the name in your file
# product_id = "sku"

# [weights]                   # weight of an event of each type when users' preferences are learnt
# view = 0.1

# [split]
# validation_days = 14.0
# holdout_days = 14.0

# [gate]
# margin = 0.02               # non-inferiority margin: largest relative loss against the champion

# [train]
# refit = true                # refit the served file on all data once the judged file has passed

# [serve]
# host = "127.0.0.1"
# port = 8337
"""
