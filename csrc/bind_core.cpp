// dmc._core: the CPU core for Python. Checks every array, releases the GIL.

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "bind.h"
#include "masked_product.h"
#include "parallel.h"

namespace py = pybind11;
using dmc::Array;
using dmc::check_aligned;
using dmc::check_length;
using dmc::dims;
using dmc::Entries;
using dmc::refuse;

namespace {

template <class Index, class Real>
dmc::Sides<Real> check_sides(const dmc::Lines<Index>& lines, const Array<Real>& own, const Array<Real>& other) {
    if (own.ndim() != 2 || other.ndim() != 2 || own.shape(1) != other.shape(1))
        refuse("own has shape " + dims(own) + " and other " + dims(other) + "; give two matrices of one width");
    if (own.shape(0) != lines.count || other.shape(0) != lines.other_lines)
        refuse("own has " + std::to_string(own.shape(0)) + " lines and other " + std::to_string(other.shape(0)) +
               "; the entries are of " + std::to_string(lines.count) + " and " + std::to_string(lines.other_lines));
    check_aligned(own, "own");
    check_aligned(other, "other");
    return {own.data(), other.data(), own.shape(1)};
}

template <class Real, class Index>
Array<Real> masked_product(const Entries<Index>& entries, const Array<Real>& own, const Array<Real>& other,
                           int n_threads) {
    const auto lines = entries.lines();
    const auto sides = check_sides(lines, own, other);
    Array<Real> out(lines.entries());
    Real* p = out.mutable_data();
    {
        py::gil_scoped_release release;
        dmc::masked_product(lines, sides, p, n_threads);
    }
    return out;
}

template <class Real, class Stored, class Index>
py::tuple residual_gradient(const Entries<Index>& entries, const Array<Real>& own, const Array<Real>& other,
                            const Array<Real>& target, const std::optional<Array<Real>>& weights, int n_threads) {
    const auto lines = entries.lines();
    const auto sides = check_sides(lines, own, other);
    check_length(target, "target", lines.entries());
    if (weights) check_length(*weights, "weights", lines.entries());
    Array<Real> d_own = dmc::pooled<Real>(entries.pool(), own.shape(0), own.shape(1));
    Real* p = d_own.mutable_data();
    const Real* w = weights ? weights->data() : nullptr;
    double loss;
    {
        py::gil_scoped_release release;
        loss = dmc::residual_gradient<Real, Stored>(lines, sides, target.data(), w, p, n_threads);
    }
    return py::make_tuple(loss, d_own);
}

// noconvert: an array of another dtype or layout is a mistake of the caller, never a silent copy.
template <class Real, class Stored, class Index>
void define_gradient(py::module_& m, const char* name, const char* what) {
    m.def(name, &residual_gradient<Real, Stored, Index>, py::arg("entries"), py::arg("own").noconvert(),
          py::arg("other").noconvert(), py::arg("target").noconvert(), py::arg("weights").noconvert() = py::none(),
          py::arg("n_threads") = 0, what);
}

template <class Index>
void define(py::module_& m, const char* name) {
    py::class_<Entries<Index>>(m, name, "The entries of a matrix line by line, checked once.")
        .def(py::init<Array<std::int64_t>, Array<Index>, std::int64_t>(), py::arg("pointers").noconvert(),
             py::arg("indices").noconvert(), py::arg("other_lines"));
    m.def("masked_product", &masked_product<float, Index>, py::arg("entries"), py::arg("own").noconvert(),
          py::arg("other").noconvert(), py::arg("n_threads") = 0,
          "out[e] = <own_i, other_j> for each entry e = (i, j).");
    m.def("masked_product", &masked_product<double, Index>, py::arg("entries"), py::arg("own").noconvert(),
          py::arg("other").noconvert(), py::arg("n_threads") = 0);
    constexpr auto what = "(loss, d_own): half the weighted sum of squared residuals and its gradient by own.";
    define_gradient<float, float, Index>(m, "residual_gradient", what);
    define_gradient<double, double, Index>(m, "residual_gradient", what);
    define_gradient<float, dmc::bfloat16, Index>(m, "residual_gradient_bfloat16",
                                                 "As residual_gradient, with other rounded to bfloat16.");
}

}  // namespace

// Each in a file of its own.
void bind_network(py::module_& m);
void bind_sorting(py::module_& m);
void bind_serving(py::module_& m);
void bind_posterior(py::module_& m);
void bind_all_pairs(py::module_& m);

PYBIND11_MODULE(_core, m) {
    m.doc() = "The compiled CPU core of dmc.";
    define<std::int32_t>(m, "Entries");
    define<std::int64_t>(m, "WideEntries");
    bind_network(m);
    bind_sorting(m);
    m.def(
        "instruction_set",
        [] {
            const char* names[] = {"plain", "avx2", "avx512"};
            return names[int(dmc::isa())];
        },
        "The instruction set in use: avx512, avx2 or plain.");
    m.def("max_threads", &dmc::max_threads, "Threads that a call uses when none are named.");
    bind_serving(m);
    bind_posterior(m);
    bind_all_pairs(m);
}
