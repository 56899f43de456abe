// The solve of a Gauss–Newton system, for Python.

#include <pybind11/stl.h>

#include <optional>

#include "bind.h"
#include "gauss_newton.h"

namespace py = pybind11;
using dmc::Array;
using dmc::checked;
using dmc::Entries;
using dmc::kAny;
using dmc::refuse;

namespace {

constexpr std::int64_t kMostProducts = 10000;

template <class Real>
using Maybe = std::optional<Array<Real>>;

template <class Real, class Index>
py::tuple solve(const Entries<Index>& by_row, const Entries<Index>& by_column, const Array<std::int64_t>& column_order,
                const Array<Real>& left, const Array<Real>& right, const Maybe<Real>& weights, double curvature,
                const Maybe<Real>& row_l2, const Maybe<Real>& column_l2, const Maybe<Real>& row_ridge,
                const Maybe<Real>& column_ridge, bool of_lines, const Array<Real>& row_gradient,
                const Array<Real>& column_gradient, double tol, std::int64_t max_products, int n_threads) {
    const auto rows = by_row.lines();
    const auto columns = by_column.lines();
    if (max_products < 0 || max_products > kMostProducts)  // rounding can keep them from ever getting there
        refuse("max_products is " + std::to_string(max_products) + "; it has to be from 0 to " +
               std::to_string(kMostProducts));
    const py::ssize_t m = rows.count, n = columns.count, entries = rows.entries();
    if (n != rows.other_lines || m != columns.other_lines || columns.entries() != entries)
        refuse("by_row and by_column do not hold the entries of the same matrix");
    const std::int64_t* order = checked(column_order, "column_order", {entries});
    for (py::ssize_t e = 0; e < entries; ++e)
        if (order[e] < 0 || order[e] >= entries)
            refuse("column_order holds " + std::to_string(order[e]) + ", which is out of range for " +
                   std::to_string(entries) + " entries");
    const Real *l = checked(left, "left", {m, kAny}), *r = checked(right, "right", {n, kAny});
    const py::ssize_t row_width = right.shape(1), column_width = left.shape(1);
    const dmc::NormalEquations<Real, Index> equations{rows,
                                                      columns,
                                                      order,
                                                      l,
                                                      r,
                                                      row_width,
                                                      column_width,
                                                      checked(weights, "weights", {entries}),
                                                      checked(row_l2, "row_l2", {m}),
                                                      checked(column_l2, "column_l2", {n}),
                                                      checked(row_ridge, "row_ridge", {row_width}),
                                                      checked(column_ridge, "column_ridge", {column_width}),
                                                      curvature,
                                                      of_lines};
    const Real *of_rows = checked(row_gradient, "row_gradient", {m, row_width}),
               *of_columns = checked(column_gradient, "column_gradient", {n, column_width});
    Array<Real> row_solution({m, row_width}), column_solution({n, column_width});
    Real *x = row_solution.mutable_data(), *y = column_solution.mutable_data();
    std::int64_t products;
    {
        const dmc::Unlocked unlocked;
        products = dmc::solve_normal_equations(equations, of_rows, of_columns, tol, max_products, x, y, n_threads);
    }
    return py::make_tuple(row_solution, column_solution, products);
}

template <class Real, class Index>
void define(py::module_& m) {
    m.def("solve_normal_equations", &solve<Real, Index>, py::arg("by_row"), py::arg("by_column"),
          py::arg("column_order").noconvert(), py::arg("left").noconvert(), py::arg("right").noconvert(),
          py::arg("weights").noconvert(), py::arg("curvature"), py::arg("row_l2").noconvert(),
          py::arg("column_l2").noconvert(), py::arg("row_ridge").noconvert(), py::arg("column_ridge").noconvert(),
          py::arg("of_lines"), py::arg("row_gradient").noconvert(), py::arg("column_gradient").noconvert(),
          py::arg("tol"), py::arg("max_products"), py::arg("n_threads") = 0,
          "(rows, columns, products): preconditioned conjugate gradients on the Gauss–Newton system of a two-factor "
          "model, with the diagonal blocks of all lines as the preconditioner, or with their average.");
}

}  // namespace

void bind_gauss_newton(py::module_& m) {
    define<float, std::int32_t>(m);
    define<float, std::int64_t>(m);
    define<double, std::int32_t>(m);
    define<double, std::int64_t>(m);
}
