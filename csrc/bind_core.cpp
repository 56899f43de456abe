// dmc._core: the CPU core for Python. Checks every array (dtype, shape, index range is the caller's), releases the GIL.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "masked_product.h"

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

[[noreturn]] void refuse(const std::string& message) { throw py::value_error(message); }

std::string dims(const py::array& a) {
    std::string text = "(";
    for (py::ssize_t d = 0; d < a.ndim(); ++d) text += (d ? ", " : "") + std::to_string(a.shape(d));
    return text + (a.ndim() == 1 ? ",)" : ")");
}

void check_length(const py::array& a, const char* name, py::ssize_t length) {
    if (a.ndim() != 1 || a.shape(0) != length)
        refuse(std::string(name) + " has shape " + dims(a) + "; it has to be (" + std::to_string(length) + ",)");
}

template <class Real>
dmc::Sides<Real> check_sides(const Array<Real>& own, const Array<Real>& other) {
    if (own.ndim() != 2 || other.ndim() != 2 || own.shape(1) != other.shape(1))
        refuse("own has shape " + dims(own) + " and other " + dims(other) + "; give two matrices of one width");
    return {own.data(), other.data(), other.shape(0), own.shape(1)};
}

// Pointers and indices were checked when the pattern was made; here what can be checked in constant time.
template <class Index, class Real>
dmc::Lines<Index> check_lines(const Array<std::int64_t>& pointers, const Array<Index>& indices,
                              const Array<Real>& own) {
    check_length(pointers, "pointers", own.shape(0) + 1);
    if (pointers.data()[0] != 0)
        refuse("pointers start at " + std::to_string(pointers.data()[0]) + "; they have to start at 0");
    check_length(indices, "indices", pointers.data()[own.shape(0)]);
    return {own.shape(0), pointers.data(), indices.data()};
}

template <class Real, class Index>
Array<Real> masked_product(const Array<std::int64_t>& pointers, const Array<Index>& indices, const Array<Real>& own,
                           const Array<Real>& other, int n_threads) {
    const auto sides = check_sides(own, other);
    const auto lines = check_lines(pointers, indices, own);
    Array<Real> out(indices.shape(0));
    Real* p = out.mutable_data();
    {
        py::gil_scoped_release release;
        dmc::masked_product(lines, sides, p, n_threads);
    }
    return out;
}

template <class Real, class Index>
py::tuple residual_gradient(const Array<std::int64_t>& pointers, const Array<Index>& indices, const Array<Real>& own,
                            const Array<Real>& other, const Array<Real>& target,
                            const std::optional<Array<Real>>& weights, int n_threads) {
    const auto sides = check_sides(own, other);
    const auto lines = check_lines(pointers, indices, own);
    check_length(target, "target", indices.shape(0));
    if (weights) check_length(*weights, "weights", indices.shape(0));
    Array<Real> d_own({own.shape(0), own.shape(1)});
    Real* p = d_own.mutable_data();
    const Real* w = weights ? weights->data() : nullptr;
    double loss;
    {
        py::gil_scoped_release release;
        loss = dmc::residual_gradient(lines, sides, target.data(), w, p, n_threads);
    }
    return py::make_tuple(loss, d_own);
}

template <class Real, class Index>
void define(py::module_& m) {
    // noconvert: an array of another dtype or layout is a mistake of the caller, never a silent copy.
    m.def("masked_product", &masked_product<Real, Index>, py::arg("pointers").noconvert(),
          py::arg("indices").noconvert(), py::arg("own").noconvert(), py::arg("other").noconvert(),
          py::arg("n_threads") = 0, "out[e] = <own_i, other_j> for each entry e = (i, j).");
    m.def("residual_gradient", &residual_gradient<Real, Index>, py::arg("pointers").noconvert(),
          py::arg("indices").noconvert(), py::arg("own").noconvert(), py::arg("other").noconvert(),
          py::arg("target").noconvert(), py::arg("weights").noconvert() = py::none(), py::arg("n_threads") = 0,
          "(loss, d_own): half the weighted sum of squared residuals and its gradient by own.");
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "The compiled CPU core of dmc.";
    define<float, std::int32_t>(m);
    define<double, std::int32_t>(m);
    define<float, std::int64_t>(m);
    define<double, std::int64_t>(m);
    m.def("instruction_set", &dmc::instruction_set, "The instruction set in use: avx512, avx2 or plain.");
    m.def("max_threads", &dmc::max_threads, "Threads that a call uses when none are named.");
}
