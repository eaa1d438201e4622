"""One folder a scenario: ``recipe.py`` names models, ``online.py`` answers, ``evaluate.py`` judges."""
