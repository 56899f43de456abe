// Half a sweep on the CPU. Panels of coordinates, one after the other: a panel of the other side is small enough to be
// gathered from near. Of the lines as many go together as a vector has lanes: their systems are solved in these.

#include "all_pairs.h"

#include <algorithm>
#include <vector>

#include "all_pairs_block.h"
#include "parallel.h"

namespace dmc {
namespace {

using namespace pairs;

constexpr std::int64_t kPanel = 64;     // coordinates, of which a block follows the other
constexpr std::int64_t kEnough = 1024;  // entries of lines with which no further line goes

// out[r][c] += Σ_j left[j][r] right[j][c], of a few rows r and vectors of columns c.
template <int Bytes, int Rows, int Units>
DMC_INLINE void add_products(const float* left, std::int64_t left_stride, const float* right, std::int64_t right_stride,
                             std::int64_t count, float* out, std::int64_t out_stride) {
    using V = Vector<float, Bytes>;
    typename V::type acc[Rows][Units] = {};
    for (std::int64_t j = 0; j < count; ++j)
        for (int r = 0; r < Rows; ++r)
            for (int u = 0; u < Units; ++u)
                acc[r][u] += left[j * left_stride + r] * V::load(right + j * right_stride + u * V::lanes);
    for (int r = 0; r < Rows; ++r)
        for (int u = 0; u < Units; ++u) {
            float* at = out + r * out_stride + u * V::lanes;
            V::store(at, V::load(at) + acc[r][u]);
        }
}

// One block of rows of a Gram matrix against a panel: out (kBlock, wide) = Σ_j left[j] right[j]ᵀ.
struct Gram {
    template <int Bytes>
    static DMC_INLINE int run(const float* const& left, const std::int64_t& left_stride, const float* const& right,
                              const std::int64_t& wide, const std::int64_t& count, float* const& out) {
        constexpr std::int64_t unit = kBlock;
        std::vector<double> total(kBlock * wide);
        std::vector<float> sums(kBlock * wide);
        for (std::int64_t begin = 0; begin < count; begin += kTile) {
            const std::int64_t lines = std::min(kTile, count - begin);
            std::fill(sums.begin(), sums.end(), 0.0f);
            for (std::int64_t r = 0; r < kBlock; r += kTogether)
                for (std::int64_t c = 0; c < wide; c += unit)
                    add_products<Bytes, kTogether, unit / Vector<float, Bytes>::lanes>(
                        left + begin * left_stride + r, left_stride, right + begin * wide + c, wide, lines,
                        sums.data() + r * wide + c, wide);
            for (std::size_t i = 0; i < total.size(); ++i) total[i] += sums[i];
        }
        for (std::size_t i = 0; i < total.size(); ++i) out[i] = float(total[i]);
        return 0;
    }
};

// Whole lines begin … end−1 of one piece, a few together. Returns by how much the value falls.
struct Sweep {
    template <int Bytes, class Index>
    static DMC_INLINE double run(const Work<Index>& work, const std::int64_t& begin, const std::int64_t& end) {
        constexpr std::int64_t lanes = Vector<float, Bytes>::lanes;
        const std::int64_t* pointers = work.lines.pointers;
        double fall = 0;
        for (std::int64_t i = begin; i < end;) {
            std::int64_t lines[lanes], count = 0;
            for (const std::int64_t first = i; i < end && count < lanes; ++i) {
                if (count && pointers[i + 1] - pointers[first] > kEnough) break;
                if (pointers[i] < pointers[i + 1]) lines[count++] = i;
            }
            if (count) fall += blocks<Bytes>(work, lines, count);
        }
        return fall;
    }

    template <int Bytes, class Index>
    static DMC_INLINE double blocks(const Work<Index>& work, const std::int64_t* lines, std::int64_t count) {
        constexpr std::int64_t lanes = Vector<float, Bytes>::lanes;
        const std::int64_t* pointers = work.lines.pointers;
        Sums of_lines[lanes], *sums = of_lines;
        float of_all[lanes * kBlock], *steps = of_all;
        double fall = 0;
        for (std::int64_t block = 0; block < work.wide; block += kBlock) {
            for (std::int64_t i = 0; i < count; ++i)
                Add::run<Bytes>(work, pointers[lines[i]], pointers[lines[i] + 1], block, sums[i]);
            fall += Solve::run<Bytes>(work, lines, count, block, sums, steps);
            for (std::int64_t i = 0; i < count; ++i) {
                const float* step = steps + i * kBlock;
                Predict::run<Bytes>(work, pointers[lines[i]], pointers[lines[i] + 1], block, step);
            }
        }
        return fall;
    }
};

// One long line, its entries piece by piece by all threads.
template <class Index>
double long_line(const Work<Index>& work, const Piece* pieces, std::int64_t count, int n_threads) {
    std::vector<Sums> partial(count);
    const std::int64_t* line = &pieces->begin;
    const std::int64_t one = 1;
    float of_line[kBlock], *step = of_line;
    double fall = 0;
    for (std::int64_t block = 0; block < work.wide; block += kBlock) {
        parallel_for(count, n_threads,
                     [&](std::int64_t p) { dispatch<Add>(work, pieces[p].first, pieces[p].last, block, partial[p]); });
        for (std::int64_t p = 1; p < count; ++p) partial[0] += partial[p];
        Sums* all = partial.data();
        fall += dispatch<Solve>(work, line, one, block, all, step);
        const float* back = step;
        parallel_for(count, n_threads,
                     [&](std::int64_t p) { dispatch<Predict>(work, pieces[p].first, pieces[p].last, block, back); });
    }
    return fall;
}

// panels: the matrix (lines, width), a panel of its columns after the other, each row by row.
void cut_into_panels(const float* matrix, std::int64_t lines, std::int64_t width, float* panels, int n_threads) {
    const std::int64_t chunks = (lines + kTile - 1) / kTile;
    parallel_for(chunks, n_threads, [&](std::int64_t chunk) {
        for (std::int64_t first = 0; first < width; first += kPanel) {
            const std::int64_t wide = std::min(kPanel, width - first);
            for (std::int64_t j = chunk * kTile; j < std::min(lines, (chunk + 1) * kTile); ++j)
                std::copy_n(matrix + j * width + first, wide, panels + lines * first + j * wide);
        }
    });
}

// gram: w₀ times the products of all columns with those of each block, block after block, each (width, kBlock).
void make_gram(const float* panels, std::int64_t lines, const AllPairs& pairs, float* gram, int n_threads) {
    const std::int64_t width = pairs.width, blocks = width / kBlock, many = (width + kPanel - 1) / kPanel;
    parallel_for(blocks * many, n_threads, [&](std::int64_t task) {
        const std::int64_t row = task % blocks * kBlock, from = row / kPanel * kPanel, first = task / blocks * kPanel;
        if (from > first) return;  // what stands there is mirrored
        const std::int64_t stride = std::min(kPanel, width - from), wide = std::min(kPanel, width - first);
        const float *left = panels + lines * from + row - from, *right = panels + lines * first;
        float products[kBlock * kPanel], *out = products;
        dispatch<Gram>(left, stride, right, wide, lines, out);
        for (std::int64_t r = 0; r < kBlock; ++r)
            for (std::int64_t c = 0; c < wide; ++c) {
                const std::int64_t block = (first + c) / kBlock * kBlock;
                const float product = pairs.unobserved * out[r * wide + c];
                gram[block * width + (row + r) * kBlock + first + c - block] = product;
                if (from != first) gram[row * width + (first + c) * kBlock + r] = product;
            }
    });
}

// All lines once.
template <class Index>
double pass(Work<Index> work, const float* panels, int n_threads) {
    const std::vector<Piece>& pieces = *work.lines.pieces;
    const std::int64_t width = work.pairs.width;
    std::vector<double> falls(pieces.size());
    for (work.first = 0; work.first < width; work.first += kPanel) {
        work.wide = std::min(kPanel, width - work.first);
        work.panel = panels + work.lines.other_lines * work.first;
        parallel_for(std::int64_t(pieces.size()), n_threads, [&](std::int64_t p) {
            if (pieces[p].segment < 0) falls[p] += dispatch<Sweep>(work, pieces[p].begin, pieces[p].end);
        });
        for (std::size_t p = 0, q; p < pieces.size(); p = q) {
            for (q = p + 1; q < pieces.size() && pieces[q].segment >= 0 && pieces[q].begin == pieces[p].begin;) ++q;
            if (pieces[p].segment >= 0) falls[p] += long_line(work, &pieces[p], q - p, n_threads);
        }
    }
    double fall = 0;
    for (const double of_piece : falls) fall += of_piece;
    return fall;
}

}  // namespace

template <class Index>
double half_sweep(Lines<Index> lines, AllPairs pairs, const float* other, float* own, float* predicted,
                  std::int64_t passes, double tol, int n_threads) {
    const std::int64_t width = pairs.width, vectors = width / kBlock;
    n_threads =
        threads_for((lines.entries() * kBlock + (lines.count + lines.other_lines) * width) * vectors, kWork, n_threads);
    Buffer<float> panels(*lines.pool, lines.other_lines * width), gram(*lines.pool, width * width);
    cut_into_panels(other, lines.other_lines, width, panels.data(), n_threads);
    make_gram(panels.data(), lines.other_lines, pairs, gram.data(), n_threads);
    const Work<Index> work{lines, pairs, own, predicted, 0, 0, nullptr, gram.data()};
    double total = 0, fall = 0;
    do {
        fall = pass(work, panels.data(), n_threads);
        total += fall;
    } while (--passes > 0 && fall > tol * total);
    return total;
}

void block_grams(const float* other, std::int64_t lines, AllPairs pairs, float* grams, int n_threads) {
    const std::int64_t width = pairs.width;
    n_threads = threads_for(lines * width * (width / kBlock), kWork, n_threads);
    std::vector<float> panels(lines * width);
    cut_into_panels(other, lines, width, panels.data(), n_threads);
    make_gram(panels.data(), lines, pairs, grams, n_threads);
}

template double half_sweep(Lines<std::int32_t>, AllPairs, const float*, float*, float*, std::int64_t, double, int);
template double half_sweep(Lines<std::int64_t>, AllPairs, const float*, float*, float*, std::int64_t, double, int);

}  // namespace dmc
