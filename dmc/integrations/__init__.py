"""The recommender inside other people's frameworks: one file for each host, imported only on demand."""
