"""A page of figures about a fitted recommender."""
