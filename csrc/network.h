// Value and gradient of a whole compressed network in one call: U · W_L ⋯ W_1 · Vᵀ and biases, on the observed entries.
//
// What Python does in a dozen calls (the product of the cores, the left side, both passes, the gradient of every
// factor); on a thousand rows those calls take as long as the work.
#pragma once

#include <vector>

#include "masked_product.h"

namespace dmc {

template <class Real>
struct Matrix {
    Real* data;  // row-major, dense
    std::int64_t rows, columns;
};

// The factors, or the gradient by each of them. W_L first. Biases: null where there are none.
template <class Real>
struct Network {
    Matrix<Real> U;
    std::vector<Matrix<Real>> cores;
    Matrix<Real> V;
    Real *row_bias, *column_bias;
};

// What the entries hold, in the order of the rows and in that of the columns; weights null: all one.
template <class Real>
struct Data {
    const Real *target_by_row, *target_by_column, *weights_by_row, *weights_by_column;
};

// Of every line; null: none. A bias counts as one more coordinate of its line.
template <class Real>
struct Penalty {
    const Real *rows, *columns;
};

// ½ Σ_Ω w (X̂ − X)² + ½ Σ λ_i ‖left_i‖² + ½ Σ μ_j ‖right_j‖², its gradient written to `gradient`.
template <class Real, class Stored, class Index>
double value_and_grad(const Network<const Real>& network, Lines<Index> by_row, Lines<Index> by_column, Data<Real> data,
                      Penalty<Real> penalty, const Network<Real>& gradient, int n_threads);

}  // namespace dmc
