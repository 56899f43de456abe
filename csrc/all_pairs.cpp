// Half a sweep on the CPU. Panels of coordinates, one after the other: a panel of the other side is small enough to be
// gathered from near, and a line's products with the Gram matrix are made for a panel at a time, several lines
// together.

#include "all_pairs.h"

#include <algorithm>
#include <vector>

#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kPanel = 64;      // coordinates, of which a block follows the other
constexpr std::int64_t kTile = 512;      // entries, or lines, summed in registers before their sums are
constexpr std::int64_t kTogether = 4;    // lines whose products are made together
constexpr std::int64_t kAhead = 64;      // entries of the next line that are fetched
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
    const float* gram;         // (width, wide): the other side's columns with those of the panel, times w₀

    DMC_INLINE const float* others(std::int64_t e, std::int64_t block) const {
        return panel + lines.indices[e] * wide + block;
    }
};

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

// sums = those of entries begin … end−1 in the block.
struct Add {
    template <int Bytes, class Index>
    static DMC_INLINE int run(const Work<Index>& work, const std::int64_t& begin, const std::int64_t& end,
                              const std::int64_t& block, Sums& sums) {
        constexpr int lanes = Vector<float, Bytes>::lanes, parts = kBlock / lanes;
        sums = {};
        for (std::int64_t first = begin; first < end; first += kTile) {
            const std::int64_t last = std::min(first + kTile, end);
            for (int column = 0; column < parts; ++column)
                for (int row = 0; row <= column; ++row) {
                    if (row == 0)
                        part<Bytes, true>(work, first, last, block, row * lanes, column * lanes, sums);
                    else
                        part<Bytes, false>(work, first, last, block, row * lanes, column * lanes, sums);
                }
        }
        return 0;
    }

    template <int Bytes, bool Gradient, class Index>
    static DMC_INLINE void part(const Work<Index>& work, std::int64_t first, std::int64_t last, std::int64_t block,
                                int row, int column, Sums& sums) {
        using V = Vector<float, Bytes>;
        typename V::type acc[V::lanes] = {}, gradient = {};
        for (std::int64_t e = first; e < last; ++e) {
            const float *other = work.others(e, block), weight = work.pairs.weights[e];
            const float more = weight - work.pairs.unobserved;
            const auto own = V::load(other + column), scaled = more * own;
            if constexpr (Gradient) gradient += (more * work.predicted[e] - weight) * own;
            for (int r = 0; r < V::lanes; ++r) acc[r] += other[row + r] * scaled;
        }
        for (int r = 0; r < V::lanes; ++r) {
            float* at = sums.rows + (row + r) * kBlock + column;
            V::store(at, V::load(at) + acc[r]);
        }
        if constexpr (Gradient) V::store(sums.gradient() + column, V::load(sums.gradient() + column) + gradient);
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

// The gradients of a few lines that the zeros make, (lines, wide): their products with the Gram matrix.
struct Zeros {
    template <int Bytes, class Index>
    static DMC_INLINE int run(const Work<Index>& work, const std::int64_t& line, const std::int64_t& count,
                              float* const& out) {
        constexpr std::int64_t lanes = Vector<float, Bytes>::lanes;
        constexpr int units = 4;
        const std::int64_t width = work.pairs.width, wide = work.wide;
        std::fill_n(out, count * wide, 0.0f);
        const float* own = work.own + line * width;
        std::int64_t c = 0;
        for (; c + units * lanes <= wide; c += units * lanes) products<Bytes, units>(work, own, count, c, out);
        for (; c < wide; c += kBlock) products<Bytes, kBlock / lanes>(work, own, count, c, out);
        return 0;
    }

    template <int Bytes, int Units, class Index>
    static DMC_INLINE void products(const Work<Index>& work, const float* own, std::int64_t count, std::int64_t c,
                                    float* out) {
        using V = Vector<float, Bytes>;
        const std::int64_t width = work.pairs.width, wide = work.wide;
        if (count == kTogether) {
            typename V::type acc[kTogether][Units] = {};
            for (std::int64_t j = 0; j < width; ++j)
                for (int r = 0; r < kTogether; ++r)
                    for (int u = 0; u < Units; ++u)
                        acc[r][u] += own[r * width + j] * V::load(work.gram + j * wide + c + u * V::lanes);
            for (int r = 0; r < kTogether; ++r)
                for (int u = 0; u < Units; ++u) V::store(out + r * wide + c + u * V::lanes, acc[r][u]);
            return;
        }
        for (std::int64_t r = 0; r < count; ++r)
            add_products<Bytes, 1, Units>(own + r * width, 1, work.gram + c, wide, width, out + r * wide + c, wide);
    }
};

// Of a few lines, from the sums over their entries to the steps of the block, which are taken back from `own`, and from
// the gradients of the blocks behind it. Returns by how much the value falls: half the products of gradients and steps.
struct Solve {
    template <int Bytes, class Index>
    static DMC_INLINE double run(const Work<Index>& work, const std::int64_t& line, const std::int64_t& count,
                                 const std::int64_t& block, float* const& zeros, Sums* const& sums,
                                 float* const& steps) {
        using V = Vector<float, Bytes>;
        const float* gram = work.gram + (work.first + block) * work.wide + block;
        for (std::int64_t i = 0; i < count; ++i) complete<Bytes>(work, line + i, block, zeros + i * work.wide, sums[i]);
        const double fall = 0.5 * solve<Bytes>(sums, count, steps);
        for (std::int64_t i = 0; i < count; ++i) {
            float *own = work.own + (line + i) * work.pairs.width + work.first + block, *behind = zeros + i * work.wide;
            const float* step = steps + i * kBlock;
            for (int c = 0; c < kBlock; c += V::lanes) V::store(own + c, V::load(own + c) - V::load(step + c));
            for (int r = 0; r < kBlock; ++r)
                for (std::int64_t c = block + kBlock; c < work.wide; c += V::lanes)
                    V::store(behind + c, V::load(behind + c) - step[r] * V::load(gram + r * work.wide + c - block));
        }
        return fall;
    }

    // What the zeros and the ridge add to the sums.
    template <int Bytes, class Index>
    static DMC_INLINE void complete(const Work<Index>& work, std::int64_t line, std::int64_t block, const float* zeros,
                                    Sums& sums) {
        using V = Vector<float, Bytes>;
        const float ridge = work.pairs.ridge[line], *gram = work.gram + (work.first + block) * work.wide + block;
        const float* own = work.own + line * work.pairs.width + work.first + block;
        for (int c = 0; c < kBlock; c += V::lanes) {
            for (int r = 0; r < std::min<int>(kBlock, c + V::lanes); ++r) {
                float* at = sums.rows + r * kBlock + c;
                V::store(at, V::load(at) + V::load(gram + r * work.wide + c));
            }
            float* at = sums.gradient() + c;
            V::store(at, V::load(at) + V::load(zeros + block + c) + ridge * V::load(own + c));
        }
        for (int r = 0; r < kBlock; ++r) sums.rows[r * kBlock + r] += ridge;
    }

    // Of each sums a matrix A, its upper triangle, and a last row b: x = A⁻¹ b; returns the sum of all ⟨b, x⟩. By
    // A = L D Lᵀ: the last row is eliminated like the others, and its factors are what Lᵀ x has to be. Step by step for
    // all of them, because each step waits for the one before.
    template <int Bytes>
    static DMC_INLINE double solve(Sums* sums, std::int64_t count, float* x) {
        using V = Vector<float, Bytes>;
        if (count > kTogether) __builtin_unreachable();  // the compiler would warn of what lies behind the arrays
        float lower[kTogether][(kBlock + 1) * kBlock] = {};
        double products = 0;
        for (int p = 0; p < kBlock; ++p)
            for (std::int64_t i = 0; i < count; ++i) {
                float* rows = sums[i].rows;
                const float *pivot = rows + p * kBlock, inverse = 1 / pivot[p];
                for (int r = p + 1; r <= kBlock; ++r) {
                    const float below = r < kBlock ? pivot[r] : sums[i].gradient()[p], factor = below * inverse;
                    lower[i][r * kBlock + p] = factor;
                    if (r == kBlock) products += double(factor) * double(below);
                    for (int c = (r < kBlock ? r : p) / V::lanes * V::lanes; c < kBlock; c += V::lanes)
                        V::store(rows + r * kBlock + c, V::load(rows + r * kBlock + c) - factor * V::load(pivot + c));
                }
            }
        for (std::int64_t i = 0; i < count; ++i) std::copy_n(lower[i] + kBlock * kBlock, kBlock, x + i * kBlock);
        for (int p = kBlock - 1; p > 0; --p)
            for (std::int64_t i = 0; i < count; ++i) {
                float *own = x + i * kBlock, last = own[p];
                for (int c = 0; c < p; c += V::lanes)
                    V::store(own + c, V::load(own + c) - last * V::load(lower[i] + p * kBlock + c));
            }
        return products;
    }
};

// Whole lines begin … end−1 of one piece, a few together. Returns by how much the value falls.
struct Sweep {
    template <int Bytes, class Index>
    static DMC_INLINE double run(const Work<Index>& work, const std::int64_t& begin, const std::int64_t& end) {
        float gradients[kTogether * kPanel], *zeros = gradients;
        double fall = 0;
        for (std::int64_t first = begin, last; first < end; first = last) {
            if (work.lines.pointers[first] == work.lines.pointers[last = first + 1]) continue;
            while (last < std::min(first + kTogether, end) && work.lines.pointers[last] < work.lines.pointers[last + 1])
                ++last;
            fetch(work, last);
            Zeros::run<Bytes>(work, first, last - first, zeros);
            fall += blocks<Bytes>(work, first, last - first, zeros);
        }
        return fall;
    }

    // The others of the entries that follow.
    template <class Index>
    static DMC_INLINE void fetch(const Work<Index>& work, std::int64_t line) {
        const std::int64_t* pointers = work.lines.pointers;
        const std::int64_t next = std::min(line + kTogether, work.lines.count);
        const std::int64_t last = std::min(pointers[next], pointers[line] + kAhead);
        for (std::int64_t e = pointers[line]; e < last; ++e)
            for (std::int64_t c = 0; c < work.wide; c += kBlock) __builtin_prefetch(work.others(e, c));
    }

    template <int Bytes, class Index>
    static DMC_INLINE double blocks(const Work<Index>& work, const std::int64_t& first, const std::int64_t& count,
                                    float* const& zeros) {
        const std::int64_t* pointers = work.lines.pointers + first;
        Sums sums[kTogether], *of_lines = sums;
        float steps[kTogether * kBlock], *all = steps;
        double fall = 0;
        for (std::int64_t block = 0; block < work.wide; block += kBlock) {
            for (std::int64_t i = 0; i < count; ++i)
                Add::run<Bytes>(work, pointers[i], pointers[i + 1], block, sums[i]);
            fall += Solve::run<Bytes>(work, first, count, block, zeros, of_lines, all);
            for (std::int64_t i = 0; i < count; ++i) {
                const float* step = steps + i * kBlock;
                Predict::run<Bytes>(work, pointers[i], pointers[i + 1], block, step);
            }
        }
        return fall;
    }
};

// One long line, its entries piece by piece by all threads.
template <class Index>
double long_line(const Work<Index>& work, const Piece* pieces, std::int64_t count, int n_threads) {
    std::vector<float> gradients(work.wide);
    std::vector<Sums> partial(count);
    const std::int64_t line = pieces->begin, one = 1;
    float steps[kBlock], *step = steps, *zeros = gradients.data();
    dispatch<Zeros>(work, line, one, zeros);
    double fall = 0;
    for (std::int64_t block = 0; block < work.wide; block += kBlock) {
        parallel_for(count, n_threads,
                     [&](std::int64_t p) { dispatch<Add>(work, pieces[p].first, pieces[p].last, block, partial[p]); });
        for (std::int64_t p = 1; p < count; ++p) partial[0] += partial[p];
        Sums* all = partial.data();
        fall += dispatch<Solve>(work, line, one, block, zeros, all, step);
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

// gram: w₀ times the products of all columns with those of each panel, panel after panel, each (width, wide).
void make_gram(const float* panels, std::int64_t lines, const AllPairs& pairs, float* gram, int n_threads) {
    const std::int64_t width = pairs.width, blocks = width / kBlock, many = (width + kPanel - 1) / kPanel;
    parallel_for(blocks * many, n_threads, [&](std::int64_t task) {
        const std::int64_t row = task % blocks * kBlock, from = row / kPanel * kPanel, first = task / blocks * kPanel;
        if (from > first) return;  // what stands there is mirrored
        const std::int64_t stride = std::min(kPanel, width - from), wide = std::min(kPanel, width - first);
        const float *left = panels + lines * from + row - from, *right = panels + lines * first;
        float* out = gram + width * first + row * wide;
        dispatch<Gram>(left, stride, right, wide, lines, out);
        for (std::int64_t i = 0; i < kBlock * wide; ++i) out[i] *= pairs.unobserved;
        if (from == first) return;
        for (std::int64_t r = 0; r < kBlock; ++r)
            for (std::int64_t c = 0; c < wide; ++c)
                gram[width * from + (first + c) * stride + row - from + r] = out[r * wide + c];
    });
}

// All lines once.
template <class Index>
double pass(Work<Index> work, const float* panels, const float* gram, int n_threads) {
    const std::vector<Piece>& pieces = *work.lines.pieces;
    const std::int64_t width = work.pairs.width;
    std::vector<double> falls(pieces.size());
    for (work.first = 0; work.first < width; work.first += kPanel) {
        work.wide = std::min(kPanel, width - work.first);
        work.panel = panels + work.lines.other_lines * work.first;
        work.gram = gram + width * work.first;
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
    const Work<Index> work{lines, pairs, own, predicted, 0, 0, nullptr, nullptr};
    double total = 0, fall = 0;
    do {
        fall = pass(work, panels.data(), gram.data(), n_threads);
        total += fall;
    } while (--passes > 0 && fall > tol * total);
    return total;
}

template double half_sweep(Lines<std::int32_t>, AllPairs, const float*, float*, float*, std::int64_t, double, int);
template double half_sweep(Lines<std::int64_t>, AllPairs, const float*, float*, float*, std::int64_t, double, int);

}  // namespace dmc
