// The Gauss–Newton system of a two-factor model on the observed entries, solved by preconditioned conjugate gradients.
//
// What Python does with a dozen calls for each product; on a thousand rows those calls take as long as the work.
#pragma once

#include <cstdint>

#include "masked_product.h"

namespace dmc {

// What the preconditioner knows of the diagonal blocks of one side: those of every line, packed upper triangles
// (lines, width(width+1)/2), which get a little ridge; or one inverse (width, width) that is common to all.
template <class Real>
struct Blocks {
    const Real* data;
    bool common_inverse;
};

// (JᵀWJ + D) with J(rows, columns)_e = ⟨rows_i, right_j⟩ + ⟨left_i, columns_j⟩ for each entry e = (i, j). The unknowns
// are `rows` (row lines, row_width), then `columns` (column lines, column_width).
template <class Real, class Index>
struct NormalEquations {
    Lines<Index> by_row, by_column;
    const std::int64_t* column_order;  // (entries): the place in row order of each entry in column order
    const Real* left;                  // (row lines, column_width)
    const Real* right;                 // (column lines, row_width)
    std::int64_t row_width, column_width;
    const Real* weights;   // (entries) in row order; null: all one
    const Real* diagonal;  // D, of every unknown
    Blocks<Real> row_blocks, column_blocks;

    std::int64_t row_unknowns() const { return by_row.count * row_width; }
    std::int64_t unknowns() const { return row_unknowns() + by_column.count * column_width; }
};

// Writes the solution for one right-hand side, from zero, until the preconditioned residual is at most `tol` times what
// it was at the start, or that many products were taken. Returns the number of products.
template <class Real, class Index>
std::int64_t solve_normal_equations(const NormalEquations<Real, Index>& equations, const Real* right_side, double tol,
                                    std::int64_t max_products, Real* solution, int n_threads);

}  // namespace dmc
