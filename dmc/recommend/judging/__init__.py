"""How good a recommender is: splits, rows that are held out, simple rivals, intervals and comparisons."""
