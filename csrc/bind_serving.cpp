// Predictions from finished factors for Python. Checks every array, releases the GIL.

#include <pybind11/stl.h>

#include <optional>

#include "bind.h"
#include "serving.h"

namespace py = pybind11;
using dmc::Array;
using dmc::checked;
using dmc::kAny;
using dmc::refuse;

namespace {

template <class Real>
std::pair<dmc::Factor<Real>, dmc::Factor<Real>> check_sides(const Array<Real>& left, const Array<Real>& right) {
    const Real* a = checked(left, "left", {kAny, kAny});
    const std::int64_t width = left.shape(1);
    return {{a, left.shape(0), width}, {checked(right, "right", {kAny, width}), right.shape(0), width}};
}

// Positions among that many lines, which are called rows or columns.
template <class Index>
const Index* check_range(const Array<Index>& indices, const char* name, std::int64_t count, std::int64_t lines,
                         const char* lines_name) {
    const Index *begin = checked(indices, name, {count}), *end = begin + indices.shape(0);
    Index least = 0, most = 0;
    for (const Index* i = begin; i < end; ++i) least = std::min(least, *i), most = std::max(most, *i);
    if (least < 0 || (begin < end && most >= lines))
        refuse(std::string(name) + " holds " + std::to_string(least < 0 ? least : most) +
               ", which is out of range for " + std::to_string(lines) + " " + lines_name);
    return begin;
}

// Only what is asked for is looked at: a call for one row costs nothing for the others.
template <class Index>
dmc::Excluded<Index> check_excluded(const Array<std::int64_t>& first, const Array<std::int64_t>& last,
                                    const Array<Index>& indices, std::int64_t rows, std::int64_t lines) {
    const std::int64_t *begins = checked(first, "first", {rows}), *ends = checked(last, "last", {rows});
    const Index* at = checked(indices, "indices", {kAny});
    for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t from = begins[i], to = ends[i];
        if (from < 0 || to < from || to > indices.shape(0))
            refuse("the excluded columns of row " + std::to_string(i) + " are indices[" + std::to_string(from) + ":" +
                   std::to_string(to) + "]; give increasing bounds from 0 to " + std::to_string(indices.shape(0)));
        for (std::int64_t e = from; e < to; ++e) {
            if (at[e] < 0 || at[e] >= lines)
                refuse("excluded column " + std::to_string(at[e]) + " of row " + std::to_string(i) +
                       " is out of range for " + std::to_string(lines) + " columns");
            if (e > from && at[e] < at[e - 1])
                refuse("the excluded columns of row " + std::to_string(i) + " have " + std::to_string(at[e - 1]) +
                       " before " + std::to_string(at[e]) + "; sort them");
        }
    }
    return {begins, ends, at};
}

dmc::Among check_among(const std::optional<Array<std::int64_t>>& among, std::int64_t lines) {
    if (!among) return {nullptr, lines};
    const std::int64_t* at = check_range(*among, "among", kAny, lines, "columns");
    for (std::int64_t c = 1; c < among->shape(0); ++c)
        if (at[c] <= at[c - 1])
            refuse("among has " + std::to_string(at[c - 1]) + " before " + std::to_string(at[c]) +
                   "; sort it and remove duplicates");
    return {at, among->shape(0)};
}

template <class Real, class Index>
Array<Real> product_at(const Array<Real>& left, const Array<Real>& right, const Array<Index>& rows,
                       const Array<Index>& cols, int n_threads) {
    const auto [a, b] = check_sides(left, right);
    const Index* r = check_range(rows, "rows", kAny, a.lines, "rows");
    const Index* c = check_range(cols, "cols", rows.shape(0), b.lines, "columns");
    Array<Real> out(rows.size());
    Real* p = out.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::product_at(a, b, r, c, rows.size(), p, n_threads);
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
    n = std::min(n, candidates.count);
    Array<std::int64_t> columns({a.lines, n});
    Array<Real> scores({a.lines, n});
    std::int64_t* c = columns.mutable_data();
    Real* s = scores.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::top_n(a, b, excluded, candidates, n, c, s, n_threads);
    }
    return py::make_tuple(columns, scores);
}

template <class Real, class Index>
void define(py::module_& m) {
    m.def("product_at", &product_at<Real, Index>, py::arg("left").noconvert(), py::arg("right").noconvert(),
          py::arg("rows").noconvert(), py::arg("cols").noconvert(), py::arg("n_threads") = 0,
          "out[p] = <left[rows[p]], right[cols[p]]>, the pairs in any order.");
    m.def("top_n", &top_n<Real, Index>, py::arg("left").noconvert(), py::arg("right").noconvert(), py::arg("n"),
          py::arg("first").noconvert(), py::arg("last").noconvert(), py::arg("indices").noconvert(),
          py::arg("among").noconvert() = py::none(), py::arg("n_threads") = 0,
          "(columns, scores): for each line of left the n columns of largest score, without indices[first:last] of it. "
          "Of "
          "fewer than n columns all.");
}

}  // namespace

void bind_serving(py::module_& m) {
    define<float, std::int32_t>(m);
    define<float, std::int64_t>(m);
    define<double, std::int32_t>(m);
    define<double, std::int64_t>(m);
}
