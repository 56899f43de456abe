// The masked product on the CPU. One line at a time stays in registers while the other side is gathered; pieces of
// work are cut by entries (rating data have long tails) and do not depend on the number of threads.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "masked_product.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define DMC_X86_DISPATCH 1
#endif

#define DMC_INLINE inline __attribute__((always_inline))

namespace dmc {
namespace {

constexpr std::int64_t kPieceEntries = 4096, kLongLine = 8 * kPieceEntries;
constexpr std::int64_t kAhead = 12;       // entries between the fetch of a line and its use
constexpr std::int64_t kCache = 1 << 20;  // bytes, about those of the second level
// Products of numbers for which a further thread is woken: a quarter of a millisecond's, waking and waiting costs some
// of it, and idle threads spin for a while beside whatever runs between two calls.
constexpr std::int64_t kWorkOfThread = 1 << 20;

// One register's worth of Real: 16, 32 or 64 bytes, as the instruction set has it.
template <class Real, int Bytes>
struct Vector {
    static constexpr int lanes = Bytes / int(sizeof(Real));
    typedef Real type __attribute__((vector_size(Bytes)));
    typedef Real unaligned __attribute__((vector_size(Bytes), aligned(alignof(Real)), may_alias));

    static DMC_INLINE type load(const Real* p) { return *reinterpret_cast<const unaligned*>(p); }
    static DMC_INLINE void store(Real* p, type v) { *reinterpret_cast<unaligned*>(p) = v; }
};

// The lower half of a vector plus its upper half.
template <class Real, int Bytes>
DMC_INLINE typename Vector<Real, Bytes / 2>::type fold(typename Vector<Real, Bytes>::type v) {
    typename Vector<Real, Bytes / 2>::type low, high;
    std::memcpy(&low, &v, Bytes / 2);
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + Bytes / 2, Bytes / 2);
    return low + high;
}

// Adds up the lanes, halving the vector until one register of 16 bytes is left.
template <class Real, int Bytes>
DMC_INLINE Real sum(typename Vector<Real, Bytes>::type v) {
    if constexpr (Bytes > 16) {
        return sum<Real, Bytes / 2>(fold<Real, Bytes>(v));
    } else if constexpr (sizeof(Real) == 4) {
        return (v[0] + v[2]) + (v[1] + v[3]);
    } else {
        return v[0] + v[1];
    }
}

// One own line: Blocks whole vectors held in registers (-1: as many as the width has, held in memory), then half a
// vector if Half. There is no tail of single numbers: `padded` sees to it that the width is a multiple of a half.
template <class Real, int Bytes, int Blocks, bool Half>
struct Line {
    using V = Vector<Real, Bytes>;
    using H = Vector<Real, Half ? Bytes / 2 : Bytes>;
    static constexpr int kept = Blocks > 0 ? Blocks : 1;
    std::int64_t width;
    const Real* own;
    Real* d_own = nullptr;
    typename V::type accumulated[kept] = {};
    typename H::type accumulated_half = {};

    DMC_INLINE std::int64_t blocks() const { return Blocks >= 0 ? Blocks : width / V::lanes; }

    DMC_INLINE void begin() {
        for (int v = 0; v < kept; ++v) accumulated[v] = typename V::type{};
        accumulated_half = typename H::type{};
        if constexpr (Blocks < 0) std::fill_n(d_own, width, Real(0));
    }

    DMC_INLINE Real dot(const Real* other) const {
        typename V::type acc = {}, acc2 = {};
        std::int64_t v = 0;
        for (; v + 2 <= blocks(); v += 2) {
            acc += V::load(own + v * V::lanes) * V::load(other + v * V::lanes);
            acc2 += V::load(own + (v + 1) * V::lanes) * V::load(other + (v + 1) * V::lanes);
        }
        if (v < blocks()) acc += V::load(own + v * V::lanes) * V::load(other + v * V::lanes);
        if constexpr (Half) {
            const auto folded = H::load(own + blocks() * V::lanes) * H::load(other + blocks() * V::lanes);
            return sum<Real, Bytes / 2>(Blocks ? folded + fold<Real, Bytes>(acc + acc2) : folded);
        } else {
            return sum<Real, Bytes>(acc + acc2);
        }
    }

    DMC_INLINE void add_scaled(Real scale, const Real* other) {
        if constexpr (Blocks >= 0) {
            for (int v = 0; v < Blocks; ++v) accumulated[v] += scale * V::load(other + v * V::lanes);
        } else {
            for (std::int64_t v = 0; v < blocks(); ++v)
                V::store(d_own + v * V::lanes, V::load(d_own + v * V::lanes) + scale * V::load(other + v * V::lanes));
        }
        if constexpr (Half) accumulated_half += scale * H::load(other + blocks() * V::lanes);
    }

    DMC_INLINE void end() {
        if constexpr (Blocks > 0)
            for (int v = 0; v < Blocks; ++v) V::store(d_own + v * V::lanes, accumulated[v]);
        if constexpr (Half) H::store(d_own + blocks() * V::lanes, accumulated_half);
    }
};

template <class Real, class Index>
struct Work {
    Lines<Index> lines;
    Sides<Real> sides;
    const Real* target;   // null: only the product is wanted
    const Real* weights;  // null: all one
    Real* out;            // the product (entries), or d_own (lines, width)
    Real* partial;        // d_own of the segments of long lines (segments, width)
    bool far;             // the other side exceeds the cache: its lines are fetched ahead
};

// Whole lines, or (segment ≥ 0) some entries of one long line.
struct Piece {
    std::int64_t begin, end;   // lines
    std::int64_t first, last;  // entries
    std::int64_t segment;
};

template <class Real, class Index, int Bytes, int Blocks, bool Half>
DMC_INLINE double run_lines(const Work<Real, Index>& work, const Piece& piece) {
    const std::int64_t width = work.sides.width, bytes = width * std::int64_t(sizeof(Real));
    Line<Real, Bytes, Blocks, Half> line;
    line.width = width;
    double loss = 0;
    for (std::int64_t i = piece.begin; i < piece.end; ++i) {
        const std::int64_t first = std::max(work.lines.pointers[i], piece.first),
                           last = std::min(work.lines.pointers[i + 1], piece.last);
        line.own = work.sides.own + i * width;
        if (work.target) {
            line.d_own = piece.segment < 0 ? work.out + i * width : work.partial + piece.segment * width;
            line.begin();
        }
        for (std::int64_t e = first; e < last; ++e) {
            if (work.far && e + kAhead < piece.last) {
                const char* ahead =
                    reinterpret_cast<const char*>(work.sides.other + work.lines.indices[e + kAhead] * width);
                for (std::int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(ahead + b);
            }
            const Real* other = work.sides.other + work.lines.indices[e] * width;
            if (!work.target) {
                work.out[e] = line.dot(other);
                continue;
            }
            const Real residual = line.dot(other) - work.target[e];
            const Real scaled = work.weights ? work.weights[e] * residual : residual;
            loss += 0.5 * double(scaled) * double(residual);
            line.add_scaled(scaled, other);
        }
        if (work.target) line.end();
    }
    return loss;
}

template <class Real, class Index, int Bytes, bool Half>
DMC_INLINE double run_blocks(const Work<Real, Index>& work, const Piece& piece) {
    switch (work.sides.width / Vector<Real, Bytes>::lanes) {
        case 0:
            return run_lines<Real, Index, Bytes, 0, Half>(work, piece);
        case 1:
            return run_lines<Real, Index, Bytes, 1, Half>(work, piece);
        case 2:
            return run_lines<Real, Index, Bytes, 2, Half>(work, piece);
        case 3:
            return run_lines<Real, Index, Bytes, 3, Half>(work, piece);
        case 4:
            return run_lines<Real, Index, Bytes, 4, Half>(work, piece);
        case 5:
            return run_lines<Real, Index, Bytes, 5, Half>(work, piece);
        case 6:
            return run_lines<Real, Index, Bytes, 6, Half>(work, piece);
        case 8:
            return run_lines<Real, Index, Bytes, 8, Half>(work, piece);
        default:
            return run_lines<Real, Index, Bytes, -1, Half>(work, piece);
    }
}

template <class Real, class Index, int Bytes>
DMC_INLINE double run_any_width(const Work<Real, Index>& work, const Piece& piece) {
    if constexpr (Bytes > 16)
        if (work.sides.width % Vector<Real, Bytes>::lanes) return run_blocks<Real, Index, Bytes, true>(work, piece);
    return run_blocks<Real, Index, Bytes, false>(work, piece);
}

// The same source compiled for each instruction set. The parallel loop stays outside: a function that the compiler
// cuts out of a parallel region would not inherit the target.
#ifdef DMC_X86_DISPATCH
template <class Real, class Index>
__attribute__((target("arch=x86-64-v4,prefer-vector-width=512"))) double run_avx512(const Work<Real, Index>& work,
                                                                                    const Piece& piece) {
    return run_any_width<Real, Index, 64>(work, piece);
}
template <class Real, class Index>
__attribute__((target("arch=x86-64-v3"))) double run_avx2(const Work<Real, Index>& work, const Piece& piece) {
    return run_any_width<Real, Index, 32>(work, piece);
}
#endif
template <class Real, class Index>
double run_plain(const Work<Real, Index>& work, const Piece& piece) {
    return run_any_width<Real, Index, 16>(work, piece);
}

enum class Isa { plain, avx2, avx512 };

Isa detect() {
#ifdef DMC_X86_DISPATCH
    __builtin_cpu_init();
    Isa best = Isa::plain;
    if (__builtin_cpu_supports("x86-64-v3")) best = Isa::avx2;
    if (__builtin_cpu_supports("x86-64-v4")) best = Isa::avx512;
    // A wish beyond what the processor has is not granted: it would end in an illegal instruction.
    if (const char* wish = std::getenv("DMC_ISA")) {
        if (!std::strcmp(wish, "plain")) best = Isa::plain;
        if (!std::strcmp(wish, "avx2")) best = std::min(best, Isa::avx2);
    }
    return best;
#else
    return Isa::plain;
#endif
}

Isa isa() {
    static const Isa chosen = detect();
    return chosen;
}

template <class Real, class Index>
double run(const Work<Real, Index>& work, const Piece& piece) {
#ifdef DMC_X86_DISPATCH
    if (isa() == Isa::avx512) return run_avx512(work, piece);
    if (isa() == Isa::avx2) return run_avx2(work, piece);
#endif
    return run_plain(work, piece);
}

// Pieces of about equal work, the same for any number of threads; a long line makes several.
template <class Index>
std::vector<Piece> cut(Lines<Index> lines, std::int64_t& segments) {
    const std::int64_t* pointers = lines.pointers;
    std::vector<Piece> pieces;
    for (std::int64_t i = 0; i < lines.count;) {
        if (pointers[i + 1] - pointers[i] > kLongLine) {
            for (std::int64_t e = pointers[i]; e < pointers[i + 1]; e += kLongLine)
                pieces.push_back({i, i + 1, e, std::min(e + kLongLine, pointers[i + 1]), segments++});
            ++i;
            continue;
        }
        std::int64_t end =
            std::lower_bound(pointers + i + 1, pointers + lines.count, pointers[i] + kPieceEntries) - pointers;
        if (end > i + 1 && pointers[end] - pointers[end - 1] > kLongLine) --end;
        pieces.push_back({i, end, pointers[i], pointers[end], -1});
        i = end;
    }
    return pieces;
}

// Widths that the kernel serves without a tail are multiples of this: half a vector, or 16 bytes.
template <class Real>
std::int64_t grain() {
    return (isa() == Isa::avx512 ? 32 : 16) / std::int64_t(sizeof(Real));
}

template <class Real>
std::vector<Real> padded(const Real* matrix, std::int64_t lines, std::int64_t width, std::int64_t wide) {
    std::vector<Real> copy(lines * wide);  // zeros
    for (std::int64_t i = 0; i < lines; ++i) std::copy_n(matrix + i * width, width, copy.data() + i * wide);
    return copy;
}

template <class Real, class Index>
double run_parallel(const Work<Real, Index>& work, int n_threads) {
    const std::int64_t width = work.sides.width, wide = (width + grain<Real>() - 1) / grain<Real>() * grain<Real>();
    if (wide != width) {  // copies cost a pass over the factors; a tail would cost as much for every entry
        const auto own = padded(work.sides.own, work.lines.count, width, wide);
        const auto other = padded(work.sides.other, work.sides.other_lines, width, wide);
        Work<Real, Index> wider = work;
        wider.sides = {own.data(), other.data(), work.sides.other_lines, wide};
        if (!work.target) return run_parallel(wider, n_threads);
        std::vector<Real> d_own(own.size());
        wider.out = d_own.data();
        const double loss = run_parallel(wider, n_threads);
        for (std::int64_t i = 0; i < work.lines.count; ++i)
            std::copy_n(d_own.data() + i * wide, width, work.out + i * width);
        return loss;
    }
    const std::int64_t entries = work.lines.pointers[work.lines.count];
    std::int64_t segments = 0;
    const std::vector<Piece> pieces = cut(work.lines, segments);
    std::vector<Real> partial(work.target ? segments * width : 0);
    Work<Real, Index> whole = work;
    whole.partial = partial.data();
    whole.far = work.sides.other_lines * width * std::int64_t(sizeof(Real)) > kCache;
    std::vector<double> losses(pieces.size(), 0.0);
    if (n_threads <= 0) n_threads = max_threads();
    n_threads =
        int(std::min({std::int64_t(n_threads), std::int64_t(pieces.size()), 1 + entries * width / kWorkOfThread}));
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
    for (std::size_t p = 0; p < pieces.size(); ++p) losses[p] = run(whole, pieces[p]);
    double loss = 0;
    for (double part : losses) loss += part;
    if (work.target)  // in the order of the segments
        for (const Piece& piece : pieces)
            if (piece.segment >= 0)
                for (std::int64_t c = 0; c < width; ++c) {
                    Real& sum = work.out[piece.begin * width + c];
                    sum = (piece.first == work.lines.pointers[piece.begin] ? 0 : sum) +
                          partial[piece.segment * width + c];
                }
    return loss;
}

}  // namespace

template <class Real, class Index>
void masked_product(Lines<Index> lines, Sides<Real> sides, Real* out, int n_threads) {
    run_parallel(Work<Real, Index>{lines, sides, nullptr, nullptr, out, nullptr, false}, n_threads);
}

template <class Real, class Index>
double residual_gradient(Lines<Index> lines, Sides<Real> sides, const Real* target, const Real* weights, Real* d_own,
                         int n_threads) {
    return run_parallel(Work<Real, Index>{lines, sides, target, weights, d_own, nullptr, false}, n_threads);
}

const char* instruction_set() {
    switch (isa()) {
        case Isa::avx512:
            return "avx512";
        case Isa::avx2:
            return "avx2";
        default:
            return "plain";
    }
}

int max_threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

#define DMC_INSTANTIATE(Real, Index)                                                  \
    template void masked_product<Real, Index>(Lines<Index>, Sides<Real>, Real*, int); \
    template double residual_gradient<Real, Index>(Lines<Index>, Sides<Real>, const Real*, const Real*, Real*, int);
DMC_INSTANTIATE(float, std::int32_t)
DMC_INSTANTIATE(float, std::int64_t)
DMC_INSTANTIATE(double, std::int32_t)
DMC_INSTANTIATE(double, std::int64_t)

}  // namespace dmc
