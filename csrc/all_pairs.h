// Least squares over all pairs of two sides, those without an entry being zeros of little weight: half a sweep of
// alternating least squares by blocks of coordinates, on plain pointers.
//
// With predictions x_e = ⟨own_i, other_j⟩ the value is
//   ½ Σ_e w_e (x_e − t_e)² + ½ w₀ Σ_{other pairs} x² + ½ Σ_i ridge_i ‖own_i‖² (and what own does not change).
// For each line, kBlock coordinates after kBlock coordinates go to their minimum, all others fixed (iALS++: Rendle et
// al., arXiv 2110.14044). The zeros enter by the Gram matrix of the other side, and the entries by their predictions,
// which are kept and updated: nothing is summed twice.
#pragma once

#include <cstdint>

#include "masked_product.h"

namespace dmc {

constexpr std::int64_t kBlock = 16;  // coordinates: a vector of the widest registers

struct AllPairs {
    const float* weights;  // (entries): w, none below w₀
    const float* pulls;    // (entries): w t; the same array where all targets are one
    float unobserved;      // w₀
    const float* ridge;    // (lines)
    std::int64_t width;    // of the factors, a multiple of kBlock
};

// own: (lines, width), other: (other_lines, width), predicted: (entries). Changes own and predicted, in so many passes
// at most, the last of which is the first to take no more than `tol` of what all took; returns by how much the value
// falls. Lines without entries stay as they are. Results do not depend on the number of threads.
template <class Index>
double half_sweep(Lines<Index> lines, AllPairs pairs, const float* other, float* own, float* predicted,
                  std::int64_t passes, double tol, int n_threads);

}  // namespace dmc
