// dmc._core: the CPU core for Python. Checks every array, releases the GIL.

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "bind.h"
#include "masked_product.h"
#include "parallel.h"

namespace py = pybind11;
using dmc::Array;
using dmc::checked;
using dmc::Entries;
using dmc::kAny;

namespace {

template <class Index, class Real>
dmc::Sides<Real> check_sides(const dmc::Lines<Index>& lines, const Array<Real>& own, const Array<Real>& other) {
    const Real* mine = checked(own, "own", {lines.count, kAny});
    return {mine, checked(other, "other", {lines.other_lines, own.shape(1)}), own.shape(1)};
}

template <class Real, class Index>
Array<Real> masked_product(const Entries<Index>& entries, const Array<Real>& own, const Array<Real>& other,
                           int n_threads) {
    const auto lines = entries.lines();
    const auto sides = check_sides(lines, own, other);
    Array<Real> out(lines.entries());
    Real* p = out.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::masked_product(lines, sides, p, n_threads);
    }
    return out;
}

template <class Real, class Stored, class Index>
py::tuple residual_gradient(const Entries<Index>& entries, const Array<Real>& own, const Array<Real>& other,
                            const std::optional<Array<Real>>& target, const std::optional<Array<Real>>& weights,
                            int n_threads) {
    const auto lines = entries.lines();
    const auto sides = check_sides(lines, own, other);
    const Real *t = checked(target, "target", {lines.entries()}), *w = checked(weights, "weights", {lines.entries()});
    Array<Real> d_own = dmc::pooled<Real>(entries.pool(), own.shape(0), own.shape(1));
    Real* p = d_own.mutable_data();
    double loss;
    {
        const dmc::Unlocked unlocked;
        loss = dmc::residual_gradient<Real, Stored>(lines, sides, t, w, p, n_threads);
    }
    return py::make_tuple(loss, d_own);
}

template <class Real, class Index>
Array<Real> weighted_sums(const Entries<Index>& entries, const Array<Real>& other,
                          const std::optional<Array<Real>>& coefficients, int n_threads) {
    const auto lines = entries.lines();
    const Real* from = checked(other, "other", {lines.other_lines, kAny});
    const Real* c = checked(coefficients, "coefficients", {lines.entries()});
    const std::int64_t width = other.shape(1);
    Array<Real> sums = dmc::pooled<Real>(entries.pool(), lines.count, width);
    Real* out = sums.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::weighted_sums(lines, from, width, c, out, n_threads);
    }
    return sums;
}

template <class Real, class Stored, class Index>
void define_gradient(py::module_& m, const char* name, const char* what) {
    m.def(name, &residual_gradient<Real, Stored, Index>, py::arg("entries"), py::arg("own").noconvert(),
          py::arg("other").noconvert(), py::arg("target").noconvert() = py::none(),
          py::arg("weights").noconvert() = py::none(), py::arg("n_threads") = 0, what);
}

template <class Real, class Index>
void define_passes(py::module_& m) {
    m.def("masked_product", &masked_product<Real, Index>, py::arg("entries"), py::arg("own").noconvert(),
          py::arg("other").noconvert(), py::arg("n_threads") = 0,
          "out[e] = <own_i, other_j> for each entry e = (i, j).");
    m.def("weighted_sums", &weighted_sums<Real, Index>, py::arg("entries"), py::arg("other").noconvert(),
          py::arg("coefficients").noconvert() = py::none(), py::arg("n_threads") = 0,
          "(lines, width): the sum of coefficients[e] other_j over the entries of each line; None: all one.");
}

template <class Index>
void define(py::module_& m, const char* name) {
    py::class_<Entries<Index>>(m, name, "The entries of a matrix line by line, checked once.")
        .def(py::init<const Array<std::int64_t>&, const Array<Index>&, std::int64_t>(), py::arg("pointers").noconvert(),
             py::arg("indices").noconvert(), py::arg("other_lines"));
    define_passes<float, Index>(m);
    define_passes<double, Index>(m);
    constexpr auto what =
        "(loss, d_own): half the weighted sum of squared residuals and its gradient by own. "
        "None: every target zero, every weight one.";
    define_gradient<float, float, Index>(m, "residual_gradient", what);
    define_gradient<double, double, Index>(m, "residual_gradient", what);
    define_gradient<float, dmc::bfloat16, Index>(m, "residual_gradient_bfloat16",
                                                 "As residual_gradient, with other rounded to bfloat16.");
}

}  // namespace

// Each in a file of its own.
void bind_gauss_newton(py::module_& m);
void bind_network(py::module_& m);
void bind_sorting(py::module_& m);
void bind_serving(py::module_& m);
void bind_posterior(py::module_& m);
void bind_all_pairs(py::module_& m);

// For threadpoolctl, which looks for functions by their names: see dmc/kernels/thread_limits.py.
extern "C" {
__attribute__((visibility("default"))) int dmc_get_num_threads() { return dmc::max_threads(); }
__attribute__((visibility("default"))) void dmc_set_num_threads(int count) { dmc::limit_threads(count); }
}

// Nothing here is shared but the pools, which have a lock of their own.
PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "The compiled CPU core of dmc.";
    define<std::int32_t>(m, "Entries");
    define<std::int64_t>(m, "WideEntries");
    bind_gauss_newton(m);
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
