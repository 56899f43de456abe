// Predictions from finished factors: at pairs, and the best columns of each row. As in masked_product.h, the caller
// owns every array and has checked shapes and index ranges, and results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace dmc {

template <class Real>
struct Factor {
    const Real* data;  // (lines, width), row-major
    std::int64_t lines, width;
};

// out[p] = ⟨left[rows[p]], right[cols[p]]⟩, the pairs in any order.
template <class Real, class Index>
void product_at(Factor<Real> left, Factor<Real> right, const Index* rows, const Index* cols, std::int64_t count,
                Real* out, int n_threads);

// Columns that do not count, for line i of left: indices[first[i]] … indices[last[i] − 1], ascending.
template <class Index>
struct Excluded {
    const std::int64_t *first, *last;
    const Index* indices;
};

// The columns that count, ascending; without a list all.
struct Among {
    const std::int64_t* columns;  // null: all
    std::int64_t count;

    std::int64_t operator[](std::int64_t c) const { return columns ? columns[c] : c; }
};

// For each line i of left the n columns j of largest score ⟨left_i, right_j⟩, best first, of equal ones the lower
// first; −1 and NaN where there are no more. A score of NaN does not count. columns and scores are (left.lines, n). The
// score of a pair does not depend on which other lines are asked for.
template <class Real, class Index>
void top_n(Factor<Real> left, Factor<Real> right, Excluded<Index> excluded, Among among, std::int64_t n,
           std::int64_t* columns, Real* scores, int n_threads);

}  // namespace dmc
