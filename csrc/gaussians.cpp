#include "gaussians.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "invert.h"
#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kDoubles = 8;     // in a vector of the widest registers
constexpr std::int64_t kChunk = 64;      // systems in a piece of work
constexpr std::int64_t kWork = 1 << 18;  // multiplications for which a further thread is woken

struct Work {
    std::int64_t k;
    double* grams;
    double* sides;
    bool invert;
};

// Elimination of the upper triangle and substitution upwards; column k of the matrix holds the right-hand side.
template <int Bytes>
DMC_INLINE void eliminate(double* a, std::int64_t k, std::int64_t stride, double* side) {
    using V = Vector<double, Bytes>;
    for (std::int64_t p = 0; p < k; ++p) {
        const double* pivot = a + p * stride;
        const double inverse = 1 / pivot[p];
        for (std::int64_t r = p + 1; r < k; ++r) {
            double* row = a + r * stride;
            const double factor = pivot[r] * inverse;  // symmetric: what would stand below the pivot
            for (std::int64_t c = r / V::lanes * V::lanes; c < stride; c += V::lanes)
                V::store(row + c, V::load(row + c) - factor * V::load(pivot + c));
        }
    }
    for (std::int64_t p = k - 1; p >= 0; --p) {
        const double* row = a + p * stride;
        double sum = row[k];
        for (std::int64_t c = p + 1; c < k; ++c) sum -= row[c] * side[c];
        side[p] = sum / row[p];
    }
}

struct Solve {
    template <int Bytes>
    static DMC_INLINE int run(const Work& work, const std::int64_t& first, const std::int64_t& last) {
        const std::int64_t k = work.k, stride = (k + kDoubles) / kDoubles * kDoubles;
        std::vector<double> matrix((k + 1) * stride), pivot(stride), scale(k);
        for (std::int64_t i = first; i < last; ++i) {
            double *packed = work.grams + i * (k * (k + 1) / 2), *side = work.sides + i * k, *a = matrix.data();
            std::fill(matrix.begin(), matrix.end(), 0.0);
            // With a diagonal of ones: `invert` keeps the digits of an inverse only beside numbers of its own size.
            for (std::int64_t r = 0, at = 0; r < k; at += k - r, ++r) scale[r] = 1 / std::sqrt(packed[at]);
            for (std::int64_t r = 0, at = 0; r < k; ++r) {
                for (std::int64_t c = r; c < k; ++c)
                    a[r * stride + c] = a[c * stride + r] = packed[at++] * scale[r] * scale[c];
                a[r * stride + k] = side[r] * scale[r];
            }
            if (!work.invert) {
                eliminate<Bytes>(a, k, stride, side);
                for (std::int64_t r = 0; r < k; ++r) side[r] *= scale[r];
                continue;
            }
            if (stride == 16)
                invert<Bytes, 16 / Vector<double, Bytes>::lanes>(a, k, stride, pivot.data());
            else
                invert<Bytes, 0>(a, k, stride, pivot.data());
            for (std::int64_t r = 0; r < k; ++r) side[r] = a[r * stride + k] * scale[r];
            for (std::int64_t r = 0; r < k; ++r)
                for (std::int64_t c = r; c < k; ++c) *packed++ = a[r * stride + c] * scale[r] * scale[c];
        }
        return 0;
    }
};

}  // namespace

void solve_gaussians(std::int64_t count, std::int64_t k, double* grams, double* sides, bool invert, int n_threads) {
    const Work work{k, grams, sides, invert};
    const std::int64_t chunks = (count + kChunk - 1) / kChunk;
    parallel_for(chunks, threads_for(count * k * k * k, kWork, n_threads), [&](std::int64_t chunk) {
        const std::int64_t first = chunk * kChunk, last = std::min(count, first + kChunk);
        dispatch<Solve>(work, first, last);
    });
}

}  // namespace dmc
