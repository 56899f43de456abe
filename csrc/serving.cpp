// Predictions at pairs: gathers fetched ahead.

#include "serving.h"

#include <algorithm>

#include "dot.h"
#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kPairs = 4096;     // what one thread does at a time
constexpr std::int64_t kAhead = 16;       // pairs between the fetch of their lines and their use
constexpr std::int64_t kCache = 1 << 20;  // bytes, about those of the second level

template <class Real, class Index>
struct Pairs {
    Factor<Real> left, right;
    const Index *rows, *cols;
    std::int64_t count;
    Real* out;
};

template <class Real>
DMC_INLINE void fetch(Factor<Real> matrix, std::int64_t line) {
    const char* data = reinterpret_cast<const char*>(matrix.data + line * matrix.width);
    for (std::int64_t b = 0; b < matrix.width * std::int64_t(sizeof(Real)); b += 64)
        __builtin_prefetch(data + b, 0, 2);  // to the second level: the first has too few lines under way
}

template <class Real>
DMC_INLINE bool is_far(Factor<Real> matrix) {
    return matrix.lines * matrix.width * std::int64_t(sizeof(Real)) > kCache;
}

struct ProductAt {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE void run(const Pairs<Real, Index>& work, const std::int64_t& piece) {
        const std::int64_t width = work.left.width, end = std::min((piece + 1) * kPairs, work.count);
        const bool left_far = is_far(work.left), right_far = is_far(work.right);
        for (std::int64_t p = piece * kPairs; p < end; ++p) {
            if (p + kAhead < work.count) {
                if (left_far) fetch(work.left, work.rows[p + kAhead]);
                if (right_far) fetch(work.right, work.cols[p + kAhead]);
            }
            work.out[p] =
                dot<Real, Bytes>(work.left.data + work.rows[p] * width, work.right.data + work.cols[p] * width, width);
        }
    }
};

}  // namespace

template <class Real, class Index>
void product_at(Factor<Real> left, Factor<Real> right, const Index* rows, const Index* cols, std::int64_t count,
                Real* out, int n_threads) {
    const Pairs<Real, Index> work{left, right, rows, cols, count, out};
    parallel_for((count + kPairs - 1) / kPairs, threads_for(count * left.width, kWorkOfThread, n_threads),
                 [&](std::int64_t piece) { dispatch<ProductAt>(work, piece); });
}

#define DMC_INSTANTIATE(Real, Index)                                                                                   \
    template void product_at<Real, Index>(Factor<Real>, Factor<Real>, const Index*, const Index*, std::int64_t, Real*, \
                                          int);
DMC_INSTANTIATE(float, std::int32_t)
DMC_INSTANTIATE(float, std::int64_t)
DMC_INSTANTIATE(double, std::int32_t)
DMC_INSTANTIATE(double, std::int64_t)

}  // namespace dmc
