// The best columns. For many rows the scores are first computed in whole numbers, which is quicker: tile by tile they
// are compared with what the rows have found so far, less what rounding may hide, and forgotten. Only those that may be
// above it are computed as they are.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "dot.h"
#include "parallel.h"
#include "serving.h"
#include "whole_numbers.h"

namespace dmc {
namespace {

constexpr std::int64_t kScreened = 12;                  // rows for which rounding all columns pays
constexpr std::int64_t kTileRows = 12;                  // of the largest tile; a multiple of those of the others
constexpr std::int64_t kBlock = 8 * kTileRows;          // rows that pass by a panel of columns while it is near
constexpr std::int64_t kFewRows = 8 * kBlock;           // fewer go tile by tile, so that all threads have some
constexpr std::int64_t kSlab = 128 * kBlock;            // rows prepared at a time
constexpr std::int64_t kWidestPanel = 32;               // columns
constexpr std::int64_t kPackingJob = 8 * kWidestPanel;  // columns
// Bytes of columns prepared at a time: for few rows so much that threads seldom wait; for many what stays in the cache,
// the columns as they are included.
constexpr std::int64_t kPreparedForFew = 1 << 24, kPreparedForMany = 1 << 18;

// A row and a column are rounded so that no part of their product is beyond 2²⁹: differences of two fit into 32 bits.
constexpr double kNorm = 23170;                       // √2²⁹; less than what 16 bits hold
constexpr std::int32_t kNever = 1 << 30;              // no score is above
constexpr std::int32_t kAlways = -(1 << 30);          // every score is
constexpr double kSmallest = 1e-15, kLargest = 1e15;  // norms between which no product over- or underflows
constexpr double kSlack = 1.01;                       // for the rounding of the bounds themselves

// Rows of a tile whose scores, two vectors each, stay in registers beside what is multiplied.
template <int Bytes>
constexpr int kTile = Bytes == 64 ? kTileRows : kTileRows / 2;

template <int Bytes>
using Words = Vector<std::int32_t, Bytes>;

struct alignas(64) CacheLine {
    char bytes[64];
};

class Packed {
  public:
    explicit Packed(std::int64_t words)
        : lines_(new CacheLine[(words * std::int64_t(sizeof(std::int32_t)) + 63) / 64]),
          data(reinterpret_cast<std::int32_t*>(lines_.get())) {}

  private:
    std::unique_ptr<CacheLine[]> lines_;

  public:
    std::int32_t* const data;
};

// What a row has found: in the order of the columns until there are `wanted`, then a heap with the worst at its root.
template <class Real, class Index>
struct Best {
    Real* scores;
    std::int64_t* columns;
    std::int64_t found, wanted;
    const Index *excluded, *excluded_end;  // those not yet passed

    bool full() const { return found == wanted; }

    // A later column enters only with a score above this one, or, as long as there is room, with any.
    Real bar() const { return full() ? scores[0] : -std::numeric_limits<Real>::infinity(); }

    bool is_excluded(std::int64_t column) {
        while (excluded < excluded_end && *excluded < column) ++excluded;
        return excluded < excluded_end && *excluded == column;
    }

    bool worse(std::int64_t i, std::int64_t j) const {
        return scores[i] < scores[j] || (scores[i] == scores[j] && columns[i] > columns[j]);
    }

    void exchange(std::int64_t i, std::int64_t j) {
        std::swap(scores[i], scores[j]);
        std::swap(columns[i], columns[j]);
    }

    void sink(std::int64_t i, std::int64_t size) {
        for (std::int64_t child; (child = 2 * i + 1) < size; i = child) {
            if (child + 1 < size && worse(child + 1, child)) ++child;
            if (!worse(child, i)) return;
            exchange(i, child);
        }
    }

    void make_heap() {
        for (std::int64_t i = found / 2; i-- > 0;) sink(i, found);
    }

    // To be called with ascending columns.
    void offer(Real score, std::int64_t column) {
        if (full() ? !(score > scores[0]) : score != score) return;  // NaN is never above
        if (is_excluded(column)) return;
        if (full()) {
            scores[0] = score;
            columns[0] = column;
            sink(0, found);
        } else {
            scores[found] = score;
            columns[found] = column;
            if (++found == wanted) make_heap();
        }
    }

    void finish(std::int64_t n) {
        if (!full()) make_heap();
        for (std::int64_t size = found; size-- > 1;) {
            exchange(0, size);
            sink(0, size);
        }
        std::fill(columns + found, columns + n, std::int64_t(-1));
        std::fill(scores + found, scores + n, std::numeric_limits<Real>::quiet_NaN());
    }
};

// A line is told in whole numbers, `scale` times it. The columns have one scale, and of norm and off the largest.
struct Rounding {
    double scale;  // 0: of zeros only; NaN: it cannot be told
    double norm;   // of the line, times the scale
    double off;    // norm of what rounding takes away
};

Rounding rounding(double norm, std::int64_t width) {
    if (norm == 0) return {};
    const double off = std::sqrt(double(width)) / 2, room = kNorm - off;
    if (!(norm >= kSmallest && norm <= kLargest && room >= 1)) return {std::numeric_limits<double>::quiet_NaN(), 0, 0};
    return {room / norm, room, off};
}

template <class Real, class Index>
struct Search {
    Factor<Real> left, right;
    Among among;
    std::int64_t rows;             // of the slab
    std::int64_t block;            // rows that a thread takes at a time
    Best<Real, Index>* best;       // (rows)
    bool is_screened;              // or else every score is computed as it is
    Rounding columns;              // and all that follows only for the screen
    Rounding* roundings;           // (rows)
    std::int32_t* packed_rows;     // tile by tile: (pairs, kTile)
    std::int32_t* packed_columns;  // panel by panel: (pairs, two vectors)
    std::int64_t begin, end;       // the columns prepared, as positions in `among`

    // A rounded score up to this one belongs to none that is above the row's bar.
    std::int32_t threshold(std::int64_t row) const {
        if (!is_screened || !best[row].full()) return kAlways;
        const Rounding& own = roundings[row];
        const double rounded = own.off * (columns.norm + columns.off) + own.norm * columns.off,
                     computed = double(left.width) * std::numeric_limits<Real>::epsilon() * own.norm * columns.norm,
                     bar = own.scale * columns.scale * double(best[row].scores[0]) - kSlack * (rounded + computed);
        return bar == bar ? std::int32_t(std::floor(std::clamp(bar, double(kAlways), double(kNever)))) : kAlways;
    }

    template <int Bytes>
    DMC_INLINE void offer(std::int64_t row, std::int64_t place) const {
        const std::int64_t column = among[place];
        best[row].offer(dot<Real, Bytes>(left.data + row * left.width, right.data + column * left.width, left.width),
                        column);
    }
};

template <int Bytes, class Real>
DMC_INLINE double norm_of(const Real* line, std::int64_t width) {
    const double square = double(dot<Real, Bytes>(line, line, width));
    if (square == 0 && std::any_of(line, line + width, [](Real number) { return number != 0; }))
        return std::numeric_limits<double>::min();  // the squares underflow, the products with others may not
    return square == square ? std::sqrt(square) : std::numeric_limits<double>::infinity();
}

struct LargestNorm {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE double run(const Search<Real, Index>& work, const std::int64_t& job) {
        const std::int64_t width = work.right.width, end = std::min((job + 1) * kPackingJob, work.among.count);
        double largest = 0;
        for (std::int64_t c = job * kPackingJob; c < end; ++c)
            largest = std::max(largest, norm_of<Bytes>(work.right.data + work.among[c] * width, width));
        return largest;
    }
};

std::int64_t pairs_of(std::int64_t width) { return (width + 1) / 2; }

template <int Places>
DMC_INLINE void pack_nothing(std::int64_t width, std::int32_t* out) {
    for (std::int64_t p = 0; p < pairs_of(width); ++p) out[p * Places] = 0;
}

// A line, rounded, two numbers a word, into one of the columns of (pairs, Places); zeros if it cannot be told.
template <int Places, class Real>
DMC_INLINE void pack(const Real* line, std::int64_t width, double scale, std::int32_t* out) {
    constexpr std::int64_t chunk = 64;
    if (scale != scale) return pack_nothing<Places>(width, out);
    for (std::int64_t first = 0; first < width; first += chunk, line += chunk) {
        std::int32_t whole[chunk + 1];
        const std::int64_t count = std::min(chunk, width - first);
        for (std::int64_t k = 0; k < count; ++k) {
            const float number = float(line[k]) * float(scale);
            whole[k] = std::int32_t(number + std::copysign(0.5f, number));
        }
        whole[count] = 0;
        for (std::int64_t k = 0; k < count; k += 2, out += Places)
            *out = std::int32_t((std::uint32_t(whole[k]) & 0xffff) | std::uint32_t(whole[k + 1]) << 16);
    }
}

struct PackRows {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE void run(const Search<Real, Index>& work, const std::int64_t& block) {
        constexpr int tile = kTile<Bytes>;
        const std::int64_t width = work.left.width, begin = block * work.block,
                           end = std::min(begin + work.block, work.rows);
        for (std::int64_t i = begin; i < (end + tile - 1) / tile * tile; ++i) {
            std::int32_t* out = work.packed_rows + i / tile * tile * pairs_of(width) + i % tile;
            if (i >= end) {
                pack_nothing<tile>(width, out);
                continue;
            }
            const Real* line = work.left.data + i * width;
            work.roundings[i] = rounding(norm_of<Bytes>(line, width), width);
            pack<tile>(line, width, work.roundings[i].scale, out);
        }
    }
};

struct PackColumns {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE void run(const Search<Real, Index>& work, const std::int64_t& job) {
        constexpr int panel = 2 * Words<Bytes>::lanes;
        const std::int64_t width = work.right.width, begin = work.begin + job * kPackingJob,
                           end = std::min(begin + kPackingJob, work.end);
        for (std::int64_t c = begin; c < end; c += panel) {
            std::int32_t* out = work.packed_columns + (c - work.begin) * pairs_of(width);
            for (int place = 0; place < panel; ++place, ++out) {
                if (c + place < end) {
                    pack<panel>(work.right.data + work.among[c + place] * width, width, work.columns.scale, out);
                } else {
                    pack_nothing<panel>(width, out);
                }
            }
        }
    }
};

struct SearchBlock {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE void run(const Search<Real, Index>& work, const std::int64_t& block) {
        constexpr int tile = kTile<Bytes>, panel = 2 * Words<Bytes>::lanes;
        const std::int64_t pairs = pairs_of(work.left.width), begin = block * work.block,
                           end = std::min(begin + work.block, work.rows);
        std::int32_t thresholds[kBlock];
        std::fill_n(thresholds, kBlock, kNever);  // also of rows that are not there
        for (std::int64_t i = begin; i < end; ++i) thresholds[i - begin] = work.threshold(i);
        for (std::int64_t c = work.begin; c < work.end; c += panel) {
            const std::int64_t columns = std::min<std::int64_t>(work.end - c, panel);
            const std::uint32_t there = ~std::uint32_t(0) >> (32 - columns);
            for (std::int64_t i = begin; i < end; i += tile) {
                std::uint32_t above[tile];
                if (!work.is_screened)
                    std::fill_n(above, tile, ~std::uint32_t(0));
                else if (!multiply<Bytes>(work.packed_rows + i * pairs, work.packed_columns + (c - work.begin) * pairs,
                                          pairs, thresholds + (i - begin), above))
                    continue;
                for (int r = 0; r < std::min<std::int64_t>(end - i, tile); ++r) {
                    std::uint32_t left = above[r] & there;
                    if (!left) continue;
                    for (; left; left &= left - 1) work.template offer<Bytes>(i + r, c + __builtin_ctz(left));
                    thresholds[i + r - begin] = work.threshold(i + r);
                }
            }
        }
    }

    // The rounded scores of a tile of rows at one panel; whether one is above its threshold, and then which are.
    template <int Bytes>
    static DMC_INLINE bool multiply(const std::int32_t* left, const std::int32_t* panel, std::int64_t pairs,
                                    const std::int32_t* thresholds, std::uint32_t* above) {
        using V = Words<Bytes>;
        constexpr int tile = kTile<Bytes>;
        typename V::type low[tile] = {}, high[tile] = {};
        for (std::int64_t p = 0; p < pairs; ++p, left += tile, panel += 2 * V::lanes) {
            const typename V::type a = V::load(panel), b = V::load(panel + V::lanes);
            for (int r = 0; r < tile; ++r) {
                const typename V::type own = left[r] - typename V::type{};
                low[r] += product_of_pairs<Bytes>(own, a);
                high[r] += product_of_pairs<Bytes>(own, b);
            }
        }
        typename V::type any = {};
        for (int r = 0; r < tile; ++r) {
            const typename V::type threshold = thresholds[r] - typename V::type{};
            low[r] = threshold - low[r];
            high[r] = threshold - high[r];
            any |= low[r] | high[r];
        }
        if (!signs<Bytes>(any)) return false;
        for (int r = 0; r < tile; ++r) above[r] = signs<Bytes>(low[r]) | signs<Bytes>(high[r]) << V::lanes;
        return true;
    }
};

}  // namespace

template <class Real, class Index>
void top_n(Factor<Real> left, Factor<Real> right, Excluded<Index> excluded, Among among, std::int64_t n,
           std::int64_t* columns, Real* scores, int n_threads) {
    const std::int64_t width = left.width;
    Search<Real, Index> work{};
    work.left = left;
    work.right = right;
    work.among = among;
    if (left.lines >= kScreened) {
        std::vector<double> norms((among.count + kPackingJob - 1) / kPackingJob);
        parallel_for(norms.size(), threads_for(among.count * width, kWorkOfThread, n_threads),
                     [&](std::int64_t job) { norms[job] = dispatch<LargestNorm>(work, job); });
        work.columns = rounding(norms.empty() ? 0 : *std::max_element(norms.begin(), norms.end()), width);
        work.is_screened = work.columns.scale == work.columns.scale;
    }
    work.block = !work.is_screened ? 1 : left.lines < kFewRows ? kTileRows : kBlock;
    const std::int64_t slab = std::min(kSlab, (left.lines + work.block - 1) / work.block * work.block);
    const std::int64_t prepared = left.lines < kFewRows ? kPreparedForFew : kPreparedForMany,
                       fitting = prepared / std::max(4 * pairs_of(width), std::int64_t(1)),
                       panels = std::min(fitting, among.count) / kWidestPanel + 1, range = panels * kWidestPanel;
    const Packed packed_rows(work.is_screened ? slab * pairs_of(width) : 0),
        packed_columns(work.is_screened ? range * pairs_of(width) : 0);
    std::vector<Rounding> roundings(work.is_screened ? slab : 0);
    std::vector<Best<Real, Index>> best(slab);
    work.packed_rows = packed_rows.data;
    work.packed_columns = packed_columns.data;
    work.roundings = roundings.data();
    work.best = best.data();
    for (std::int64_t first = 0; first < left.lines; first += slab) {
        const std::int64_t rows = std::min(slab, left.lines - first), blocks = (rows + work.block - 1) / work.block;
        work.left = {left.data + first * width, rows, width};
        work.rows = rows;
        for (std::int64_t i = 0; i < rows; ++i) {
            const std::int64_t line = first + i;
            const Index *begin = excluded.indices + excluded.first[line], *end = excluded.indices + excluded.last[line];
            best[i] = {scores + line * n, columns + line * n, 0, std::min(n, among.count), begin, end};
        }
        if (work.is_screened)
            parallel_for(blocks, threads_for(rows * width, kWorkOfThread, n_threads),
                         [&](std::int64_t b) { dispatch<PackRows>(work, b); });
        for (work.begin = 0; work.begin < among.count; work.begin = work.end) {
            work.end = std::min(work.begin + range, among.count);
            const std::int64_t size = (work.end - work.begin) * width;
            if (work.is_screened)
                parallel_for((work.end - work.begin + kPackingJob - 1) / kPackingJob,
                             threads_for(size, kWorkOfThread, n_threads),
                             [&](std::int64_t job) { dispatch<PackColumns>(work, job); });
            parallel_for(blocks, threads_for(rows * size, kWorkOfThread, n_threads),
                         [&](std::int64_t b) { dispatch<SearchBlock>(work, b); });
        }
        parallel_for(blocks, threads_for(rows * n, kWorkOfThread, n_threads), [&](std::int64_t b) {
            for (std::int64_t i = b * work.block; i < std::min((b + 1) * work.block, rows); ++i) best[i].finish(n);
        });
    }
}

#define DMC_INSTANTIATE(Real, Index)                                                                                  \
    template void top_n<Real, Index>(Factor<Real>, Factor<Real>, Excluded<Index>, Among, std::int64_t, std::int64_t*, \
                                     Real*, int);
DMC_INSTANTIATE(float, std::int32_t)
DMC_INSTANTIATE(float, std::int64_t)
DMC_INSTANTIATE(double, std::int32_t)
DMC_INSTANTIATE(double, std::int64_t)

}  // namespace dmc
