// What the entries of a line say about its factors, the other side being known up to a covariance: the step of
// variational Bayesian matrix factorisation, on plain pointers.
//
// The model is value_ij = ⟨p_i, q_j⟩ + b_i + c_j + noise. To a row, (p_i, b_i) is unknown: its features are (q_j, 1)
// and its offset is c_j; to a column, (q_j, c_j) is, and its features are (p_i, 1), its offset b_i. So every line shows
// one vector z = (factors, 1, bias) to the other side. What is gathered for an entry are the moments of z: E z zᵀ
// packed by rows of its upper triangle, zeros up to a multiple of kGrain, then E z and zeros up to one: all that the
// posterior needs, and it makes an entry a sum of contiguous numbers. The caller owns every array and has checked
// shapes and index ranges. Results do not depend on the number of threads.
#pragma once

#include <cstdint>

#include "masked_product.h"

namespace dmc {

constexpr std::int64_t kGrain = 16;  // numbers: a vector of the widest registers

// Where the moments of a line with so many unknowns (factors and a bias) stand.
struct Moments {
    explicit Moments(std::int64_t unknowns)
        : shown(unknowns + 1), packed(up(shown * (shown + 1) / 2)), size(packed + up(shown)) {}

    static std::int64_t up(std::int64_t count) { return (count + kGrain - 1) / kGrain * kGrain; }

    std::int64_t shown;   // length of z
    std::int64_t packed;  // numbers before E z
    std::int64_t size;    // of a line
};

// The fewest unknowns with so many numbers a line or more: their moments are laid out as those of any other number of
// unknowns with as many.
inline Moments moments_of_size(std::int64_t size) {
    std::int64_t unknowns = 1;
    while (Moments(unknowns).size < size) ++unknowns;
    return Moments(unknowns);
}

// The unknowns of line i before its entries are seen are N(means[i], precision⁻¹); noise[i] is the precision of each of
// them.
struct Prior {
    std::int64_t unknowns;
    const double* precision;  // (unknowns, unknowns)
    const float* means;       // (lines, unknowns)
    const double* noise;      // (lines)
};

struct Posterior {
    float* means;        // (lines, unknowns)
    float* moments;      // (lines, Moments::size), of what the line shows to the other side
    double* covariance;  // (unknowns, unknowns): summed over the lines
    double* errors;      // (lines), or null: Σ_e w[e] E(value[e] − model)² over the line's entries
};

// values, weights: (entries). An entry of weight w counts as w entries would, and `errors` are of w (value − model)²;
// with weights, values come times them. Null: all one. others: (other_lines, Moments::size). They may come times a
// weight of their line: then every entry with it has that weight, and the errors mean nothing.
template <class Index>
void posterior(Lines<Index> lines, const float* values, const float* weights, const float* others, Prior prior,
               Posterior out, int n_threads);

// The two halves of it, between which the sums of several processes may be added: `line_sums` of the moments, with the
// values, and this. sums: (count, Moments::size).
void posterior_of_sums(std::int64_t count, const float* sums, Prior prior, Posterior out, int n_threads);

// out[i] = Σ w vectors[j] over the entries (i, j) of each line, the numbers of a vector from `packed` on times the
// entry's value in the place of its weight: weights (entries) or null, values (entries) or, where packed = width, null,
// vectors (other_lines, width), out (lines, width), packed and width multiples of kGrain. The lines may be some of
// those of a pattern, that follow each other.
template <class Index>
void line_sums(Lines<Index> lines, const float* values, const float* weights, const float* vectors, std::int64_t packed,
               std::int64_t width, float* out, int n_threads);

// The moments of lines that are known: means (lines, unknowns), no covariance.
void moments_of(std::int64_t lines, std::int64_t unknowns, const float* means, float* moments, int n_threads);

}  // namespace dmc
