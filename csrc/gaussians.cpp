#include "gaussians.h"

#include <algorithm>
#include <vector>

#include "cholesky.h"
#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kChunk = 64;      // systems in a piece of work
constexpr std::int64_t kWork = 1 << 18;  // multiplications for which a further thread is woken

struct Work {
    std::int64_t k;
    double* grams;
    double* sides;
    bool invert;
};

struct Solve {
    template <int Bytes>
    static DMC_INLINE int run(const Work& work, const std::int64_t& first, const std::int64_t& last) {
        using Systems = Cholesky<double, Bytes>;
        constexpr std::int64_t lanes = Systems::lanes;
        const std::int64_t k = work.k, size = k * (k + 1) / 2;
        std::vector<Wide<double>> numbers(size + k + 1), room(k + 1);
        const Systems systems{k, k + 1, numbers.data()->lanes, room.data()->lanes};
        for (std::int64_t begin = first; begin < last; begin += lanes) {
            double *grams = work.grams + begin * size, *sides = work.sides + begin * k, *a = systems.a;
            const std::int64_t count = std::min(lanes, last - begin);
            std::int64_t gram[lanes], side[lanes];  // lanes that are left over have the last system once more
            for (std::int64_t i = 0; i < lanes; ++i) {
                gram[i] = std::min(i, count - 1) * size;
                side[i] = std::min(i, count - 1) * k;
            }
            for (std::int64_t r = 0, t = 0; r < k; ++r) {
                for (std::int64_t c = r; c < k; ++c, ++t, a += lanes)
                    for (std::int64_t i = 0; i < lanes; ++i) a[i] = grams[gram[i] + t];
                for (std::int64_t i = 0; i < lanes; ++i) a[i] = sides[side[i] + r];
                a += lanes;
            }
            systems.factor();
            systems.solve();
            for (std::int64_t r = 0; r < k; ++r)
                for (std::int64_t i = 0; i < count; ++i) sides[i * k + r] = systems.at(r, k)[i];
            if (!work.invert) continue;
            systems.invert();
            a = systems.a;
            for (std::int64_t r = 0, t = 0; r < k; ++r, a += lanes)
                for (std::int64_t c = r; c < k; ++c, ++t, a += lanes)
                    for (std::int64_t i = 0; i < count; ++i) grams[i * size + t] = a[i];
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
