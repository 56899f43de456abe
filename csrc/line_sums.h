// Sums over the entries of every line of vectors of the other side: what the posteriors, and the features of a pattern,
// are made of. Vectors are summed a few registers at a time, in float32 over a tile of entries and then in float64: the
// sums of a long line would lose what tells its directions apart. Results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <vector>

#include "masked_product.h"
#include "parallel.h"
#include "posterior.h"
#include "vectors.h"

namespace dmc {

constexpr std::int64_t kTile = 512;       // entries summed in float32
constexpr int kUnits = 8;                 // vectors summed in registers
constexpr std::int64_t kAhead = 12;       // entries between the fetch of moments and their use
constexpr std::int64_t kPiece = 1 << 12;  // entries that a thread takes at a time
constexpr std::int64_t kLong = 1 << 15;   // entries of a line that several threads share
constexpr std::int64_t kPieces = 32;      // of a large problem, at least: whatever the number of threads
constexpr std::int64_t kBatch = 512;      // lines summed together, block by block, at most
constexpr std::int64_t kSums = 1 << 16;   // numbers in their sums, and
constexpr std::int64_t kBlock = 1 << 18;  // in the moments of a block: both stay in a cache of two MiB
constexpr std::int64_t kTimes = 2;        // that the entries of a batch come back to each of the others, at least
constexpr std::int64_t kWork = 1 << 20;   // additions for which a further thread is woken

// What is summed over the entries of lines: the others' vectors, the numbers from `packed` on times the entry's value,
// those before times its weight.
template <class Index>
struct Gather {
    Lines<Index> lines;
    const float* values;   // (entries), where there are such numbers
    const float* weights;  // (entries); null: all one
    const float* others;   // (other_lines, size)
    std::int64_t packed, size;
};

// Entries first … last−1, added one after the other; moments are fetched ahead for those before `fetched`.
struct Range {
    std::int64_t first, last, fetched;
};

inline std::int64_t lines_of_batch(std::int64_t size) { return std::clamp<std::int64_t>(kSums / size, 1, kBatch); }

// sums += the vector, in float64.
template <int Bytes>
DMC_INLINE void add_to(typename Vector<float, Bytes>::type vector, double* sums) {
    using D = Vector<double, Bytes>;
    typename Vector<float, Bytes / 2>::type half;
    for (int h = 0; h < 2; ++h) {
        std::memcpy(&half, reinterpret_cast<const char*>(&vector) + h * (Bytes / 2), Bytes / 2);
        double* at = sums + h * D::lanes;
        D::store(at, D::load(at) + __builtin_convertvector(half, typename D::type));
    }
}

// sums[c …] += Σ_e scale_e others[j_e][c …] from c on: Plain vectors whose scale is one, or if Weighted the weight of
// the entry, then Scaled ones whose scale is its value.
template <int Bytes, bool Weighted, int Plain, int Scaled, class Index>
DMC_INLINE void add_units(const Gather<Index>& from, Range entries, std::int64_t c, double* sums) {
    using V = Vector<float, Bytes>;
    constexpr int units = Plain + Scaled;
    const std::int64_t size = from.size, last = entries.last;
    const float* others = from.others + c;
    for (std::int64_t begin = entries.first; begin < last; begin += kTile) {
        typename V::type acc[units] = {};
        for (std::int64_t e = begin; e < std::min(begin + kTile, last); ++e) {
            const float* other = others + from.lines.indices[e] * size;
            if (e + kAhead < entries.fetched) {
                const char* ahead = reinterpret_cast<const char*>(others + from.lines.indices[e + kAhead] * size);
                for (int b = 0; b < units * Bytes; b += 64) __builtin_prefetch(ahead + b);
            }
            for (int u = 0; u < Plain; ++u) {
                if constexpr (Weighted)
                    acc[u] += from.weights[e] * V::load(other + u * V::lanes);
                else
                    acc[u] += V::load(other + u * V::lanes);
            }
            for (int u = Plain; u < units; ++u) acc[u] += from.values[e] * V::load(other + u * V::lanes);
        }
        for (int u = 0; u < units; ++u) add_to<Bytes>(acc[u], sums + c + u * V::lanes);
    }
}

// The last vectors: those that are not scaled, at most Plain of them, and all that are. One pass over the entries takes
// them together, for to gather them costs more than to add them.
template <int Bytes, bool Weighted, int Plain, class Index>
DMC_INLINE void add_last(const Gather<Index>& from, Range entries, std::int64_t c, double* sums) {
    constexpr int lanes = Vector<float, Bytes>::lanes, grain = int(kGrain) / lanes;
    if constexpr (Plain > 0) {
        if (c + (Plain - 1) * lanes >= from.packed) return add_last<Bytes, Weighted, Plain - 1>(from, entries, c, sums);
        if (from.packed == from.size) return add_units<Bytes, Weighted, Plain, 0>(from, entries, c, sums);
    }
    add_units<Bytes, Weighted, Plain, grain>(from, entries, c, sums);
    for (c += (Plain + grain) * lanes; c < from.size; c += kGrain)
        add_units<Bytes, Weighted, 0, grain>(from, entries, c, sums);
}

// sums += what is gathered over some entries of a line.
template <int Bytes, bool Weighted, class Index>
DMC_INLINE void add_all(const Gather<Index>& from, Range entries, double* sums) {
    constexpr std::int64_t step = kUnits * Vector<float, Bytes>::lanes;
    std::int64_t c = 0;
    for (; c + step < from.packed; c += step) add_units<Bytes, Weighted, kUnits, 0>(from, entries, c, sums);
    add_last<Bytes, Weighted, kUnits>(from, entries, c, sums);
}

template <int Bytes, class Index>
DMC_INLINE void add(const Gather<Index>& from, Range entries, double* sums) {
    if (from.weights)
        add_all<Bytes, true>(from, entries, sums);
    else
        add_all<Bytes, false>(from, entries, sums);
}

// The sums of what is gathered over entries first … last−1 of a line.
struct Sums {
    template <int Bytes, class Index>
    static DMC_INLINE int run(const Gather<Index>& from, const std::int64_t& first, const std::int64_t& last,
                              double* const& sums) {
        std::fill_n(sums, from.size, 0.0);
        add<Bytes>(from, {first, last, from.lines.entries()}, sums);
        return 0;
    }
};

// The same for lines begin … end−1, a row of sums each. Where their entries come back to the same others often enough,
// the lines take turns: all add those of a block of others, which then lie in the cache, before any goes on to the
// next.
struct BatchSums {
    template <int Bytes, class Index>
    static DMC_INLINE int run(const Gather<Index>& from, const std::int64_t& begin, const std::int64_t& end,
                              double* const& sums) {
        const std::int64_t* pointers = from.lines.pointers;
        const std::int64_t size = from.size, others = from.lines.other_lines;
        const bool blocks = pointers[end] - pointers[begin] >= kTimes * others;
        const std::int64_t block = blocks ? std::max<std::int64_t>(kBlock / size, 1) : others;
        std::int64_t next[kBatch];
        std::copy(pointers + begin, pointers + end, next);
        std::fill_n(sums, (end - begin) * size, 0.0);
        for (std::int64_t limit = block; limit < others + block; limit += block)
            for (std::int64_t i = begin; i < end; ++i) {
                std::int64_t& first = next[i - begin];
                const std::int64_t last =
                    limit < others ? upto(from.lines.indices, first, pointers[i + 1], limit) : pointers[i + 1];
                add<Bytes>(from, {first, last, blocks ? last : from.lines.entries()}, sums + (i - begin) * size);
                first = last;
            }
        return 0;
    }

    // The first of ascending entries first … last−1 that is not below the limit; near the first of them.
    template <class Index>
    static DMC_INLINE std::int64_t upto(const Index* indices, std::int64_t first, std::int64_t last,
                                        std::int64_t limit) {
        std::int64_t step = 16;
        while (first + step < last && indices[first + step] < limit) first += step, step *= 2;
        return std::lower_bound(indices + first, indices + std::min(first + step, last), limit) - indices;
    }
};

// The sums of all lines, in pieces of about equal work that are the same for any number of threads; large enough for
// `BatchSums`, where there are enough entries for that. A line that would be too much for one thread is cut into
// segments, which are summed first.
template <class Index>
class LineSums {
  public:
    LineSums(const Gather<Index>& from, int n_threads) : from_(from) {
        cut();
        std::vector<std::int64_t> segments;
        for (std::size_t p = 0; p < pieces.size(); ++p)
            if (pieces[p].segment >= 0) segments.push_back(p);
        partial_.resize(segments.size() * from.size + kGrain);
        parallel_for(std::int64_t(segments.size()), n_threads, [&](std::int64_t s) {
            const Piece& piece = pieces[segments[s]];
            std::vector<double> own(from.size + kGrain);
            double* sums = own.data();
            dispatch<Sums>(from_, piece.first, piece.last, sums);
            std::copy_n(sums, from.size, partial_.data() + piece.segment * from.size);
        });
    }

    // Numbers that the sums of a piece take.
    std::int64_t room() const { return lines_of_batch(from_.size) * from_.size + kGrain; }

    // Whether the piece is a segment of a line, but not its first: its sums are among those of the first.
    bool goes_on(const Piece& piece) const {
        return piece.segment >= 0 && piece.first != from_.lines.pointers[piece.begin];
    }

    void of(std::size_t p, double* sums) const {
        const Piece& piece = pieces[p];
        if (piece.segment < 0) {
            dispatch<BatchSums>(from_, piece.begin, piece.end, sums);
            return;
        }
        const std::int64_t size = from_.size;
        std::copy_n(partial_.data() + piece.segment * size, size, sums);
        for (std::size_t q = p + 1; q < pieces.size() && pieces[q].begin == piece.begin; ++q)  // they follow each other
            for (std::int64_t c = 0; c < size; ++c) sums[c] += partial_[pieces[q].segment * size + c];
    }

    std::vector<Piece> pieces;

  private:
    void cut() {
        const std::int64_t count = from_.lines.count, *pointers = from_.lines.pointers;
        const std::int64_t share = (pointers[count] - pointers[0]) / kPieces, enough = kTimes * from_.lines.other_lines;
        const std::int64_t most = share < enough ? kPiece : std::max(kPiece, std::min(4 * enough, share));
        std::int64_t segments = 0;
        for (std::int64_t i = 0, end; i < count; i = end) {
            const std::int64_t first = pointers[i], limit = std::min(count, i + lines_of_batch(from_.size));
            for (end = i + 1; end < limit && pointers[end + 1] - first <= most;) ++end;
            if (pointers[i + 1] - first <= std::max(kLong, most)) {
                pieces.push_back({i, end, first, pointers[end], -1});
                continue;
            }
            end = i + 1;
            for (std::int64_t e = first; e < pointers[end]; e += kLong)
                pieces.push_back({i, end, e, std::min(e + kLong, pointers[end]), segments++});
        }
    }

    Gather<Index> from_;
    std::vector<double> partial_;
};

}  // namespace dmc
