// The contract of the masked product: what every implementation computes, on plain pointers, and who owns what.
//
// Lines are the rows of a matrix (CSR), or its columns (CSC); the same functions serve both with the roles swapped.
// The entries of line i are pointers[i] … pointers[i+1]-1. Factors are row-major and dense: own (lines, width),
// other (other_lines, width). The caller owns every array and has checked shapes and index ranges; nothing is
// allocated that outlives a call. Results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace dmc {

template <class Index>
struct Lines {
    std::int64_t count;            // number of lines
    const std::int64_t* pointers;  // (count + 1)
    const Index* indices;          // (entries): the line of the other side
};

template <class Real>
struct Sides {
    const Real* own;    // (lines.count, width)
    const Real* other;  // (other_lines, width)
    std::int64_t other_lines;
    std::int64_t width;
};

// out[e] = ⟨own_i, other_j⟩ for each entry e = (i, j).
template <class Real, class Index>
void masked_product(Lines<Index> lines, Sides<Real> sides, Real* out, int n_threads);

// With residual r_e = ⟨own_i, other_j⟩ − target[e] and weights w_e (null: all one):
// d_own_i = Σ_e w_e r_e other_j, and the return value ½ Σ_e w_e r_e², summed in float64 in a fixed order.
// The residual is recomputed in the pass over the other side: own_i is gathered there anyway, so that no array
// of residuals and no permutation between the two orders is needed.
template <class Real, class Index>
double residual_gradient(Lines<Index> lines, Sides<Real> sides, const Real* target, const Real* weights, Real* d_own,
                         int n_threads);

// "avx512", "avx2" or "plain": chosen once, from the processor and the environment variable DMC_ISA.
const char* instruction_set();

int max_threads();

}  // namespace dmc
