// Half a sweep of least squares over all pairs, for Python.

#include "all_pairs.h"
#include "bind.h"

namespace py = pybind11;
using dmc::Array;
using dmc::checked;
using dmc::Entries;
using dmc::written;

namespace {

template <class Index>
double half_sweep(const Entries<Index>& entries, const Array<float>& weights, const Array<float>& pulls,
                  float unobserved, const Array<float>& ridge, const Array<float>& other, Array<float>& own,
                  Array<float>& predicted, std::int64_t passes, double tol, int n_threads) {
    const auto lines = entries.lines();
    dmc::check_blocks(other, "other", lines.other_lines, dmc::kBlock);
    const std::int64_t width = other.shape(1);
    const dmc::AllPairs pairs{checked(weights, "weights", {lines.entries()}),
                              checked(pulls, "pulls", {lines.entries()}), unobserved,
                              checked(ridge, "ridge", {lines.count}), width};
    float *o = written(own, "own", {lines.count, width}), *p = written(predicted, "predicted", {lines.entries()});
    py::gil_scoped_release release;
    return dmc::half_sweep(lines, pairs, other.data(), o, p, passes, tol, n_threads);
}

template <class Index>
void define(py::module_& m) {
    m.def("half_sweep", &half_sweep<Index>, py::arg("entries"), py::arg("weights").noconvert(),
          py::arg("pulls").noconvert(), py::arg("unobserved"), py::arg("ridge").noconvert(),
          py::arg("other").noconvert(), py::arg("own").noconvert(), py::arg("predicted").noconvert(),
          py::arg("passes") = 1, py::arg("tol") = 0.0, py::arg("n_threads") = 0,
          "Moves the lines of `own` and the predictions of the entries, in place; returns by how much the value falls. "
          "See csrc/all_pairs.h.");
}

}  // namespace

void bind_all_pairs(py::module_& m) {
    define<std::int32_t>(m);
    define<std::int64_t>(m);
}
