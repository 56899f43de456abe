"""The recommender inside other frameworks: one module per framework, imported only on demand."""
