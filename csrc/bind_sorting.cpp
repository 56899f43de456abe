// The sorting of observed entries for Python. Checks every array, releases the GIL.

#include <algorithm>
#include <limits>

#include "bind.h"
#include "sort_entries.h"

namespace py = pybind11;
using dmc::Array;
using dmc::check_aligned;
using dmc::check_length;
using dmc::dims;
using dmc::refuse;

namespace {

constexpr std::int64_t kNarrow = std::numeric_limits<std::int32_t>::max();  // lines that int32 indices reach

std::int64_t length(const py::array& a, const char* name) {
    if (a.ndim() != 1) refuse(std::string(name) + " has shape " + dims(a) + "; it has to have one dimension");
    return a.shape(0);
}

void check_lines(std::int64_t lines, const char* name) {
    if (lines < 0 || lines > std::numeric_limits<std::int64_t>::max() / 16)
        refuse(std::string(name) + " is " + std::to_string(lines) + "; no matrix has as many");
}

// The number of lines.
std::int64_t check_pointers(const Array<std::int64_t>& pointers, const py::array& indices) {
    if (length(pointers, "pointers") < 1) refuse("pointers has shape (0,); it has to be (lines + 1,)");
    check_aligned(pointers, "pointers");
    check_aligned(indices, "indices");
    const std::int64_t lines = pointers.shape(0) - 1;
    const std::int64_t* p = pointers.data();
    if (p[0] != 0) refuse("pointers start at " + std::to_string(p[0]) + "; they have to start at 0");
    for (std::int64_t i = 0; i < lines; ++i)
        if (p[i + 1] < p[i]) refuse("pointers fall after line " + std::to_string(i) + "; they have to ascend");
    check_length(indices, "indices", p[lines]);
    return lines;
}

template <class Given, class Index, class Real>
py::tuple sorted(dmc::Triplets<Given, Real> given) {
    Array<std::int64_t> pointers(given.m + 1);
    Array<Index> columns(given.count);
    Array<Real> out(given.count);
    auto* p = pointers.mutable_data();
    auto* c = columns.mutable_data();
    auto* v = out.mutable_data();
    dmc::Repeats repeats;
    {
        py::gil_scoped_release release;
        repeats = dmc::sort_entries(given, p, c, v, 0);
    }
    return py::make_tuple(pointers, columns, out, repeats.count, repeats.first);
}

template <class Given, class Real>
py::tuple sort_entries(const Array<Given>& rows, const Array<Given>& cols, const Array<Real>& values, std::int64_t m,
                       std::int64_t n) {
    const std::int64_t count = length(values, "values");
    check_length(rows, "rows", count);
    check_length(cols, "cols", count);
    check_aligned(rows, "rows");
    check_aligned(cols, "cols");
    check_aligned(values, "values");
    check_lines(m, "m");
    check_lines(n, "n");
    const dmc::Triplets<Given, Real> given{count, m, n, rows.data(), cols.data(), values.data()};
    return std::max(m, n) <= kNarrow ? sorted<Given, std::int32_t>(given) : sorted<Given, std::int64_t>(given);
}

template <class Index, class Other>
py::tuple transposed(std::int64_t lines, const std::int64_t* pointers, const Index* indices, std::int64_t n) {
    Array<std::int64_t> other_pointers(n + 1);
    Array<Other> other_indices(pointers[lines]);
    auto* p = other_pointers.mutable_data();
    auto* i = other_indices.mutable_data();
    {
        py::gil_scoped_release release;
        dmc::transpose(lines, pointers, indices, n, p, i, 0);
    }
    return py::make_tuple(other_pointers, other_indices);
}

template <class Index>
py::tuple transpose(const Array<std::int64_t>& pointers, const Array<Index>& indices, std::int64_t n) {
    const std::int64_t lines = check_pointers(pointers, indices);
    check_lines(n, "n");
    return lines <= kNarrow ? transposed<Index, std::int32_t>(lines, pointers.data(), indices.data(), n)
                            : transposed<Index, std::int64_t>(lines, pointers.data(), indices.data(), n);
}

// Values are moved, never looked at: only their size matters.
template <class Index>
py::array by_line(const Array<Index>& indices, std::int64_t n, const py::array& values) {
    const std::int64_t count = length(indices, "indices");
    check_length(values, "values", count);
    check_aligned(indices, "indices");
    check_aligned(values, "values");
    check_lines(n, "n");
    if (!(values.flags() & py::array::c_style)) refuse("values has gaps in memory; give a copy");
    if (values.dtype().kind() == 'O') refuse("values holds objects; give numbers");
    py::array out(values.dtype(), count);
    const auto run = [&](auto bits) {
        const auto* from = static_cast<const decltype(bits)*>(values.data());
        auto* to = static_cast<decltype(bits)*>(out.mutable_data());
        py::gil_scoped_release release;
        dmc::by_line(count, indices.data(), n, from, to, 0);
    };
    switch (values.itemsize()) {
        case 1:
            run(std::uint8_t{});
            break;
        case 2:
            run(std::uint16_t{});
            break;
        case 4:
            run(std::uint32_t{});
            break;
        case 8:
            run(std::uint64_t{});
            break;
        default:
            refuse("values has numbers of " + std::to_string(values.itemsize()) + " bytes; give at most 8");
    }
    return out;
}

template <class Row, class Index>
Array<std::int64_t> locate(const Array<std::int64_t>& pointers, const Array<Index>& indices, const Array<Row>& rows,
                           const Array<Index>& cols) {
    const std::int64_t m = check_pointers(pointers, indices), pairs = length(rows, "rows");
    check_length(cols, "cols", pairs);
    check_aligned(rows, "rows");
    check_aligned(cols, "cols");
    Array<std::int64_t> found(pairs);
    std::int64_t* out = found.mutable_data();
    {
        py::gil_scoped_release release;
        dmc::locate(m, pointers.data(), indices.data(), pairs, rows.data(), cols.data(), out, 0);
    }
    return found;
}

template <class Given, class Real>
void define_sort(py::module_& m) {
    m.def(
        "sort_entries", &sort_entries<Given, Real>, py::arg("rows").noconvert(), py::arg("cols").noconvert(),
        py::arg("values").noconvert(), py::arg("m"), py::arg("n"),
        "(pointers, columns, values, repeats, first): entries row by row, columns ascending, equal positions in the "
        "order given; how many repeat the position before them, and the first of those. IndexError if one is outside.");
}

template <class Row, class Index>
void define_locate(py::module_& m) {
    m.def("locate", &locate<Row, Index>, py::arg("pointers").noconvert(), py::arg("indices").noconvert(),
          py::arg("rows").noconvert(), py::arg("cols").noconvert(),
          "The entry at each (row, column), -1 where there is none.");
}

template <class Index>
void define(py::module_& m) {
    define_sort<Index, float>(m);
    define_sort<Index, double>(m);
    m.def("transpose", &transpose<Index>, py::arg("pointers").noconvert(), py::arg("indices").noconvert(), py::arg("n"),
          "(pointers, indices) of the n lines of the other side.");
    m.def("by_line", &by_line<Index>, py::arg("indices").noconvert(), py::arg("n"), py::arg("values").noconvert(),
          "Values in the order of the lines of their entries, equal lines in the order given.");
    define_locate<std::int32_t, Index>(m);
    define_locate<std::int64_t, Index>(m);
}

}  // namespace

void bind_sorting(py::module_& m) {
    define<std::int32_t>(m);
    define<std::int64_t>(m);
}
