"""The command line as ``python -m vetrina.cli``, which is how Vetrina starts its own commands."""

from vetrina.cli.main import main

if __name__ == "__main__":
    main()
