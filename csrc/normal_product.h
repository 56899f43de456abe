// The product of a Gauss–Newton matrix with a direction, in two passes over the entries: the first takes the products
// at the entries and, while the others' lines are at hand, the sums of one side; the second the sums of the other.
//
// Of the widened model [direction basis]·[others direction]ᵀ a pass reads one line for each entry, in whole vectors.
// Sums fill the first half of such a line. Results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <vector>

#include "masked_product.h"
#include "parallel.h"
#include "vectors.h"

namespace dmc {

constexpr int kWidest = 16;                 // vectors of a widened line with a kernel of its own; even from 8 on
constexpr std::int64_t kNear = 1 << 20;     // bytes of the others' lines from which they are fetched ahead,
constexpr std::int64_t kEntriesAhead = 12;  // so many entries
constexpr std::int64_t kProductsOfThread = 1 << 20;  // multiplications for which a further thread is woken

// Of one pass: the products and the sums that they weigh, or (Given) the sums alone, weighed by products in an order.
template <class Real, class Index>
struct Pass {
    Lines<Index> lines;
    std::int64_t vectors;       // of a widened line; sums have half as many, rounded up
    const Real *own, *other;    // widened lines of either side; Given: other has lines of the sums' width
    const Real* weights;        // of the products, or null
    const std::int64_t* order;  // Given: the place of each entry's product
    Real *products, *sums;
    Real* partial = nullptr;  // sums of the segments of long lines
    bool far = false;
};

inline std::int64_t bytes_of_vector() { return isa() == Isa::avx512 ? 64 : isa() == Isa::avx2 ? 32 : 16; }

// Vectors of a widened line that holds so many numbers.
template <class Real>
std::int64_t vectors_for(std::int64_t numbers) {
    const std::int64_t lanes = bytes_of_vector() / std::int64_t(sizeof(Real));
    const std::int64_t vectors = std::max<std::int64_t>(1, (numbers + lanes - 1) / lanes);
    return vectors > 8 ? (vectors + 1) / 2 * 2 : vectors;
}

// Numbers in so many vectors.
template <class Real>
std::int64_t numbers_in(std::int64_t vectors) {
    return vectors * (bytes_of_vector() / std::int64_t(sizeof(Real)));
}

// Vectors of one line: in registers, or where they are too many in memory.
template <bool Given, int Vectors>
struct OfVectors {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE int run(const Pass<Real, Index>& pass, const Piece& piece) {
        using V = Vector<Real, Bytes>;
        constexpr int kept = Vectors > 0 ? Vectors : 1, summed = (kept + 1) / 2;
        const std::int64_t vectors = Vectors > 0 ? Vectors : pass.vectors, halves = (vectors + 1) / 2;
        const std::int64_t stride = (Given ? halves : vectors) * V::lanes;
        for (std::int64_t i = piece.begin; i < piece.end; ++i) {
            const std::int64_t first = std::max(pass.lines.pointers[i], piece.first),
                               last = std::min(pass.lines.pointers[i + 1], piece.last);
            Real* to = (piece.segment < 0 ? pass.sums + i * halves * V::lanes
                                          : pass.partial + piece.segment * halves * V::lanes);
            const Real* line = Given ? nullptr : pass.own + i * stride;
            typename V::type own[kept] = {}, sums[summed] = {}, later[summed] = {};
            if constexpr (Vectors > 0 && !Given)
                for (int v = 0; v < Vectors; ++v) own[v] = V::load(line + v * V::lanes);
            if constexpr (Vectors <= 0) std::fill_n(to, halves * V::lanes, Real(0));
            std::int64_t e = first;
            if constexpr (Given && Vectors > 0 && Vectors <= 4)  // two chains of sums: one would wait for itself
                for (; e + 1 < last && !pass.far; e += 2) {
                    const Real* pair[2] = {pass.other + pass.lines.indices[e] * stride,
                                           pass.other + pass.lines.indices[e + 1] * stride};
                    const Real products[2] = {pass.products[pass.order[e]], pass.products[pass.order[e + 1]]};
                    for (int s = 0; s < summed; ++s) {
                        sums[s] += products[0] * V::load(pair[0] + s * V::lanes);
                        later[s] += products[1] * V::load(pair[1] + s * V::lanes);
                    }
                }
            for (; e < last; ++e) {
                const Real* other = pass.other + pass.lines.indices[e] * stride;
                if (pass.far && e + kEntriesAhead < piece.last) {
                    const Real* ahead = pass.other + pass.lines.indices[e + kEntriesAhead] * stride;
                    for (std::int64_t v = 0; v < stride * std::int64_t(sizeof(Real)); v += 64)
                        __builtin_prefetch(reinterpret_cast<const char*>(ahead) + v, 0, 2);
                }
                Real product;
                if constexpr (Given) {
                    product = pass.products[pass.order[e]];
                } else {
                    typename V::type even = {}, odd = {};
                    for (std::int64_t v = 0; v < vectors; ++v) {
                        const auto factor = Vectors > 0 ? own[Vectors > 0 ? v : 0] : V::load(line + v * V::lanes);
                        (v % 2 ? odd : even) += factor * V::load(other + v * V::lanes);
                    }
                    product = sum<Real, Bytes>(even + odd);
                    if (pass.weights) product *= pass.weights[e];
                    pass.products[e] = product;
                }
                if constexpr (Vectors > 0) {
                    for (int s = 0; s < summed; ++s) sums[s] += product * V::load(other + s * V::lanes);
                } else {
                    for (std::int64_t s = 0; s < halves; ++s)
                        V::store(to + s * V::lanes,
                                 V::load(to + s * V::lanes) + product * V::load(other + s * V::lanes));
                }
            }
            if constexpr (Vectors > 0)
                for (int s = 0; s < summed; ++s) V::store(to + s * V::lanes, sums[s] + later[s]);
        }
        return 0;
    }
};

// Indices of eight bytes, which only sides of 2³¹ lines need, have one kernel for all widths.
template <bool Given, int Vectors = 1, class Real, class Index>
void run_pass(const Pass<Real, Index>& pass, const Piece& piece) {
    if constexpr (sizeof(Index) > 4 || Vectors > kWidest) {
        dispatch<OfVectors<Given, 0>>(pass, piece);
    } else {
        if (pass.vectors == Vectors)
            dispatch<OfVectors<Given, Vectors>>(pass, piece);
        else
            run_pass<Given, Vectors + (Vectors < 8 ? 1 : 2)>(pass, piece);
    }
}

template <bool Given, class Real, class Index>
void run_pass(Pass<Real, Index> pass, int n_threads) {
    const std::vector<Piece>& pieces = *pass.lines.pieces;
    const std::int64_t width = numbers_in<Real>((pass.vectors + 1) / 2),
                       stride = Given ? width : numbers_in<Real>(pass.vectors);
    std::int64_t segments = 0;
    for (const Piece& piece : pieces) segments = std::max(segments, piece.segment + 1);
    std::vector<Real> partial(segments * width);
    pass.partial = partial.data();
    pass.far = pass.lines.other_lines * stride * std::int64_t(sizeof(Real)) > kNear;
    parallel_for(std::int64_t(pieces.size()), threads_for(pass.lines.entries() * stride, kProductsOfThread, n_threads),
                 [&](std::int64_t p) { run_pass<Given>(pass, pieces[p]); });
    for (const Piece& piece : pieces)  // in the order of the segments
        if (piece.segment >= 0)
            for (std::int64_t c = 0; c < width; ++c) {
                Real& sum = pass.sums[piece.begin * width + c];
                sum = (piece.first == pass.lines.pointers[piece.begin] ? 0 : sum) + partial[piece.segment * width + c];
            }
}

}  // namespace dmc
