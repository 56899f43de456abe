"""Anybody's tables of ids and numbers, in memory or in files: columns by name, ids and their positions."""
