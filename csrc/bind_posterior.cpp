// The posteriors of lines, for Python.

#include "bind.h"
#include "gaussians.h"
#include "posterior.h"

namespace py = pybind11;
using dmc::Array;
using dmc::check_length;
using dmc::dims;
using dmc::Entries;
using dmc::refuse;

namespace {

void check_matrix(const py::array& a, const char* name, py::ssize_t rows, py::ssize_t columns) {
    if (a.ndim() != 2 || a.shape(0) != rows || a.shape(1) != columns)
        refuse(std::string(name) + " has shape " + dims(a) + "; it has to be (" + std::to_string(rows) + ", " +
               std::to_string(columns) + ")");
    dmc::check_aligned(a, name);
}

template <class Index>
py::tuple posterior(const Entries<Index>& entries, const Array<float>& values, const Array<float>& others,
                    const Array<double>& precision, const Array<float>& means, const Array<double>& noise,
                    Array<float>& moments, int n_threads) {
    const auto lines = entries.lines();
    if (precision.ndim() != 2 || precision.shape(0) < 1)
        refuse("precision has shape " + dims(precision) + "; it has to be square");
    const std::int64_t unknowns = precision.shape(0), size = dmc::Moments(unknowns).size;
    check_length(values, "values", lines.entries());
    dmc::check_aligned(values, "values");
    check_matrix(precision, "precision", unknowns, unknowns);
    check_matrix(others, "others", lines.other_lines, size);
    check_matrix(means, "means", lines.count, unknowns);
    check_matrix(moments, "moments", lines.count, size);
    check_length(noise, "noise", lines.count);
    dmc::check_aligned(noise, "noise");
    Array<float> mean({py::ssize_t(lines.count), py::ssize_t(unknowns)});
    Array<double> covariance({py::ssize_t(unknowns), py::ssize_t(unknowns)});
    Array<double> errors{py::ssize_t(lines.count)};
    const dmc::Prior prior{unknowns, precision.data(), means.data(), noise.data()};
    const dmc::Posterior out{mean.mutable_data(), moments.mutable_data(), covariance.mutable_data(),
                             errors.mutable_data()};
    {
        py::gil_scoped_release release;
        dmc::posterior(lines, values.data(), others.data(), prior, out, n_threads);
    }
    return py::make_tuple(mean, covariance, errors);
}

template <class Index>
Array<float> line_sums(const Entries<Index>& entries, const Array<float>& vectors, int n_threads) {
    const auto lines = entries.lines();
    if (vectors.ndim() != 2 || vectors.shape(1) < 1 || vectors.shape(1) % dmc::kGrain != 0)
        refuse("vectors has shape " + dims(vectors) + "; give a matrix with a multiple of " +
               std::to_string(dmc::kGrain) + " columns");
    const std::int64_t width = vectors.shape(1);
    check_matrix(vectors, "vectors", lines.other_lines, width);
    Array<float> sums({py::ssize_t(lines.count), py::ssize_t(width)});
    float* out = sums.mutable_data();
    {
        py::gil_scoped_release release;
        dmc::line_sums(lines, vectors.data(), width, out, n_threads);
    }
    return sums;
}

Array<float> moments_of(const Array<float>& means, int n_threads) {
    if (means.ndim() != 2 || means.shape(1) < 1) refuse("means has shape " + dims(means) + "; give a matrix");
    dmc::check_aligned(means, "means");
    const std::int64_t lines = means.shape(0), unknowns = means.shape(1);
    Array<float> moments({py::ssize_t(lines), py::ssize_t(dmc::Moments(unknowns).size)});
    float* p = moments.mutable_data();
    {
        py::gil_scoped_release release;
        dmc::moments_of(lines, unknowns, means.data(), p, n_threads);
    }
    return moments;
}

void solve_gaussians(Array<double>& grams, Array<double>& sides, bool invert, int n_threads) {
    if (sides.ndim() != 2) refuse("sides has shape " + dims(sides) + "; give a matrix");
    const std::int64_t count = sides.shape(0), k = sides.shape(1);
    check_matrix(grams, "grams", count, k * (k + 1) / 2);
    dmc::check_aligned(sides, "sides");
    double *g = grams.mutable_data(), *s = sides.mutable_data();
    py::gil_scoped_release release;
    dmc::solve_gaussians(count, k, g, s, invert, n_threads);
}

// noconvert: an array of another dtype or layout is a mistake of the caller, never a silent copy.
template <class Index>
void define(py::module_& m) {
    m.def("posterior", &posterior<Index>, py::arg("entries"), py::arg("values").noconvert(),
          py::arg("others").noconvert(), py::arg("precision").noconvert(), py::arg("means").noconvert(),
          py::arg("noise").noconvert(), py::arg("moments").noconvert(), py::arg("n_threads") = 0,
          "(means, summed covariance, expected squared errors) of the unknowns of each line, given the moments of the "
          "other lines; their own are written to `moments`. See csrc/posterior.h.");
    m.def("line_sums", &line_sums<Index>, py::arg("entries"), py::arg("vectors").noconvert(), py::arg("n_threads") = 0,
          "(lines, width) the sum of the other lines' vectors over the entries of each line.");
}

}  // namespace

void bind_posterior(py::module_& m) {
    define<std::int32_t>(m);
    define<std::int64_t>(m);
    m.def("moments_of", &moments_of, py::arg("means").noconvert(), py::arg("n_threads") = 0,
          "The moments of lines whose unknowns are known.");
    m.def(
        "solve_gaussians", &solve_gaussians, py::arg("grams").noconvert(), py::arg("sides").noconvert(),
        py::arg("invert"), py::arg("n_threads") = 0,
        "Solves many positive definite systems, in place: right-hand sides (lines, k) become the solutions and, if the "
        "inverses are asked for, packed upper triangles (lines, k (k + 1) / 2) those of the inverses.");
}
