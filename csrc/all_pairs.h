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

// The parts of a pass over lines whose entries, and the other side's lines with them, are spread over processes, a
// block of coordinates at a time: the processes add `block_grams`, and in each block `block_sums`; of some lines each
// makes the steps, `block_steps`, and of all `block_predict` then makes the predictions of its own entries.

constexpr std::int64_t kSystem = kBlock * (kBlock + 3) / 2;  // upper triangle, each row with its number of the gradient

// grams: w₀ times the products of all columns with those of each block, block after block, each (width, kBlock).
void block_grams(const float* other, std::int64_t lines, AllPairs pairs, float* grams, int n_threads);

// What the entries add to each line's system in a block: other (other_lines, kBlock), predicted is read, sums (lines,
// kSystem). The lines may be some of those of a pattern, that follow each other; no ridge is needed.
template <class Index>
void block_sums(Lines<Index> lines, AllPairs pairs, const float* other, float* predicted, float* sums, int n_threads);

// From the sums of so many lines, (parts, count, kSystem) of which the parts are added in float64, to their steps
// (count, kBlock), which are taken back from own (count, width); returns by how much the value falls. grams: of
// `block_grams`, ridge: (count).
double block_steps(std::int64_t parts, std::int64_t count, AllPairs pairs, const float* grams, std::int64_t block,
                   const float* sums, float* own, float* steps, int n_threads);

// The predictions after such steps (lines, kBlock).
template <class Index>
void block_predict(Lines<Index> lines, const float* other, const float* steps, float* predicted, int n_threads);

}  // namespace dmc
