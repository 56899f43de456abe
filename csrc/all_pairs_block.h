// One block of coordinates of half a sweep over all pairs (see all_pairs.h): what the entries of a line add to its
// system in it, the steps of a few lines whose systems are solved in the lanes of vectors, and the predictions after
// them.
#pragma once

#include <algorithm>

#include "all_pairs.h"
#include "cholesky.h"
#include "parallel.h"

namespace dmc::pairs {

constexpr std::int64_t kTile = 512;      // entries, or lines, summed in registers before their sums are
constexpr std::int64_t kTogether = 4;    // lines whose products are made together
constexpr std::int64_t kAhead = 64;      // entries between the fetch of what stands on the other side and its use
constexpr std::int64_t kWork = 1 << 18;  // multiplications of vectors for which a further thread is woken

// What the entries add to the system of a line in one block: the upper triangle of its matrix, row by row, and the
// gradient as a last row.
struct Sums {
    float rows[(kBlock + 1) * kBlock];

    float* gradient() { return rows + kBlock * kBlock; }
    Sums& operator+=(const Sums& more) {
        for (int i = 0; i < (kBlock + 1) * kBlock; ++i) rows[i] += more.rows[i];
        return *this;
    }
};

template <class Index>
struct Work {
    Lines<Index> lines;
    AllPairs pairs;
    float* own;
    float* predicted;
    std::int64_t first, wide;  // coordinates of the panel
    const float* panel;        // (other_lines, wide)
    const float* gram;         // w₀ times the other side's products: see make_gram

    DMC_INLINE const float* others(std::int64_t e, std::int64_t block) const {
        return panel + lines.indices[e] * wide + block;
    }
};

// sums = those of entries begin … end−1 in the block.
struct Add {
    template <int Bytes, class Index>
    static DMC_INLINE int run(const Work<Index>& work, const std::int64_t& begin, const std::int64_t& end,
                              const std::int64_t& block, Sums& sums) {
        constexpr int lanes = Vector<float, Bytes>::lanes, parts = kBlock / lanes;
        for (std::int64_t first = begin; first < end; first += kTile) {
            const std::int64_t last = std::min(first + kTile, end);
            for (int column = 0; column < parts; ++column)
                for (int row = 0; row <= column; ++row) {
                    const bool fresh = first == begin;
                    if (row == 0)
                        part<Bytes, true>(work, first, last, block, row * lanes, column * lanes, fresh, sums);
                    else
                        part<Bytes, false>(work, first, last, block, row * lanes, column * lanes, fresh, sums);
                }
        }
        return 0;
    }

    template <int Bytes, bool Gradient, class Index>
    static DMC_INLINE void part(const Work<Index>& work, std::int64_t first, std::int64_t last, std::int64_t block,
                                int row, int column, bool fresh, Sums& sums) {
        using V = Vector<float, Bytes>;
        typename V::type acc[V::lanes] = {}, gradient = {};
        const std::int64_t fetched = column == 0 ? work.lines.entries() : 0;
        for (std::int64_t e = first; e < last; ++e) {
            if (e + kAhead < fetched) __builtin_prefetch(work.others(e + kAhead, block));
            const float *other = work.others(e, block), more = work.pairs.weights[e] - work.pairs.unobserved;
            const auto own = V::load(other + column), scaled = more * own;
            if constexpr (Gradient) gradient += (more * work.predicted[e] - work.pairs.pulls[e]) * own;
            for (int r = 0; r < V::lanes; ++r) acc[r] += other[row + r] * scaled;
        }
        for (int r = 0; r < V::lanes; ++r) put<Bytes>(acc[r], fresh, sums.rows + (row + r) * kBlock + column);
        if constexpr (Gradient) put<Bytes>(gradient, fresh, sums.gradient() + column);
    }

    template <int Bytes>
    static DMC_INLINE void put(typename Vector<float, Bytes>::type sum, bool fresh, float* at) {
        using V = Vector<float, Bytes>;
        V::store(at, fresh ? sum : V::load(at) + sum);
    }
};

// Predictions of entries begin … end−1 after the block's coordinates went back by `step`.
struct Predict {
    template <int Bytes, class Index>
    static DMC_INLINE int run(const Work<Index>& work, const std::int64_t& begin, const std::int64_t& end,
                              const std::int64_t& block, const float* const& step) {
        using V = Vector<float, Bytes>;
        for (std::int64_t e = begin; e < end; ++e) {
            const float* other = work.others(e, block);
            typename V::type product = {};
            for (int c = 0; c < kBlock; c += V::lanes) product += V::load(step + c) * V::load(other + c);
            work.predicted[e] -= sum<float, Bytes>(product);
        }
        return 0;
    }
};

// From the sums over the entries of a few lines to their steps in the block, (count, kBlock), which are taken back from
// `own`. Returns by how much the value falls: half the products of gradients and steps.
struct Solve {
    template <int Bytes, class Index>
    static DMC_INLINE double run(const Work<Index>& work, const std::int64_t* const& lines, const std::int64_t& count,
                                 const std::int64_t& block, Sums* const& sums, float* const& steps) {
        using V = Vector<float, Bytes>;
        constexpr int lanes = V::lanes;
        const std::int64_t first = work.first + block;
        complete<Bytes, 8 * lanes / int(kBlock)>(work, lines, count, block, sums);

        alignas(64) float numbers[kBlock * (kBlock + 3) / 2 * lanes], room[kBlock * lanes], ridge[lanes];
        const Cholesky<float, Bytes> systems{kBlock, kBlock + 1, numbers, room};
        for (std::int64_t i = 0; i < lanes; ++i) {
            const std::int64_t line = std::min(i, count - 1);  // lanes that are left over have the last line once more
            float* a = numbers + i;
            for (int r = 0; r < kBlock; ++r, a += lanes) {
                for (int c = r; c < kBlock; ++c, a += lanes) *a = sums[line].rows[r * kBlock + c];
                *a = sums[line].gradient()[r];
            }
            ridge[i] = work.pairs.ridge[lines[line]];
        }
        const float* gram = work.gram + first * (work.pairs.width + kBlock);
        float* a = numbers;
        for (int r = 0; r < kBlock; ++r, a += lanes) {
            V::store(a, V::load(a) + V::load(ridge));
            for (int c = r; c < kBlock; ++c, a += lanes) V::store(a, V::load(a) + gram[r * kBlock + c]);
        }
        systems.factor();
        typename V::type products = {};
        for (int r = 0; r < kBlock; ++r) {
            const auto reached = V::load(systems.at(r, kBlock));
            products += reached * reached * V::load(systems.at(r, r));
        }
        systems.solve();
        double fall = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            float *own = work.own + lines[i] * work.pairs.width + first, *step = steps + i * kBlock;
            for (int r = 0; r < kBlock; ++r) step[r] = systems.at(r, kBlock)[i];
            for (int c = 0; c < kBlock; c += V::lanes) V::store(own + c, V::load(own + c) - V::load(step + c));
            fall += double(products[i]);
        }
        return 0.5 * fall;
    }

    // What the zeros, by products of the lines with the Gram matrix, and the ridge add to the gradients.
    template <int Bytes, int Rows, class Index>
    static DMC_INLINE void complete(const Work<Index>& work, const std::int64_t* lines, std::int64_t count,
                                    std::int64_t block, Sums* sums) {
        using V = Vector<float, Bytes>;
        constexpr int units = kBlock / V::lanes;
        const std::int64_t width = work.pairs.width, first = work.first + block;
        for (; count >= Rows; count -= Rows, lines += Rows, sums += Rows) {
            const float* own[Rows];
            for (int r = 0; r < Rows; ++r) own[r] = work.own + lines[r] * width;
            typename V::type acc[Rows][units] = {};
            for (std::int64_t j = 0; j < width; ++j)
                for (int u = 0; u < units; ++u) {
                    const auto gram = V::load(work.gram + first * width + j * kBlock + u * V::lanes);
                    for (int r = 0; r < Rows; ++r) acc[r][u] += own[r][j] * gram;
                }
            for (int r = 0; r < Rows; ++r)
                for (int u = 0; u < units; ++u) {
                    float* at = sums[r].gradient() + u * V::lanes;
                    const auto mine = V::load(own[r] + first + u * V::lanes);
                    V::store(at, V::load(at) + acc[r][u] + work.pairs.ridge[lines[r]] * mine);
                }
        }
        if constexpr (Rows > 1) complete<Bytes, 1>(work, lines, count, block, sums);
    }
};

}  // namespace dmc::pairs
