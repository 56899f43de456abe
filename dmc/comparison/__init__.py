"""Networks of several kinds, and `MatrixCompletion`, on one matrix: steps, seconds, parameters, held-out error."""
