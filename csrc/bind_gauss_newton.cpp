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

template <class Real>
dmc::Blocks<Real> blocks(const Array<Real>& a, const char* name, py::ssize_t lines, py::ssize_t width) {
    if (a.ndim() == 3) return {checked(a, name, {1, width, width}), true};
    return {checked(a, name, {lines, width * (width + 1) / 2}), false};
}

template <class Real, class Index>
py::tuple solve(const Entries<Index>& by_row, const Entries<Index>& by_column, const Array<std::int64_t>& column_order,
                const Array<Real>& left, const Array<Real>& right, const std::optional<Array<Real>>& weights,
                const Array<Real>& diagonal, const Array<Real>& row_blocks, const Array<Real>& column_blocks,
                const Array<Real>& right_side, double tol, std::int64_t max_products, int n_threads) {
    const auto rows = by_row.lines();
    const auto columns = by_column.lines();
    const py::ssize_t m = rows.count, n = columns.count, entries = rows.entries();
    if (n != rows.other_lines || m != columns.other_lines || columns.entries() != entries)
        refuse("by_row and by_column are not the entries of one matrix");
    const std::int64_t* order = checked(column_order, "column_order", {entries});
    for (py::ssize_t e = 0; e < entries; ++e)
        if (order[e] < 0 || order[e] >= entries)
            refuse("column_order holds " + std::to_string(order[e]) + ", which is no place of an entry");
    const Real *l = checked(left, "left", {m, kAny}), *r = checked(right, "right", {n, kAny});
    const py::ssize_t row_width = right.shape(1), column_width = left.shape(1);
    const py::ssize_t size = m * row_width + n * column_width;
    const dmc::NormalEquations<Real, Index> equations{rows,
                                                      columns,
                                                      order,
                                                      l,
                                                      r,
                                                      row_width,
                                                      column_width,
                                                      checked(weights, "weights", {entries}),
                                                      checked(diagonal, "diagonal", {size}),
                                                      blocks(row_blocks, "row_blocks", m, row_width),
                                                      blocks(column_blocks, "column_blocks", n, column_width)};
    const Real* b = checked(right_side, "right_side", {size});
    Array<Real> solution(size);
    Real* x = solution.mutable_data();
    std::int64_t products;
    {
        py::gil_scoped_release release;
        products = dmc::solve_normal_equations(equations, b, tol, max_products, x, n_threads);
    }
    return py::make_tuple(solution, products);
}

template <class Real, class Index>
void define(py::module_& m) {
    m.def(
        "solve_normal_equations", &solve<Real, Index>, py::arg("by_row"), py::arg("by_column"),
        py::arg("column_order").noconvert(), py::arg("left").noconvert(), py::arg("right").noconvert(),
        py::arg("weights").noconvert(), py::arg("diagonal").noconvert(), py::arg("row_blocks").noconvert(),
        py::arg("column_blocks").noconvert(), py::arg("right_side").noconvert(), py::arg("tol"),
        py::arg("max_products"), py::arg("n_threads") = 0,
        "(solution, products): preconditioned conjugate gradients on the Gauss–Newton system of a two-factor model. "
        "Blocks are packed upper triangles, one for each line, or an inverse (1, width, width) that is common to all.");
}

}  // namespace

void bind_gauss_newton(py::module_& m) {
    define<float, std::int32_t>(m);
    define<float, std::int64_t>(m);
    define<double, std::int32_t>(m);
    define<double, std::int64_t>(m);
}
