// The Gauss–Newton system of a two-factor model on the observed entries, solved by preconditioned conjugate gradients.
//
// What Python does with a dozen calls for each product; on a thousand rows those calls take as long as the work. The
// unknowns are turned and scaled so that the factors have about orthonormal columns: then single precision serves a
// solve to a loose tolerance, whatever the condition of the model.
#pragma once

#include <cstdint>

#include "masked_product.h"

namespace dmc {

// (JᵀWJ + D) with J(rows, columns)_e = ⟨rows_i, right_j⟩ + ⟨left_i, columns_j⟩ for each entry e = (i, j). The unknowns
// are `rows` (row lines, row_width) and `columns` (column lines, column_width).
template <class Real, class Index>
struct NormalEquations {
    Lines<Index> by_row, by_column;
    const std::int64_t* column_order;  // (entries): the place in row order of each entry in column order
    const Real* left;                  // (row lines, column_width)
    const Real* right;                 // (column lines, row_width)
    std::int64_t row_width, column_width;
    const Real* weights;                   // (entries) in row order; null: all one
    const Real *row_l2, *column_l2;        // D: a ridge of each line, and
    const Real *row_ridge, *column_ridge;  // of each of its unknowns, in all lines alike
    double curvature;                      // mean weight of an entry of the whole matrix
    bool of_lines;  // whether the preconditioner has the diagonal block of every line, or their average
};

// Writes the solution for one right-hand side, minus a gradient, from zero, until the preconditioned residual is at
// most `tol` times what it was at the start, or that many products were taken. Returns the number of products.
template <class Real, class Index>
std::int64_t solve_normal_equations(const NormalEquations<Real, Index>& equations, const Real* row_gradient,
                                    const Real* column_gradient, double tol, std::int64_t max_products, Real* rows,
                                    Real* columns, int n_threads);

}  // namespace dmc
