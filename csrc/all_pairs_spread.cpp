// The parts of half a sweep over lines whose entries are spread over processes, on the CPU.

#include <algorithm>
#include <vector>

#include "all_pairs_block.h"
#include "parallel.h"

namespace dmc {
namespace {

using namespace pairs;

constexpr std::int64_t kLines = 64;  // whose systems a thread solves at a time

// f(number in the system, in `Sums`) of all numbers of a line's system.
template <class F>
DMC_INLINE void each_number(const F& f) {
    std::int64_t t = 0;
    for (std::int64_t r = 0; r < kBlock; ++r) {
        for (std::int64_t c = r; c < kBlock; ++c) f(t++, r * kBlock + c);
        f(t++, kBlock * kBlock + r);
    }
}

void pack(const Sums& sums, float* out) {
    each_number([&](std::int64_t t, std::int64_t at) { out[t] = sums.rows[at]; });
}

// The sums of whole lines begin … end−1.
struct AddLines {
    template <int Bytes, class Index>
    static DMC_INLINE int run(const Work<Index>& work, const std::int64_t& begin, const std::int64_t& end,
                              float* const& out) {
        const std::int64_t *pointers = work.lines.pointers, block = 0;
        Sums sums;
        for (std::int64_t i = begin; i < end; ++i) {
            float* at = out + i * kSystem;
            std::fill_n(at, kSystem, 0.0f);
            if (pointers[i] == pointers[i + 1]) continue;
            Add::run<Bytes>(work, pointers[i], pointers[i + 1], block, sums);
            pack(sums, at);
        }
        return 0;
    }
};

// What is summed over the entries of lines, in parts.
struct Parts {
    const float* sums;  // (count, lines, kSystem)
    std::int64_t count, lines;

    DMC_INLINE void add(std::int64_t line, Sums& out) const {
        double total[kSystem] = {};
        for (std::int64_t p = 0; p < count; ++p) {
            const float* part = sums + (p * lines + line) * kSystem;
            for (std::int64_t t = 0; t < kSystem; ++t) total[t] += part[t];
        }
        each_number([&](std::int64_t t, std::int64_t at) { out.rows[at] = float(total[t]); });
    }
};

// The steps of lines begin … end−1.
struct SolveLines {
    template <int Bytes, class Index>
    static DMC_INLINE double run(const Work<Index>& work, const std::int64_t& begin, const std::int64_t& end,
                                 const Parts& parts, float* const& steps) {
        constexpr std::int64_t lanes = Vector<float, Bytes>::lanes, block = 0;
        Sums of_lines[lanes], *several = of_lines;
        std::int64_t lines[lanes];
        double fall = 0;
        for (std::int64_t i = begin; i < end; i += lanes) {
            const std::int64_t count = std::min(lanes, end - i);
            for (std::int64_t l = 0; l < count; ++l) {
                lines[l] = i + l;
                parts.add(i + l, of_lines[l]);
            }
            float* to = steps + i * kBlock;
            fall += Solve::run<Bytes>(work, lines, count, block, several, to);
        }
        return fall;
    }
};

// The predictions of the entries of lines begin … end−1 that are among first … last−1.
struct PredictLines {
    template <int Bytes, class Index>
    static DMC_INLINE int run(const Work<Index>& work, const Piece& piece, const float* const& steps) {
        const std::int64_t *pointers = work.lines.pointers, block = 0;
        for (std::int64_t i = piece.begin; i < piece.end; ++i) {
            const float* step = steps + i * kBlock;
            Predict::run<Bytes>(work, std::max(pointers[i], piece.first), std::min(pointers[i + 1], piece.last), block,
                                step);
        }
        return 0;
    }
};

template <class Index>
int threads_of(const Lines<Index>& lines, int n_threads) {
    return threads_for((lines.entries() - lines.pointers[0]) * kBlock, kWork, n_threads);
}

}  // namespace

template <class Index>
void block_sums(Lines<Index> lines, AllPairs pairs, const float* other, float* predicted, float* sums, int n_threads) {
    const Work<Index> work{lines, pairs, nullptr, predicted, 0, kBlock, other, nullptr};
    const std::vector<Piece> pieces = cut(lines.count, lines.pointers);
    std::int64_t segments = 0, block = 0;
    for (const Piece& piece : pieces) segments = std::max(segments, piece.segment + 1);
    std::vector<Sums> partial(segments);
    parallel_for(std::int64_t(pieces.size()), threads_of(lines, n_threads), [&](std::int64_t p) {
        const Piece& piece = pieces[p];
        if (piece.segment < 0)
            dispatch<AddLines>(work, piece.begin, piece.end, sums);
        else
            dispatch<Add>(work, piece.first, piece.last, block, partial[piece.segment]);
    });
    for (const Piece& piece : pieces) {
        if (piece.segment < 0) continue;
        Sums& own = partial[piece.segment];
        if (piece.first != lines.pointers[piece.begin]) own += partial[piece.segment - 1];  // up to here
        if (piece.last == lines.pointers[piece.end]) pack(own, sums + piece.begin * kSystem);
    }
}

double block_steps(std::int64_t parts, std::int64_t count, AllPairs pairs, const float* grams, std::int64_t block,
                   const float* sums, float* own, float* steps, int n_threads) {
    const Parts given{sums, parts, count};
    const Work<std::int32_t> work{{}, pairs, own, nullptr, block * kBlock, kBlock, nullptr, grams};
    const std::int64_t tasks = (count + kLines - 1) / kLines;
    std::vector<double> falls(tasks);
    parallel_for(tasks, threads_for(count * (pairs.width + parts * kSystem), kWork, n_threads), [&](std::int64_t task) {
        const std::int64_t begin = task * kLines, end = std::min(count, begin + kLines);
        falls[task] = dispatch<SolveLines>(work, begin, end, given, steps);
    });
    double fall = 0;
    for (const double of_lines : falls) fall += of_lines;
    return fall;
}

template <class Index>
void block_predict(Lines<Index> lines, const float* other, const float* steps, float* predicted, int n_threads) {
    const Work<Index> work{lines, {}, nullptr, predicted, 0, kBlock, other, nullptr};
    const std::vector<Piece> pieces = cut(lines.count, lines.pointers);
    parallel_for(std::int64_t(pieces.size()), threads_of(lines, n_threads),
                 [&](std::int64_t p) { dispatch<PredictLines>(work, pieces[p], steps); });
}

template void block_sums(Lines<std::int32_t>, AllPairs, const float*, float*, float*, int);
template void block_sums(Lines<std::int64_t>, AllPairs, const float*, float*, float*, int);
template void block_predict(Lines<std::int32_t>, const float*, const float*, float*, int);
template void block_predict(Lines<std::int64_t>, const float*, const float*, float*, int);

}  // namespace dmc
