// The posteriors of lines, for Python.

#include <pybind11/stl.h>

#include <optional>

#include "bind.h"
#include "gaussians.h"
#include "posterior.h"

namespace py = pybind11;
using dmc::Array;
using dmc::check;
using dmc::checked;
using dmc::Entries;
using dmc::kAny;
using dmc::refuse;
using dmc::written;

namespace {

template <class Index>
py::tuple posterior(const Entries<Index>& entries, const Array<float>& values, const Array<float>& others,
                    const Array<double>& precision, const Array<float>& means, const Array<double>& noise,
                    Array<float>& moments, const std::optional<Array<float>>& weights, int n_threads) {
    const auto lines = entries.lines();
    const std::int64_t unknowns = precision.ndim() ? precision.shape(0) : 1, size = dmc::Moments(unknowns).size;
    const dmc::Prior prior{unknowns, checked(precision, "precision", {unknowns, unknowns}),
                           checked(means, "means", {lines.count, unknowns}), checked(noise, "noise", {lines.count})};
    if (unknowns < 1) refuse("precision has shape (0, 0); it needs at least one unknown");
    const float *known = checked(values, "values", {lines.entries()}),
                *from = checked(others, "others", {lines.other_lines, size});
    const float* w = weights ? checked(*weights, "weights", {lines.entries()}) : nullptr;
    float* to = written(moments, "moments", {lines.count, size});
    Array<float> mean({py::ssize_t(lines.count), py::ssize_t(unknowns)});
    Array<double> covariance({py::ssize_t(unknowns), py::ssize_t(unknowns)});
    Array<double> errors{py::ssize_t(lines.count)};
    const dmc::Posterior out{mean.mutable_data(), to, covariance.mutable_data(), errors.mutable_data()};
    {
        const dmc::Unlocked unlocked;
        dmc::posterior(lines, known, w, from, prior, out, n_threads);
    }
    return py::make_tuple(mean, covariance, errors);
}

template <class Index>
Array<float> line_sums(const Entries<Index>& entries, const Array<float>& vectors,
                       const std::optional<Array<float>>& weights, int n_threads) {
    const auto lines = entries.lines();
    dmc::check_blocks(vectors, "vectors", lines.other_lines, dmc::kGrain);
    const std::int64_t width = vectors.shape(1);
    const float* w = weights ? checked(*weights, "weights", {lines.entries()}) : nullptr;
    Array<float> sums({py::ssize_t(lines.count), py::ssize_t(width)});
    float* out = sums.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::line_sums(lines, nullptr, w, vectors.data(), width, width, out, n_threads);
    }
    return sums;
}

template <class Index>
Array<float> posterior_sums(const Entries<Index>& entries, const Array<float>& values, const Array<float>& others,
                            const std::optional<Array<float>>& weights, const py::slice& some, int n_threads) {
    auto lines = entries.lines();
    dmc::check_blocks(others, "others", lines.other_lines, dmc::kGrain);
    const dmc::Moments at = dmc::moments_of_size(others.shape(1));
    check(others, "others", {lines.other_lines, at.size});
    const float *known = checked(values, "values", {lines.entries()}),
                *w = checked(weights, "weights", {lines.entries()});
    lines = dmc::some_of(lines, some);
    Array<float> sums({py::ssize_t(lines.count), py::ssize_t(at.size)});
    float* out = sums.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::line_sums(lines, known, w, others.data(), at.packed, at.size, out, n_threads);
    }
    return sums;
}

py::tuple posterior_of_sums(const Array<float>& sums, const Array<double>& precision, const Array<float>& means,
                            const Array<double>& noise, Array<float>& moments, int n_threads) {
    const std::int64_t unknowns = precision.ndim() ? precision.shape(0) : 1, size = dmc::Moments(unknowns).size;
    if (unknowns < 1) refuse("precision has shape (0, 0); it needs at least one unknown");
    const float* from = checked(sums, "sums", {kAny, size});
    const std::int64_t count = sums.shape(0);
    const dmc::Prior prior{unknowns, checked(precision, "precision", {unknowns, unknowns}),
                           checked(means, "means", {count, unknowns}), checked(noise, "noise", {count})};
    float* to = written(moments, "moments", {count, size});
    Array<float> mean({py::ssize_t(count), py::ssize_t(unknowns)});
    Array<double> covariance({py::ssize_t(unknowns), py::ssize_t(unknowns)});
    const dmc::Posterior out{mean.mutable_data(), to, covariance.mutable_data(), nullptr};
    {
        const dmc::Unlocked unlocked;
        dmc::posterior_of_sums(count, from, prior, out, n_threads);
    }
    return py::make_tuple(mean, covariance);
}

Array<float> moments_of(const Array<float>& means, int n_threads) {
    const float* from = checked(means, "means", {kAny, kAny});
    if (means.shape(1) < 1) refuse("means has no columns; it needs at least one unknown");
    const std::int64_t lines = means.shape(0), unknowns = means.shape(1);
    Array<float> moments({py::ssize_t(lines), py::ssize_t(dmc::Moments(unknowns).size)});
    float* p = moments.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::moments_of(lines, unknowns, from, p, n_threads);
    }
    return moments;
}

void solve_gaussians(Array<double>& grams, Array<double>& sides, bool invert, int n_threads) {
    double* s = written(sides, "sides", {kAny, kAny});
    const std::int64_t count = sides.shape(0), k = sides.shape(1);
    double* g = written(grams, "grams", {count, k * (k + 1) / 2});
    const dmc::Unlocked unlocked;
    dmc::solve_gaussians(count, k, g, s, invert, n_threads);
}

template <class Index>
void define(py::module_& m) {
    m.def("posterior", &posterior<Index>, py::arg("entries"), py::arg("values").noconvert(),
          py::arg("others").noconvert(), py::arg("precision").noconvert(), py::arg("means").noconvert(),
          py::arg("noise").noconvert(), py::arg("moments").noconvert(), py::arg("weights").noconvert() = py::none(),
          py::arg("n_threads") = 0,
          "(means, summed covariance, expected squared errors) of the unknowns of each line, given the moments of the "
          "other lines; their own are written to `moments`. See csrc/posterior.h.");
    m.def("line_sums", &line_sums<Index>, py::arg("entries"), py::arg("vectors").noconvert(),
          py::arg("weights").noconvert() = py::none(), py::arg("n_threads") = 0,
          "(lines, width) the sum of the other lines' vectors, times the entries' weights, over the entries of each "
          "line.");
    m.def("posterior_sums", &posterior_sums<Index>, py::arg("entries"), py::arg("values").noconvert(),
          py::arg("others").noconvert(), py::arg("weights").noconvert() = py::none(),
          py::arg("lines") = py::slice(std::nullopt, std::nullopt, std::nullopt), py::arg("n_threads") = 0,
          "(lines, size) what `posterior` sums over the entries of each of some lines.");
}

}  // namespace

void bind_posterior(py::module_& m) {
    define<std::int32_t>(m);
    define<std::int64_t>(m);
    m.def(
        "posterior_of_sums", &posterior_of_sums, py::arg("sums").noconvert(), py::arg("precision").noconvert(),
        py::arg("means").noconvert(), py::arg("noise").noconvert(), py::arg("moments").noconvert(),
        py::arg("n_threads") = 0,
        "(means, summed covariance) of the unknowns of each line, given such sums; moments are written to `moments`.");
    m.def("moments_of", &moments_of, py::arg("means").noconvert(), py::arg("n_threads") = 0,
          "The moments of lines whose unknowns are known.");
    m.def(
        "solve_gaussians", &solve_gaussians, py::arg("grams").noconvert(), py::arg("sides").noconvert(),
        py::arg("invert"), py::arg("n_threads") = 0,
        "Solves many positive definite systems, in place: right-hand sides (lines, k) become the solutions and, if the "
        "inverses are asked for, packed upper triangles (lines, k (k + 1) / 2) those of the inverses.");
}
