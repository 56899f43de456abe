// dmc._core: the CPU core for Python. Checks every array, releases the GIL.

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "bind.h"
#include "masked_product.h"
#include "parallel.h"

namespace py = pybind11;
using dmc::Array;
using dmc::check_length;
using dmc::dims;
using dmc::refuse;

namespace {

// The entries of a matrix line by line, checked once and cut into pieces of work; keeps the arrays alive.
template <class Index>
class Entries {
  public:
    Entries(Array<std::int64_t> pointers, Array<Index> indices, std::int64_t other_lines)
        : pointers_(std::move(pointers)), indices_(std::move(indices)), other_lines_(other_lines) {
        if (pointers_.ndim() != 1 || pointers_.shape(0) < 1)
            refuse("pointers has shape " + dims(pointers_) + "; it has to be (lines + 1,)");
        const std::int64_t count = pointers_.shape(0) - 1;
        const std::int64_t* p = pointers_.data();
        if (p[0] != 0) refuse("pointers start at " + std::to_string(p[0]) + "; they have to start at 0");
        for (std::int64_t i = 0; i < count; ++i)
            if (p[i + 1] < p[i]) refuse("pointers fall after line " + std::to_string(i) + "; they have to ascend");
        check_length(indices_, "indices", p[count]);
        const auto [least, most] = std::minmax_element(indices_.data(), indices_.data() + p[count]);
        for (const Index* worst : {least, most})
            if (p[count] && (*worst < 0 || *worst >= other_lines))
                refuse("index " + std::to_string(*worst) + " is out of range for " + std::to_string(other_lines) +
                       " lines of the other side");
        pieces_ = dmc::cut(count, p);
    }

    dmc::Lines<Index> lines() const {
        return {pointers_.shape(0) - 1, other_lines_, pointers_.data(), indices_.data(), &pieces_};
    }

  private:
    Array<std::int64_t> pointers_;
    Array<Index> indices_;
    std::int64_t other_lines_;
    std::vector<dmc::Piece> pieces_;
};

template <class Index, class Real>
dmc::Sides<Real> check_sides(const dmc::Lines<Index>& lines, const Array<Real>& own, const Array<Real>& other) {
    if (own.ndim() != 2 || other.ndim() != 2 || own.shape(1) != other.shape(1))
        refuse("own has shape " + dims(own) + " and other " + dims(other) + "; give two matrices of one width");
    if (own.shape(0) != lines.count || other.shape(0) != lines.other_lines)
        refuse("own has " + std::to_string(own.shape(0)) + " lines and other " + std::to_string(other.shape(0)) +
               "; the entries are of " + std::to_string(lines.count) + " and " + std::to_string(lines.other_lines));
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
    Array<Real> d_own({own.shape(0), own.shape(1)});
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

void bind_serving(py::module_&);

PYBIND11_MODULE(_core, m) {
    m.doc() = "The compiled CPU core of dmc.";
    define<std::int32_t>(m, "Entries");
    define<std::int64_t>(m, "WideEntries");
    m.def(
        "instruction_set",
        [] {
            const char* names[] = {"plain", "avx2", "avx512"};
            return names[int(dmc::isa())];
        },
        "The instruction set in use: avx512, avx2 or plain.");
    m.def("max_threads", &dmc::max_threads, "Threads that a call uses when none are named.");
    bind_serving(m);
}
