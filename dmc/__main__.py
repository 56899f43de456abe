"""`python -m dmc` is `dmc`."""

from dmc.cli.main import main

if __name__ == "__main__":
    main()
