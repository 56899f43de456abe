// Half a sweep of least squares over all pairs, for Python.

#include "all_pairs.h"
#include "bind.h"

namespace py = pybind11;
using dmc::Array;
using dmc::checked;
using dmc::Entries;
using dmc::kAny;
using dmc::written;

namespace {

constexpr std::int64_t kMostPasses = 10000;

template <class Index>
double half_sweep(const Entries<Index>& entries, const Array<float>& weights, const Array<float>& pulls,
                  float unobserved, const Array<float>& ridge, const Array<float>& other, Array<float>& own,
                  Array<float>& predicted, std::int64_t passes, double tol, int n_threads) {
    if (passes < 1 || passes > kMostPasses)  // rounding can keep them from ever falling short of `tol`
        dmc::refuse("passes is " + std::to_string(passes) + "; it has to be from 1 to " + std::to_string(kMostPasses));
    const auto lines = entries.lines();
    dmc::check_blocks(other, "other", lines.other_lines, dmc::kBlock);
    const std::int64_t width = other.shape(1);
    const dmc::AllPairs pairs{checked(weights, "weights", {lines.entries()}),
                              checked(pulls, "pulls", {lines.entries()}), unobserved,
                              checked(ridge, "ridge", {lines.count}), width};
    float *o = written(own, "own", {lines.count, width}), *p = written(predicted, "predicted", {lines.entries()});
    const dmc::Unlocked unlocked;
    return dmc::half_sweep(lines, pairs, other.data(), o, p, passes, tol, n_threads);
}

Array<float> block_grams(const Array<float>& other, float unobserved, int n_threads) {
    dmc::check_blocks(other, "other", kAny, dmc::kBlock);
    const std::int64_t lines = other.shape(0), width = other.shape(1);
    Array<float> grams({py::ssize_t(width / dmc::kBlock * width), py::ssize_t(dmc::kBlock)});
    float* out = grams.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::block_grams(other.data(), lines, {nullptr, nullptr, unobserved, nullptr, width}, out, n_threads);
    }
    return grams;
}

template <class Index>
Array<float> block_sums(const Entries<Index>& entries, const Array<float>& weights, const Array<float>& pulls,
                        float unobserved, const Array<float>& other, Array<float>& predicted, const py::slice& some,
                        int n_threads) {
    auto lines = entries.lines();
    const std::int64_t count = lines.entries();
    const dmc::AllPairs pairs{checked(weights, "weights", {count}), checked(pulls, "pulls", {count}), unobserved,
                              nullptr, dmc::kBlock};
    const float* from = checked(other, "other", {lines.other_lines, dmc::kBlock});
    float* p = written(predicted, "predicted", {count});
    lines = dmc::some_of(lines, some);
    Array<float> sums({py::ssize_t(lines.count), py::ssize_t(dmc::kSystem)});
    float* out = sums.mutable_data();
    {
        const dmc::Unlocked unlocked;
        dmc::block_sums(lines, pairs, from, p, out, n_threads);
    }
    return sums;
}

py::tuple block_steps(const Array<float>& sums, const Array<float>& grams, const Array<float>& ridge, Array<float>& own,
                      std::int64_t block, int n_threads) {
    dmc::check_blocks(own, "own", kAny, dmc::kBlock);
    const std::int64_t count = own.shape(0), width = own.shape(1), blocks = width / dmc::kBlock;
    if (block < 0 || block >= blocks)
        dmc::refuse("block is " + std::to_string(block) + "; it has to be from 0 to " + std::to_string(blocks - 1));
    const dmc::AllPairs pairs{nullptr, nullptr, 0, checked(ridge, "ridge", {count}), width};
    const float *given = checked(sums, "sums", {kAny, count, dmc::kSystem}),
                *products = checked(grams, "grams", {blocks * width, dmc::kBlock});
    float* o = written(own, "own", {count, width});
    Array<float> steps({py::ssize_t(count), py::ssize_t(dmc::kBlock)});
    float* out = steps.mutable_data();
    double fall;
    {
        const dmc::Unlocked unlocked;
        fall = dmc::block_steps(sums.shape(0), count, pairs, products, block, given, o, out, n_threads);
    }
    return py::make_tuple(steps, fall);
}

template <class Index>
void block_predict(const Entries<Index>& entries, const Array<float>& other, const Array<float>& steps,
                   Array<float>& predicted, const py::slice& some, int n_threads) {
    auto lines = entries.lines();
    const float* from = checked(other, "other", {lines.other_lines, dmc::kBlock});
    float* p = written(predicted, "predicted", {lines.entries()});
    lines = dmc::some_of(lines, some);
    const float* back = checked(steps, "steps", {lines.count, dmc::kBlock});
    const dmc::Unlocked unlocked;
    dmc::block_predict(lines, from, back, p, n_threads);
}

template <class Index>
void define(py::module_& m) {
    m.def("half_sweep", &half_sweep<Index>, py::arg("entries"), py::arg("weights").noconvert(),
          py::arg("pulls").noconvert(), py::arg("unobserved"), py::arg("ridge").noconvert(),
          py::arg("other").noconvert(), py::arg("own").noconvert(), py::arg("predicted").noconvert(),
          py::arg("passes") = 1, py::arg("tol") = 0.0, py::arg("n_threads") = 0,
          "Moves the lines of `own` and the predictions of the entries, in place; returns by how much the value falls. "
          "See csrc/all_pairs.h.");
    const py::slice all(std::nullopt, std::nullopt, std::nullopt);
    m.def("block_sums", &block_sums<Index>, py::arg("entries"), py::arg("weights").noconvert(),
          py::arg("pulls").noconvert(), py::arg("unobserved"), py::arg("other").noconvert(),
          py::arg("predicted").noconvert(), py::arg("lines") = all, py::arg("n_threads") = 0,
          "(lines, numbers) what the entries of some lines add to their systems in a block of coordinates.");
    m.def("block_predict", &block_predict<Index>, py::arg("entries"), py::arg("other").noconvert(),
          py::arg("steps").noconvert(), py::arg("predicted").noconvert(), py::arg("lines") = all,
          py::arg("n_threads") = 0, "Moves the predictions of the entries of some lines after their steps, in place.");
}

}  // namespace

void bind_all_pairs(py::module_& m) {
    define<std::int32_t>(m);
    define<std::int64_t>(m);
    m.def("block_grams", &block_grams, py::arg("other").noconvert(), py::arg("unobserved"), py::arg("n_threads") = 0,
          "The products of all columns with those of each block, times the weight of what is not observed.");
    m.def("block_steps", &block_steps, py::arg("sums").noconvert(), py::arg("grams").noconvert(),
          py::arg("ridge").noconvert(), py::arg("own").noconvert(), py::arg("block"), py::arg("n_threads") = 0,
          "(steps, by how much the value falls) of lines in a block; they are taken back from `own`, in place.");
}
