// Value and gradient of a whole network, for Python.

#include <pybind11/stl.h>

#include <optional>

#include "bind.h"
#include "network.h"

namespace py = pybind11;
using dmc::Array;
using dmc::checked;
using dmc::Entries;
using dmc::kAny;
using dmc::refuse;

namespace {

template <class Real>
using Optional = std::optional<Array<Real>>;

template <class Real>
dmc::Matrix<const Real> matrix(const Array<Real>& a, const char* name, py::ssize_t rows, py::ssize_t columns) {
    return {checked(a, name, {rows, columns}), rows, a.shape(1)};
}

template <class Real>
Array<Real> like(const Array<Real>& a) {
    return Array<Real>(std::vector<py::ssize_t>(a.shape(), a.shape() + a.ndim()));
}

template <class Real, class Stored, class Index>
py::tuple value_and_grad(const Entries<Index>& by_row, const Entries<Index>& by_column, const Array<Real>& U,
                         const std::vector<Array<Real>>& cores, const Array<Real>& V, const Optional<Real>& row_bias,
                         const Optional<Real>& column_bias, const Array<Real>& target_by_row,
                         const Array<Real>& target_by_column, const Optional<Real>& weights_by_row,
                         const Optional<Real>& weights_by_column, const Optional<Real>& row_l2,
                         const Optional<Real>& column_l2, int n_threads) {
    const auto rows = by_row.lines();
    const auto columns = by_column.lines();
    if (columns.count != rows.other_lines || columns.other_lines != rows.count || columns.entries() != rows.entries())
        refuse("by_row and by_column do not hold the entries of the same matrix");
    const py::ssize_t m = rows.count, n = columns.count, entries = rows.entries();
    dmc::Network<const Real> network{matrix(U, "U", m, kAny), {}, {}, nullptr, nullptr};
    py::ssize_t width = network.U.columns;
    for (const auto& core : cores) {
        network.cores.push_back(matrix(core, "a core", width, kAny));
        width = network.cores.back().columns;
    }
    network.V = matrix(V, "V", n, width);
    network.row_bias = checked(row_bias, "row_bias", {m});
    network.column_bias = checked(column_bias, "column_bias", {n});
    const dmc::Data<Real> data{checked(target_by_row, "target_by_row", {entries}),
                               checked(target_by_column, "target_by_column", {entries}),
                               checked(weights_by_row, "weights_by_row", {entries}),
                               checked(weights_by_column, "weights_by_column", {entries})};
    const dmc::Penalty<Real> penalty{checked(row_l2, "row_l2", {m}), checked(column_l2, "column_l2", {n})};

    Array<Real> d_U = dmc::pooled<Real>(by_row.pool(), m, U.shape(1)),
                d_V = dmc::pooled<Real>(by_column.pool(), n, width);
    std::vector<Array<Real>> d_cores;
    Optional<Real> d_row_bias, d_column_bias;
    dmc::Network<Real> gradient{
        {d_U.mutable_data(), m, U.shape(1)}, {}, {d_V.mutable_data(), n, width}, nullptr, nullptr};
    for (const auto& core : cores) {
        d_cores.push_back(like(core));
        gradient.cores.push_back({d_cores.back().mutable_data(), core.shape(0), core.shape(1)});
    }
    if (row_bias) gradient.row_bias = d_row_bias.emplace(like(*row_bias)).mutable_data();
    if (column_bias) gradient.column_bias = d_column_bias.emplace(like(*column_bias)).mutable_data();
    double value;
    {
        const dmc::Unlocked unlocked;
        value = dmc::value_and_grad<Real, Stored>(network, rows, columns, data, penalty, gradient, n_threads);
    }
    return py::make_tuple(value, d_U, py::tuple(py::cast(d_cores)), d_V, d_row_bias, d_column_bias);
}

template <class Real, class Stored, class Index>
void define(py::module_& m, const char* name) {
    m.def(name, &value_and_grad<Real, Stored, Index>, py::arg("by_row"), py::arg("by_column"), py::arg("U").noconvert(),
          py::arg("cores").noconvert(), py::arg("V").noconvert(), py::arg("row_bias").noconvert(),
          py::arg("column_bias").noconvert(), py::arg("target_by_row").noconvert(),
          py::arg("target_by_column").noconvert(), py::arg("weights_by_row").noconvert(),
          py::arg("weights_by_column").noconvert(), py::arg("row_l2").noconvert(), py::arg("column_l2").noconvert(),
          py::arg("n_threads") = 0,
          "(value, d_U, d_cores, d_V, d_row_bias, d_column_bias) of a network with penalties on its two sides.");
}

template <class Index>
void define_all(py::module_& m) {
    define<float, float, Index>(m, "value_and_grad");
    define<double, double, Index>(m, "value_and_grad");
    define<float, dmc::bfloat16, Index>(m, "value_and_grad_bfloat16");
}

}  // namespace

void bind_network(py::module_& m) {
    define_all<std::int32_t>(m);
    define_all<std::int64_t>(m);
}
