// Predictions at pairs: gathers fetched ahead. The best columns: a matrix product in tiles, each of which is compared
// with what its rows have found so far and then forgotten.

#include "serving.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "parallel.h"
#include "vectors.h"

namespace dmc {
namespace {

constexpr std::int64_t kWorkOfThread = 1 << 20;  // products of numbers for which a further thread is woken

constexpr std::int64_t kPairs = 4096;     // what one thread does at a time
constexpr std::int64_t kAhead = 16;       // pairs between the fetch of their lines and their use
constexpr std::int64_t kCache = 1 << 20;  // bytes, about those of the second level

template <int Bytes>
struct Bits {
    typedef std::uint64_t type __attribute__((vector_size(Bytes)));
};

// Ones in the last so many bytes of a vector.
template <int Bytes>
DMC_INLINE typename Bits<Bytes>::type last_lanes(std::int64_t bytes) {
    static constexpr auto edge = [] {
        std::array<unsigned char, 2 * Bytes> zeros_then_ones{};
        for (int i = Bytes; i < 2 * Bytes; ++i) zeros_then_ones[i] = 0xff;
        return zeros_then_ones;
    }();
    typename Bits<Bytes>::type mask;
    std::memcpy(&mask, edge.data() + bytes, Bytes);
    return mask;
}

// Any width: the last vector begins earlier than its turn, and the lanes that were there already are left out.
template <class Real, int Bytes>
DMC_INLINE Real dot(const Real* a, const Real* b, std::int64_t width) {
    using V = Vector<Real, Bytes>;
    if (width < V::lanes) {
        if constexpr (Bytes > 16) {
            return dot<Real, Bytes / 2>(a, b, width);
        } else {
            Real total = 0;
            for (std::int64_t k = 0; k < width; ++k) total += a[k] * b[k];
            return total;
        }
    }
    typename V::type even = {}, odd = {};
    std::int64_t k = 0;
    for (; k + 2 * V::lanes <= width; k += 2 * V::lanes) {
        even += V::load(a + k) * V::load(b + k);
        odd += V::load(a + k + V::lanes) * V::load(b + k + V::lanes);
    }
    if (k + V::lanes <= width) {
        even += V::load(a + k) * V::load(b + k);
        k += V::lanes;
    }
    if (k < width) {
        const std::int64_t late = width - V::lanes;
        const auto product = V::load(a + late) * V::load(b + late);
        odd += (typename V::type)((typename Bits<Bytes>::type)product & last_lanes<Bytes>((width - k) * sizeof(Real)));
    }
    return sum<Real, Bytes>(even + odd);
}

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

constexpr std::int64_t kTileRows = 12;                  // of the largest tile; a multiple of those of the others
constexpr std::int64_t kBlock = 8 * kTileRows;          // rows that pass by a panel of columns while it is near
constexpr std::int64_t kFewRows = 8 * kBlock;           // fewer go tile by tile, so that all threads have some
constexpr std::int64_t kSlab = 128 * kBlock;            // rows prepared at a time
constexpr std::int64_t kWidestPanel = 32;               // columns
constexpr std::int64_t kPackingJob = 8 * kWidestPanel;  // columns
// Bytes of columns prepared at a time: for few rows what stays in the cache, for many so much that threads seldom wait.
constexpr std::int64_t kLeastPrepared = kCache / 2, kPreparedOfRow = 1 << 16, kMostPrepared = 1 << 24;

// Rows of a tile whose scores, two vectors each, stay in registers beside what is multiplied.
template <int Bytes>
constexpr int kTile = Bytes == 64 ? kTileRows : kTileRows / 2;

struct alignas(64) CacheLine {
    char bytes[64];
};

template <class Real>
class Packed {
  public:
    explicit Packed(std::int64_t size)
        : lines_(new CacheLine[(size * std::int64_t(sizeof(Real)) + 63) / 64]),
          data(reinterpret_cast<Real*>(lines_.get())) {}

  private:
    std::unique_ptr<CacheLine[]> lines_;

  public:
    Real* const data;
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

template <class Real, class Index>
struct Search {
    Factor<Real> left, right;
    Among among;
    std::int64_t rows;        // of the slab
    std::int64_t block;       // rows that a thread takes at a time
    Real* packed_rows;        // tile by tile: (width, kTile)
    Real* packed_columns;     // panel by panel: (width, two vectors)
    Best<Real, Index>* best;  // (rows)
    std::int64_t begin, end;  // the columns prepared, as positions in `among`
};

// Lines into the columns of (width, Places): rows of a tile, or columns of a panel. Missing ones become zero.
template <int Places, class Real, class Line>
DMC_INLINE void pack(const Line& line, std::int64_t count, std::int64_t width, Real* out) {
    for (int place = 0; place < Places; ++place) {
        if (place < count) {
            const Real* from = line(place);
            for (std::int64_t k = 0; k < width; ++k) out[k * Places + place] = from[k];
        } else {
            for (std::int64_t k = 0; k < width; ++k) out[k * Places + place] = 0;
        }
    }
}

struct PackRows {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE void run(const Search<Real, Index>& work, const std::int64_t& block) {
        const std::int64_t width = work.left.width, end = std::min((block + 1) * work.block, work.rows);
        for (std::int64_t i = block * work.block; i < end; i += kTile<Bytes>)
            pack<kTile<Bytes>>([&](int place) { return work.left.data + (i + place) * width; }, end - i, width,
                               work.packed_rows + i * width);
    }
};

struct PackColumns {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE void run(const Search<Real, Index>& work, const std::int64_t& job) {
        constexpr int panel = 2 * Vector<Real, Bytes>::lanes;
        const std::int64_t width = work.right.width, begin = work.begin + job * kPackingJob,
                           end = std::min(begin + kPackingJob, work.end);
        for (std::int64_t c = begin; c < end; c += panel)
            pack<panel>([&](int place) { return work.right.data + work.among[c + place] * width; }, end - c, width,
                        work.packed_columns + (c - work.begin) * width);
    }
};

template <class Real, int Bytes>
DMC_INLINE bool any_sign(typename Bits<Bytes>::type v) {
    std::uint64_t words[Bytes / 8], all = 0;
    std::memcpy(words, &v, Bytes);
    for (std::uint64_t word : words) all |= word;
    return all & (sizeof(Real) == 4 ? 0x8000000080000000 : 0x8000000000000000);
}

struct SearchBlock {
    template <int Bytes, class Real, class Index>
    static DMC_INLINE void run(const Search<Real, Index>& work, const std::int64_t& block) {
        constexpr int tile = kTile<Bytes>, panel = 2 * Vector<Real, Bytes>::lanes;
        const std::int64_t width = work.left.width, begin = block * work.block,
                           end = std::min(begin + work.block, work.rows);
        Real bars[kBlock];
        bool open[kBlock / tile];
        std::fill_n(bars, kBlock, std::numeric_limits<Real>::infinity());  // also of rows that are not there
        for (std::int64_t i = begin; i < end; i += tile)
            open[(i - begin) / tile] = look(work.best + i, std::min<std::int64_t>(end - i, tile), bars + (i - begin));
        for (std::int64_t c = work.begin; c < work.end; c += panel)
            for (std::int64_t i = begin; i < end; i += tile) {
                const std::int64_t rows = std::min<std::int64_t>(end - i, tile);
                const Real *left = work.packed_rows + i * width,
                           *right = work.packed_columns + (c - work.begin) * width;
                Real* bar = bars + (i - begin);
                alignas(64) Real scores[tile][panel];
                typename Bits<Bytes>::type below[tile];
                const bool hit = rows == 1          ? multiply<1>(left, right, width, bar, scores, below)
                                 : rows <= tile / 3 ? multiply<tile / 3>(left, right, width, bar, scores, below)
                                                    : multiply<tile>(left, right, width, bar, scores, below);
                if (!hit && !open[(i - begin) / tile]) continue;
                const std::int64_t columns = std::min<std::int64_t>(work.end - c, panel);
                for (std::int64_t r = 0; r < rows; ++r) {
                    Best<Real, Index>& best = work.best[i + r];
                    if (best.full() && !any_sign<Real, Bytes>(below[r])) continue;
                    for (std::int64_t place = 0; place < columns; ++place)
                        if (scores[r][place] > bar[r] || !best.full())
                            best.offer(scores[r][place], work.among[c + place]);
                }
                open[(i - begin) / tile] = look(work.best + i, rows, bar);
            }
    }

    // The bars of some rows; whether one of them still has room.
    template <class Real, class Index>
    static DMC_INLINE bool look(const Best<Real, Index>* best, std::int64_t rows, Real* bars) {
        bool open = false;
        for (std::int64_t r = 0; r < rows; ++r) {
            bars[r] = best[r].bar();
            open |= !best[r].full();
        }
        return open;
    }

    // The scores of Rows rows at one panel. The sign bits of `below` say which are above their row's bar; true: some.
    template <int Rows, class Real, int Columns, class Bits>
    static DMC_INLINE bool multiply(const Real* left, const Real* panel, std::int64_t width, const Real* bars,
                                    Real (*scores)[Columns], Bits* below) {
        constexpr int bytes = sizeof(Bits);
        using V = Vector<Real, bytes>;
        typename V::type low[Rows] = {}, high[Rows] = {};
        for (std::int64_t k = 0; k < width; ++k, left += kTile<bytes>, panel += Columns) {
            const typename V::type a = V::load(panel), b = V::load(panel + V::lanes);
            for (int r = 0; r < Rows; ++r) {
                low[r] += left[r] * a;
                high[r] += left[r] * b;
            }
        }
        Bits all = {};
        for (int r = 0; r < Rows; ++r) {
            // By subtraction: GCC 12 does comparisons of 512 bits lane by lane. NaN may raise a false alarm.
            const typename V::type bar = bars[r] - typename V::type{};
            below[r] = (Bits)(bar - low[r]) | (Bits)(bar - high[r]);
            all |= below[r];
            V::store(scores[r], low[r]);
            V::store(scores[r] + V::lanes, high[r]);
        }
        return any_sign<Real, bytes>(all);
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

template <class Real, class Index>
void top_n(Factor<Real> left, Factor<Real> right, Excluded<Index> excluded, Among among, std::int64_t n,
           std::int64_t* columns, Real* scores, int n_threads) {
    const std::int64_t width = left.width, block = left.lines < kFewRows ? kTileRows : kBlock,
                       slab = std::min(kSlab, (left.lines + block - 1) / block * block);
    const std::int64_t prepared = std::clamp(slab * kPreparedOfRow, kLeastPrepared, kMostPrepared),
                       fitting = prepared / std::max(width * std::int64_t(sizeof(Real)), std::int64_t(1)),
                       range = (std::clamp(fitting, std::int64_t(1), std::max(among.count, std::int64_t(1))) +
                                kWidestPanel - 1) /
                               kWidestPanel * kWidestPanel;
    const Packed<Real> packed_rows(slab * width), packed_columns(range * width);
    std::vector<Best<Real, Index>> best(slab);
    for (std::int64_t first = 0; first < left.lines; first += slab) {
        const std::int64_t rows = std::min(slab, left.lines - first), blocks = (rows + block - 1) / block;
        const Factor<Real> asked{left.data + first * width, rows, width};
        Search<Real, Index> work{asked,       right, among, rows, block, packed_rows.data, packed_columns.data,
                                 best.data(), 0,     0};
        for (std::int64_t i = 0; i < rows; ++i) {
            const std::int64_t line = first + i;
            const Index *begin = excluded.indices + excluded.first[line], *end = excluded.indices + excluded.last[line];
            best[i] = {scores + line * n, columns + line * n, 0, std::min(n, among.count), begin, end};
        }
        parallel_for(blocks, threads_for(rows * width, kWorkOfThread, n_threads),
                     [&](std::int64_t b) { dispatch<PackRows>(work, b); });
        for (work.begin = 0; work.begin < among.count; work.begin = work.end) {
            work.end = std::min(work.begin + range, among.count);
            const std::int64_t size = (work.end - work.begin) * width;
            parallel_for((work.end - work.begin + kPackingJob - 1) / kPackingJob,
                         threads_for(size, kWorkOfThread, n_threads),
                         [&](std::int64_t job) { dispatch<PackColumns>(work, job); });
            parallel_for(blocks, threads_for(rows * size, kWorkOfThread, n_threads),
                         [&](std::int64_t b) { dispatch<SearchBlock>(work, b); });
        }
        parallel_for(blocks, threads_for(rows * n, kWorkOfThread, n_threads), [&](std::int64_t b) {
            for (std::int64_t i = b * block; i < std::min((b + 1) * block, rows); ++i) best[i].finish(n);
        });
    }
}

#define DMC_INSTANTIATE(Real, Index)                                                                                   \
    template void product_at<Real, Index>(Factor<Real>, Factor<Real>, const Index*, const Index*, std::int64_t, Real*, \
                                          int);                                                                        \
    template void top_n<Real, Index>(Factor<Real>, Factor<Real>, Excluded<Index>, Among, std::int64_t, std::int64_t*,  \
                                     Real*, int);
DMC_INSTANTIATE(float, std::int32_t)
DMC_INSTANTIATE(float, std::int64_t)
DMC_INSTANTIATE(double, std::int32_t)
DMC_INSTANTIATE(double, std::int64_t)

}  // namespace dmc
