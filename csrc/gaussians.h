// Many small symmetric positive definite systems at once: the posteriors of lines, each from its own matrix.
#pragma once

#include <cstdint>

namespace dmc {

// Line i has the matrix whose upper triangle stands in grams[i · k(k+1)/2 …], row by row, and the right-hand side
// sides[i · k …]. Each right-hand side becomes the solution; with `invert`, each triangle becomes that of the inverse,
// which takes two to three times as long.
void solve_gaussians(std::int64_t count, std::int64_t k, double* grams, double* sides, bool invert, int n_threads);

}  // namespace dmc
