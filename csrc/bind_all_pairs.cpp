// Half a sweep of least squares over all pairs, for Python.

#include "all_pairs.h"
#include "bind.h"

namespace py = pybind11;
using dmc::Array;
using dmc::check_aligned;
using dmc::check_length;
using dmc::dims;
using dmc::Entries;
using dmc::refuse;

namespace {

void check_side(const py::array& side, const char* name, std::int64_t lines) {
    if (side.ndim() != 2 || side.shape(0) != lines || side.shape(1) < 1 || side.shape(1) % dmc::kBlock)
        refuse(std::string(name) + " has shape " + dims(side) + "; it has to be (" + std::to_string(lines) +
               ", a multiple of " + std::to_string(dmc::kBlock) + ")");
    check_aligned(side, name);
}

template <class Index>
double half_sweep(const Entries<Index>& entries, const Array<float>& weights, float unobserved,
                  const Array<float>& ridge, const Array<float>& other, Array<float>& own, Array<float>& predicted,
                  std::int64_t passes, double tol, int n_threads) {
    const auto lines = entries.lines();
    check_length(weights, "weights", lines.entries());
    check_length(ridge, "ridge", lines.count);
    check_length(predicted, "predicted", lines.entries());
    for (const auto& [array, name] :
         {std::pair<const py::array&, const char*>{weights, "weights"}, {ridge, "ridge"}, {predicted, "predicted"}})
        check_aligned(array, name);
    check_side(other, "other", lines.other_lines);
    check_side(own, "own", lines.count);
    if (own.shape(1) != other.shape(1))
        refuse("own has shape " + dims(own) + " and other " + dims(other) + "; give two matrices of one width");
    const dmc::AllPairs pairs{weights.data(), unobserved, ridge.data(), own.shape(1)};
    float *o = own.mutable_data(), *p = predicted.mutable_data();
    py::gil_scoped_release release;
    return dmc::half_sweep(lines, pairs, other.data(), o, p, passes, tol, n_threads);
}

// noconvert: an array of another dtype or layout is a mistake of the caller, never a silent copy.
template <class Index>
void define(py::module_& m) {
    m.def("half_sweep", &half_sweep<Index>, py::arg("entries"), py::arg("weights").noconvert(), py::arg("unobserved"),
          py::arg("ridge").noconvert(), py::arg("other").noconvert(), py::arg("own").noconvert(),
          py::arg("predicted").noconvert(), py::arg("passes") = 1, py::arg("tol") = 0.0, py::arg("n_threads") = 0,
          "Moves the lines of `own` and the predictions of the entries, in place; returns by how much the value falls. "
          "See csrc/all_pairs.h.");
}

}  // namespace

void bind_all_pairs(py::module_& m) {
    define<std::int32_t>(m);
    define<std::int64_t>(m);
}
