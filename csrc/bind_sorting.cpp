// The sorting of observed entries for Python. Checks every array, releases the GIL.

#include <algorithm>
#include <limits>

#include "bind.h"
#include "sort_entries.h"

namespace py = pybind11;
using dmc::Array;
using dmc::check;
using dmc::check_pointers;
using dmc::checked;
using dmc::kAny;
using dmc::refuse;

namespace {

constexpr std::int64_t kNarrow = std::numeric_limits<std::int32_t>::max();  // lines that int32 indices reach

void check_lines(std::int64_t lines, const char* name) {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max() / 16;
    if (lines < 0 || lines > most)
        refuse(std::string(name) + " is " + std::to_string(lines) + "; it has to be from 0 to " + std::to_string(most));
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
        const dmc::Unlocked unlocked;
        repeats = dmc::sort_entries(given, p, c, v, 0);
    }
    return py::make_tuple(pointers, columns, out, repeats.count, repeats.first);
}

template <class Given, class Real>
py::tuple sort_entries(const Array<Given>& rows, const Array<Given>& cols, const Array<Real>& values, std::int64_t m,
                       std::int64_t n) {
    const Real* v = checked(values, "values", {kAny});
    const std::int64_t count = values.shape(0);
    const Given *r = checked(rows, "rows", {count}), *c = checked(cols, "cols", {count});
    check_lines(m, "m");
    check_lines(n, "n");
    const dmc::Triplets<Given, Real> given{count, m, n, r, c, v};
    return std::max(m, n) <= kNarrow ? sorted<Given, std::int32_t>(given) : sorted<Given, std::int64_t>(given);
}

template <class Index, class Other>
py::tuple transposed(std::int64_t lines, const std::int64_t* pointers, const Index* indices, std::int64_t n) {
    Array<std::int64_t> other_pointers(n + 1);
    Array<Other> other_indices(pointers[lines]);
    auto* p = other_pointers.mutable_data();
    auto* i = other_indices.mutable_data();
    {
        const dmc::Unlocked unlocked;
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
    const Index* lines = checked(indices, "indices", {kAny});
    const std::int64_t count = indices.shape(0), bytes = values.itemsize();
    check_lines(n, "n");
    if (values.dtype().kind() == 'O') refuse("values holds objects; give numbers");
    if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8)
        refuse("values has elements of " + std::to_string(bytes) + " bytes; they need to have 1, 2, 4 or 8");
    check(values, "values", {count});
    py::array out(values.dtype(), count);
    const auto run = [&](auto bits) {
        const auto* from = static_cast<const decltype(bits)*>(values.data());
        auto* to = static_cast<decltype(bits)*>(out.mutable_data());
        const dmc::Unlocked unlocked;
        dmc::by_line(count, lines, n, from, to, 0);
    };
    if (bytes == 1) run(std::uint8_t{});
    if (bytes == 2) run(std::uint16_t{});
    if (bytes == 4) run(std::uint32_t{});
    if (bytes == 8) run(std::uint64_t{});
    return out;
}

template <class Row, class Index>
Array<std::int64_t> locate(const Array<std::int64_t>& pointers, const Array<Index>& indices, const Array<Row>& rows,
                           const Array<Index>& cols) {
    const std::int64_t m = check_pointers(pointers, indices);
    const Row* r = checked(rows, "rows", {kAny});
    const std::int64_t pairs = rows.shape(0);
    const Index* c = checked(cols, "cols", {pairs});
    Array<std::int64_t> found(pairs);
    std::int64_t* out = found.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::locate(m, pointers.data(), indices.data(), pairs, r, c, out, 0);
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
