// The inverses of one small symmetric matrix for every line, and their products with lines of numbers.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "cholesky.h"
#include "coordinates.h"

namespace dmc {

// Where row p begins in a packed upper triangle: with its diagonal.
DMC_INLINE std::int64_t place_of(std::int64_t p, std::int64_t k) { return p * k - p * (p - 1) / 2; }

template <class Real>
double trace_of(const Real* block, std::int64_t k) {
    double trace = 0;
    for (std::int64_t p = 0; p < k; ++p) trace += block[place_of(p, k)];
    return trace;
}

// The inverses of the packed blocks of lines begin … end−1, in rows of `stride` numbers. Lines with few entries have
// singular blocks and get a little ridge: of the size of what rounding leaves in their own, for theirs may be larger
// than all others together.
template <class Real>
struct Inversion {
    const Real* blocks;
    Real* inverses;
    std::int64_t width, stride;
    double mean_trace;
};

struct Invert {
    template <int Bytes, class Real>
    static DMC_INLINE int run(const Inversion<Real>& work, const std::int64_t& begin, const std::int64_t& end) {
        using Systems = Cholesky<double, Bytes>;
        constexpr std::int64_t lanes = Systems::lanes;
        const std::int64_t k = work.width, size = k * (k + 1) / 2;
        std::vector<Wide<double>> numbers(size + 1), room(k + 1);
        const Systems systems{k, k, numbers.data()->lanes, room.data()->lanes};
        for (std::int64_t first = begin; first < end; first += lanes) {
            const std::int64_t count = std::min(lanes, end - first);
            for (std::int64_t i = 0; i < lanes; ++i)  // lanes that are left over have the last block once more
                fill(systems.a + i, lanes, work, first + std::min(i, count - 1));
            systems.factor();
            systems.invert();
            for (std::int64_t i = 0; i < count; ++i) {
                Real* to = work.inverses + (first + i) * k * work.stride;
                for (std::int64_t r = 0; r < k; ++r)
                    for (std::int64_t c = r; c < k; ++c)
                        to[r * work.stride + c] = to[c * work.stride + r] = Real(systems.at(r, c)[i]);
            }
        }
        return 0;
    }

    // One lane: a block and its ridge.
    template <class Real>
    static DMC_INLINE void fill(double* a, std::int64_t lanes, const Inversion<Real>& work, std::int64_t line) {
        const std::int64_t k = work.width;
        const Real* block = work.blocks + line * (k * (k + 1) / 2);
        const double eps = std::numeric_limits<Real>::epsilon();
        const double needed = 100 * eps * std::max(trace_of(block, k), work.mean_trace) / k;
        const double ridge = needed > 0 ? needed : 1;
        for (std::int64_t r = 0; r < k; ++r)
            for (std::int64_t c = r; c < k; ++c, a += lanes) *a = double(*block++) + (r == c ? ridge : 0);
    }
};

// to_i = from_i · inverse_i
struct MultiplyLines {
    template <int Bytes, class Real>
    static DMC_INLINE int run(const Inversion<Real>& work, const Real* const& from, Real* const& to,
                              const std::int64_t& begin, const std::int64_t& end) {
        const std::int64_t k = work.width;
        const Real* const one = nullptr;
        for (std::int64_t i = begin; i < end; ++i) {
            const Rows<const Real> own{from + i * k, k};
            const Small<Real> inverse{work.inverses + i * k * work.stride, k, work.stride, Form::full};
            const Rows<Real> out{to + i * k, k};
            const std::int64_t first = 0, last = 1;
            Multiply<false>::template run<Bytes>(own, inverse, one, out, first, last);
        }
        return 0;
    }
};

template <class Real>
class LineInverses {
  public:
    // Of packed blocks (lines, width (width + 1) / 2).
    LineInverses(const std::vector<Real>& blocks, std::int64_t lines, std::int64_t width, int n_threads)
        : lines_(lines), n_threads_(n_threads), inverses_(lines * width * rounded_up<Real>(width), Real(0)) {
        double total = 0;
        for (std::int64_t i = 0; i < lines; ++i)
            total += trace_of(blocks.data() + i * (width * (width + 1) / 2), width);
        work_ = {blocks.data(), inverses_.data(), width, rounded_up<Real>(width), lines ? total / lines : 0};
        for_pieces_of_lines(lines, lines * width * width * width, n_threads,
                            [&](std::int64_t begin, std::int64_t end) { dispatch<Invert>(work_, begin, end); });
        work_.blocks = nullptr;
    }

    void multiply(const Real* from, Real* to) const {
        for_pieces_of_lines(
            lines_, lines_ * work_.width * work_.width, n_threads_,
            [&](std::int64_t begin, std::int64_t end) { dispatch<MultiplyLines>(work_, from, to, begin, end); });
    }

  private:
    std::int64_t lines_;
    int n_threads_;
    std::vector<Real> inverses_;
    Inversion<Real> work_;
};

}  // namespace dmc
