// The contract of the masked product: what every implementation computes, on plain pointers, and who owns what.
//
// Lines are the rows of a matrix (CSR), or its columns (CSC); the same functions serve both with the roles swapped.
// Factors are row-major and dense: own (lines, width), other (other_lines, width). The caller owns every array and has
// checked shapes and index ranges. Results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "bfloat16.h"
#include "buffer.h"
#include "vectors.h"

namespace dmc {

// Whole lines, or (segment ≥ 0) some entries of one long line: what one thread does at a time.
struct Piece {
    std::int64_t begin, end;   // lines
    std::int64_t first, last;  // entries
    std::int64_t segment;
};

// Pieces of about equal work, the same for any number of threads: rating data have long tails.
std::vector<Piece> cut(std::int64_t count, const std::int64_t* pointers);

// The entries of line i are pointers[i] … pointers[i+1]−1.
template <class Index>
struct Lines {
    std::int64_t count;            // number of lines
    std::int64_t other_lines;      // of the other side
    const std::int64_t* pointers;  // (count + 1)
    const Index* indices;          // (entries): the line of the other side
    const std::vector<Piece>* pieces;
    Pool* pool;  // for what a call needs meanwhile; several calls may share it

    std::int64_t entries() const { return pointers[count]; }
};

template <class Real>
struct Sides {
    const Real* own;    // (lines, width)
    const Real* other;  // (other_lines, width)
    std::int64_t width;
};

// out[e] = ⟨own_i, other_j⟩ for each entry e = (i, j).
template <class Real, class Index>
void masked_product(Lines<Index> lines, Sides<Real> sides, Real* out, int n_threads);

// With residual r_e = ⟨own_i, other_j⟩ − target[e] (null: all zero) and weights w_e (null: all one):
// d_own_i = Σ_e w_e r_e other_j, and the return value ½ Σ_e w_e r_e², summed in float64 in a fixed order.
// The residual is recomputed in the pass over the other side: own_i is gathered there anyway, so that no array
// of residuals and no permutation between the two orders is needed.
// Stored is the form in which `other` is gathered: Real, or bfloat16, to which it is then rounded first.
template <class Real, class Stored, class Index>
double residual_gradient(Lines<Index> lines, Sides<Real> sides, const Real* target, const Real* weights, Real* d_own,
                         int n_threads);

// out_i = Σ_e coefficients[e] other_j (null: all one), over the entries of line i.
template <class Real, class Index>
void weighted_sums(Lines<Index> lines, const Real* other, std::int64_t width, const Real* coefficients, Real* out,
                   int n_threads);

// The width to which the kernel fills up its lines with zeros, so that there is no tail: factors that have it already
// are not copied.
template <class Real, class Stored>
std::int64_t padded_width(std::int64_t width);

}  // namespace dmc
