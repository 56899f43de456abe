"""The program `dmc`."""
