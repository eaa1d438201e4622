"""One folder a scenario: ``recipe.py`` names the models, ``online.py`` answers, ``evaluate.py`` and ``tune.py`` need labels."""
