// Predictions from finished factors for Python. Checks every array, releases the GIL.

#include <pybind11/stl.h>

#include <optional>

#include "bind.h"
#include "serving.h"

namespace py = pybind11;
using dmc::Array;
using dmc::check_length;
using dmc::dims;
using dmc::refuse;

namespace {

template <class Real>
std::pair<dmc::Factor<Real>, dmc::Factor<Real>> check_sides(const Array<Real>& left, const Array<Real>& right) {
    if (left.ndim() != 2 || right.ndim() != 2 || left.shape(1) != right.shape(1))
        refuse("left has shape " + dims(left) + " and right " + dims(right) + "; give two matrices of one width");
    return {{left.data(), left.shape(0), left.shape(1)}, {right.data(), right.shape(0), right.shape(1)}};
}

template <class Index>
void check_range(const Array<Index>& indices, const char* name, std::int64_t lines) {
    const Index *begin = indices.data(), *end = begin + indices.shape(0);
    Index least = 0, most = 0;
    for (const Index* i = begin; i < end; ++i) least = std::min(least, *i), most = std::max(most, *i);
    if (least < 0 || (begin < end && most >= lines))
        refuse(std::string(name) + " holds " + std::to_string(least < 0 ? least : most) +
               ", which is out of range for " + std::to_string(lines) + " lines; give positions from 0");
}

// Only what is asked for is looked at: a call for one row costs nothing for the others.
template <class Index>
dmc::Excluded<Index> check_excluded(const Array<std::int64_t>& first, const Array<std::int64_t>& last,
                                    const Array<Index>& indices, std::int64_t rows, std::int64_t lines) {
    check_length(first, "first", rows);
    check_length(last, "last", rows);
    if (indices.ndim() != 1) refuse("indices has shape " + dims(indices) + "; give a one-dimensional array");
    const Index* at = indices.data();
    for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t from = first.data()[i], to = last.data()[i];
        if (from < 0 || to < from || to > indices.shape(0))
            refuse("the excluded columns of row " + std::to_string(i) + " go from " + std::to_string(from) + " to " +
                   std::to_string(to) + "; they have to ascend within the " + std::to_string(indices.shape(0)) +
                   " indices");
        for (std::int64_t e = from; e < to; ++e) {
            if (at[e] < 0 || at[e] >= lines)
                refuse("excluded column " + std::to_string(at[e]) + " of row " + std::to_string(i) +
                       " is out of range for " + std::to_string(lines) + " columns");
            if (e > from && at[e] < at[e - 1])
                refuse("the excluded columns of row " + std::to_string(i) + " fall from " + std::to_string(at[e - 1]) +
                       " to " + std::to_string(at[e]) + "; sort them");
        }
    }
    return {first.data(), last.data(), at};
}

dmc::Among check_among(const std::optional<Array<std::int64_t>>& among, std::int64_t lines) {
    if (!among) return {nullptr, lines};
    if (among->ndim() != 1) refuse("among has shape " + dims(*among) + "; give a one-dimensional array");
    check_range(*among, "among", lines);
    const std::int64_t* at = among->data();
    for (std::int64_t c = 1; c < among->shape(0); ++c)
        if (at[c] <= at[c - 1])
            refuse("among has " + std::to_string(at[c]) + " after " + std::to_string(at[c - 1]) +
                   "; sort it, without repeats");
    return {at, among->shape(0)};
}

template <class Real, class Index>
Array<Real> product_at(const Array<Real>& left, const Array<Real>& right, const Array<Index>& rows,
                       const Array<Index>& cols, int n_threads) {
    const auto [a, b] = check_sides(left, right);
    check_length(rows, "rows", rows.size());
    check_length(cols, "cols", rows.size());
    check_range(rows, "rows", a.lines);
    check_range(cols, "cols", b.lines);
    Array<Real> out(rows.size());
    Real* p = out.mutable_data();
    {
        py::gil_scoped_release release;
        dmc::product_at(a, b, rows.data(), cols.data(), rows.size(), p, n_threads);
    }
    return out;
}

template <class Real, class Index>
py::tuple top_n(const Array<Real>& left, const Array<Real>& right, std::int64_t n, const Array<std::int64_t>& first,
                const Array<std::int64_t>& last, const Array<Index>& indices,
                const std::optional<Array<std::int64_t>>& among, int n_threads) {
    const auto [a, b] = check_sides(left, right);
    if (n < 1) refuse("n is " + std::to_string(n) + "; it has to be at least 1");
    const auto excluded = check_excluded(first, last, indices, a.lines, b.lines);
    const auto candidates = check_among(among, b.lines);
    Array<std::int64_t> columns({a.lines, n});
    Array<Real> scores({a.lines, n});
    std::int64_t* c = columns.mutable_data();
    Real* s = scores.mutable_data();
    {
        py::gil_scoped_release release;
        dmc::top_n(a, b, excluded, candidates, n, c, s, n_threads);
    }
    return py::make_tuple(columns, scores);
}

template <class Real, class Index>
void define(py::module_& m) {
    m.def("product_at", &product_at<Real, Index>, py::arg("left").noconvert(), py::arg("right").noconvert(),
          py::arg("rows").noconvert(), py::arg("cols").noconvert(), py::arg("n_threads") = 0,
          "out[p] = <left[rows[p]], right[cols[p]]>, the pairs in any order.");
    m.def(
        "top_n", &top_n<Real, Index>, py::arg("left").noconvert(), py::arg("right").noconvert(), py::arg("n"),
        py::arg("first").noconvert(), py::arg("last").noconvert(), py::arg("indices").noconvert(),
        py::arg("among").noconvert() = py::none(), py::arg("n_threads") = 0,
        "(columns, scores): for each line of left the n columns of largest score, without indices[first:last] of it.");
}

}  // namespace

void bind_serving(py::module_& m) {
    define<float, std::int32_t>(m);
    define<float, std::int64_t>(m);
    define<double, std::int32_t>(m);
    define<double, std::int64_t>(m);
}
