// The masked product on the CPU: one line at a time stays in registers while the other side is gathered.

#include <algorithm>
#include <type_traits>

#include "masked_product.h"
#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kPieceEntries = 4096, kLongLine = 8 * kPieceEntries;
constexpr std::int64_t kAhead = 48;       // entries between the fetch of a line and its use
constexpr std::int64_t kCache = 1 << 20;  // bytes, about those of the second level
// Products of numbers for which a further thread is woken: a quarter of a millisecond's, waking and waiting costs some
// of it, and idle threads spin for a while beside whatever runs between two calls.
constexpr std::int64_t kWorkOfThread = 1 << 20;

// What is gathered at a time: a vector, or the pair of vectors that bfloat16 come as. Lines are cut into such units.
template <class Real, class Stored, int Bytes>
struct Unit {
    static constexpr int vectors = 1;
    typename Vector<Real, Bytes>::type part[vectors];
    explicit DMC_INLINE Unit(const Real* p) : part{Vector<Real, Bytes>::load(p)} {}
};

template <int Bytes>
struct Unit<float, bfloat16, Bytes> {
    static constexpr int vectors = 2;
    typename Vector<float, Bytes>::type part[vectors];
    explicit DMC_INLINE Unit(const bfloat16* p) {
        const Pair<Bytes> pair(p);
        part[0] = pair.first, part[1] = pair.second;
    }
};

// One own line and its gradient: Blocks units held in registers (-1: as many as the width has, held in memory), then
// half a unit if Half. There is no tail of single numbers: `padded_width` sees to it that the width is a multiple of a
// half.
template <class Real, class Stored, int Bytes, int Blocks, bool Half>
struct Line {
    using V = Vector<Real, Bytes>;
    using H = Vector<Real, Half ? Bytes / 2 : Bytes>;
    using Whole = Unit<Real, Stored, Bytes>;
    using Part = Unit<Real, Stored, Half ? Bytes / 2 : Bytes>;
    static constexpr int vectors = Whole::vectors, unit = vectors * V::lanes;
    static constexpr int kept = Blocks > 0 ? Blocks * vectors : 1;
    std::int64_t width;
    const Real* own = nullptr;
    Real* d_own = nullptr;
    typename V::type accumulated[kept] = {};
    typename H::type accumulated_half[vectors] = {};

    DMC_INLINE std::int64_t blocks() const { return Blocks >= 0 ? Blocks : width / unit; }

    DMC_INLINE void begin() {
        for (auto& sum : accumulated) sum = typename V::type{};
        for (auto& sum : accumulated_half) sum = typename H::type{};
        if constexpr (Blocks < 0) std::fill_n(d_own, width, Real(0));
    }

    DMC_INLINE Real dot(const Stored* other) const {
        typename V::type acc[2] = {};  // of every second vector
        std::int64_t u = 0;
        for (; u + 2 / vectors <= blocks(); u += 2 / vectors)
            for (int s = 0; s < 2 / vectors; ++s) add_product(other, u + s, acc + s);
        if (vectors == 1 && u < blocks()) add_product(other, u, acc);
        if constexpr (Half) {
            const Part part(other + blocks() * unit);
            auto folded = H::load(own + blocks() * unit) * part.part[0];
            if constexpr (vectors == 2) folded += H::load(own + blocks() * unit + H::lanes) * part.part[1];
            return sum<Real, Bytes / 2>(Blocks ? folded + fold<Real, Bytes>(acc[0] + acc[1]) : folded);
        } else {
            return sum<Real, Bytes>(acc[0] + acc[1]);
        }
    }

    // acc[…] += the products of unit u, one for each of its vectors.
    DMC_INLINE void add_product(const Stored* other, std::int64_t u, typename V::type* acc) const {
        const Whole whole(other + u * unit);
        for (int p = 0; p < vectors; ++p) acc[p] += V::load(own + u * unit + p * V::lanes) * whole.part[p];
    }

    DMC_INLINE void add_scaled(Real scale, const Stored* other) {
        for (std::int64_t u = 0; u < blocks(); ++u) {
            const Whole whole(other + u * unit);
            for (int p = 0; p < vectors; ++p) {
                if constexpr (Blocks >= 0) {
                    accumulated[u * vectors + p] += scale * whole.part[p];
                } else {
                    Real* sum = d_own + u * unit + p * V::lanes;
                    V::store(sum, V::load(sum) + scale * whole.part[p]);
                }
            }
        }
        if constexpr (Half) {
            const Part part(other + blocks() * unit);
            for (int p = 0; p < vectors; ++p) accumulated_half[p] += scale * part.part[p];
        }
    }

    DMC_INLINE void end() {
        if constexpr (Blocks > 0)
            for (int v = 0; v < kept; ++v) V::store(d_own + v * V::lanes, accumulated[v]);
        if constexpr (Half)
            for (int p = 0; p < vectors; ++p) H::store(d_own + blocks() * unit + p * H::lanes, accumulated_half[p]);
    }
};

// Units of a line's gradient that fit into registers with room to spare; twice as many still do.
template <class Real, class Stored>
constexpr int kUnits = std::is_same_v<Real, Stored> ? 8 : 4;

// A pass over the entries: their products, or for each line the sum of the others' lines times residuals, or, without
// a product (Sums), times weights.
template <bool Sums, class Real, class Stored, class Index>
struct Work {
    Lines<Index> lines;
    std::int64_t width;       // a multiple of the padding's grain
    const Real* own;          // (lines, width); not of Sums
    const Stored* other;      // (other_lines, width)
    const Real* target;       // null: all zero
    const Real* weights;      // null: all one
    Real* products;           // (entries), or null: the sums are wanted
    Real* sums;               // (lines, width)
    Real* partial = nullptr;  // those of the segments of long lines (segments, width)
    bool far = false;         // the other side exceeds the cache: its lines are fetched ahead
};

template <int Bytes, int Blocks, bool Half, bool Sums, class Real, class Stored, class Index>
DMC_INLINE double run_lines(const Work<Sums, Real, Stored, Index>& work, const Piece& piece) {
    using Own = Line<Real, Stored, Bytes, Blocks, Half>;
    // A constant, where a case is one of a single width.
    const std::int64_t width = Blocks >= 0 ? Own::unit * (2 * Blocks + Half) / 2 : work.width;
    const std::int64_t bytes = width * std::int64_t(sizeof(Stored));
    Own line;
    line.width = width;
    double loss = 0;
    for (std::int64_t i = piece.begin; i < piece.end; ++i) {
        const std::int64_t first = std::max(work.lines.pointers[i], piece.first),
                           last = std::min(work.lines.pointers[i + 1], piece.last);
        if constexpr (!Sums) line.own = work.own + i * width;
        if (!work.products) {
            line.d_own = piece.segment < 0 ? work.sums + i * width : work.partial + piece.segment * width;
            line.begin();
        }
        for (std::int64_t e = first; e < last; ++e) {
            const Stored* other = work.other + work.lines.indices[e] * width;
            const Real product = Sums ? Real(1) : line.dot(other);
            if (work.far && e + kAhead < piece.last) {  // here and not before the product: its loads would wait
                const char* ahead = reinterpret_cast<const char*>(work.other + work.lines.indices[e + kAhead] * width);
                // To the second level: the first has too few lines under way for wide factors.
                for (std::int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(ahead + b, 0, 2);
            }
            if (!Sums && work.products) {
                work.products[e] = product;
                continue;
            }
            const Real residual = !Sums && work.target ? product - work.target[e] : product;
            const Real scaled = work.weights ? work.weights[e] * residual : residual;
            if constexpr (!Sums) loss += 0.5 * double(scaled) * double(residual);
            line.add_scaled(scaled, other);
        }
        if (!work.products) line.end();
    }
    return loss;
}

std::int64_t vector_bytes() { return isa() == Isa::avx512 ? 64 : isa() == Isa::avx2 ? 32 : 16; }

template <class Real, class Stored>
std::int64_t unit_of() {
    return vector_bytes() / std::int64_t(sizeof(Real)) * (std::is_same_v<Real, Stored> ? 1 : 2);
}

// The kernel of one width, Blocks units and perhaps half a one: a function of its own, for all of them in one would
// take the compiler longer than one by one.
template <int Blocks, bool Half>
struct OfWidth {
    template <int Bytes, class AnyWork>
    static DMC_INLINE double run(const AnyWork& work, const Piece& piece) {
        if constexpr (Half && Bytes == 16) {
            return 0;  // never asked for: see `padded_width`
        } else {
            return run_lines<Bytes, Blocks, Half>(work, piece);
        }
    }
};

// A case for every number of units up to kUnits, and for every second one up to twice as many: see `padded_width`.
// Indices of eight bytes, which only sides of 2³¹ lines need, have one case for all.
template <bool Half, int Blocks = 1 - Half, bool Sums, class Real, class Stored, class Index>
double run_width(const Work<Sums, Real, Stored, Index>& work, const Piece& piece, std::int64_t units) {
    constexpr int most = kUnits<Real, Stored>;
    if constexpr (sizeof(Index) > 4 || Blocks > (Half ? most : 2 * most)) {
        return dispatch<OfWidth<-1, Half>>(work, piece);
    } else {
        if (units == Blocks) return dispatch<OfWidth<Blocks, Half>>(work, piece);
        return run_width<Half, Blocks + (Blocks < most || Half ? 1 : 2)>(work, piece, units);
    }
}

template <bool Sums, class Real, class Stored, class Index>
double run_piece(const Work<Sums, Real, Stored, Index>& work, const Piece& piece) {
    const std::int64_t unit = unit_of<Real, Stored>(), units = work.width / unit;
    return work.width % unit ? run_width<true>(work, piece, units) : run_width<false>(work, piece, units);
}

template <bool Sums, class Real, class Stored, class Index>
double run_parallel(Work<Sums, Real, Stored, Index> work, int n_threads) {
    const std::vector<Piece>& pieces = *work.lines.pieces;
    const std::int64_t width = work.width;
    std::int64_t segments = 0;
    for (const Piece& piece : pieces) segments = std::max(segments, piece.segment + 1);
    std::vector<Real> partial(work.products ? 0 : segments * width);
    work.partial = partial.data();
    work.far = work.lines.other_lines * width * std::int64_t(sizeof(Stored)) > kCache;
    std::vector<double> losses(pieces.size(), 0.0);
    parallel_for(std::int64_t(pieces.size()), threads_for(work.lines.entries() * width, kWorkOfThread, n_threads),
                 [&](std::int64_t p) { losses[p] = run_piece(work, pieces[p]); });
    double loss = 0;
    for (double part : losses) loss += part;
    if (!work.products)  // in the order of the segments
        for (const Piece& piece : pieces)
            if (piece.segment >= 0)
                for (std::int64_t c = 0; c < width; ++c) {
                    Real& sum = work.sums[piece.begin * width + c];
                    sum = (piece.first == work.lines.pointers[piece.begin] ? 0 : sum) +
                          partial[piece.segment * width + c];
                }
    return loss;
}

struct ToPairs {
    template <int Bytes>
    static DMC_INLINE int run(const float* line, const std::int64_t& width, bfloat16* out) {
        using V = Vector<float, Bytes>;
        std::int64_t c = 0;
        for (; c + 2 * V::lanes <= width; c += 2 * V::lanes)
            Pair<Bytes>(V::load(line + c), V::load(line + c + V::lanes)).store(out + c);
        if constexpr (Bytes > 16) {
            using H = Vector<float, Bytes / 2>;
            if (c < width) Pair<Bytes / 2>(H::load(line + c), H::load(line + c + H::lanes)).store(out + c);
        }
        return 0;
    }
};

// A matrix in the form and width in which the kernel takes it: itself where it has them already. What is gathered from
// beyond the cache has to start at a cache line, as NumPy's arrays do not: every line would touch one more.
template <class Real, class Stored>
class Prepared {
  public:
    Prepared(Pool& pool, const Real* matrix, std::int64_t lines, std::int64_t width, std::int64_t wide, bool gathered,
             int n_threads) {
        if constexpr (std::is_same_v<Real, Stored>)
            if (width == wide && !(gathered && lines * wide * std::int64_t(sizeof(Real)) > kCache &&
                                   reinterpret_cast<std::uintptr_t>(matrix) % 64)) {
                data_ = matrix;
                return;
            }
        copy_ = Buffer<Stored>(pool, lines * wide);
        data_ = copy_.data();
        constexpr std::int64_t chunk = 4096;
        parallel_for((lines + chunk - 1) / chunk, threads_for(lines * wide, kWorkOfThread, n_threads),
                     [&](std::int64_t c) {
                         std::vector<Real> line(wide);
                         for (std::int64_t i = c * chunk; i < std::min((c + 1) * chunk, lines); ++i) {
                             Stored* out = copy_.data() + i * wide;
                             if constexpr (std::is_same_v<Real, Stored>) {
                                 std::copy_n(matrix + i * width, width, out);
                                 std::fill(out + width, out + wide, Real(0));
                             } else {
                                 std::copy_n(matrix + i * width, width, line.data());
                                 const Real* from = line.data();
                                 dispatch<ToPairs>(from, wide, out);
                             }
                         }
                     });
    }

    const Stored* data() const { return data_; }

  private:
    Buffer<Stored> copy_;
    const Stored* data_;
};

// A pass over the entries, of matrices of any width.
template <bool Sums, class Real, class Stored, class Index>
double run(Lines<Index> lines, Sides<Real> sides, const Real* target, const Real* weights, Real* products, Real* sums,
           int n_threads) {
    if (!sums && !lines.entries()) return 0;  // no products: where they should go may be null
    // Copies cost a pass over the factors; a tail would cost as much for every entry.
    const std::int64_t width = sides.width, wide = padded_width<Real, Stored>(width);
    const Prepared<Real, Real> own(*lines.pool, sides.own, Sums ? 0 : lines.count, width, wide, false, n_threads);
    const Prepared<Real, Stored> other(*lines.pool, sides.other, lines.other_lines, width, wide, true, n_threads);
    Buffer<Real> wide_sums;
    if (sums && wide != width) wide_sums = Buffer<Real>(*lines.pool, lines.count * wide);
    Real* to = wide_sums ? wide_sums.data() : sums;
    const double loss = run_parallel(
        Work<Sums, Real, Stored, Index>{lines, wide, own.data(), other.data(), target, weights, products, to},
        n_threads);
    if (wide_sums)
        for (std::int64_t i = 0; i < lines.count; ++i) std::copy_n(to + i * wide, width, sums + i * width);
    return loss;
}

}  // namespace

template <class Real, class Stored>
std::int64_t padded_width(std::int64_t width) {
    const std::int64_t unit = unit_of<Real, Stored>();
    // Half a unit, but no less than 16 bytes.
    std::int64_t grain = vector_bytes() == 16 ? unit : unit / 2;
    if (width > kUnits<Real, Stored> * unit) grain = 2 * unit;
    return (width + grain - 1) / grain * grain;
}

std::vector<Piece> cut(std::int64_t count, const std::int64_t* pointers) {
    std::vector<Piece> pieces;
    std::int64_t segments = 0;
    for (std::int64_t i = 0; i < count;) {
        if (pointers[i + 1] - pointers[i] > kLongLine) {
            for (std::int64_t e = pointers[i]; e < pointers[i + 1]; e += kLongLine)
                pieces.push_back({i, i + 1, e, std::min(e + kLongLine, pointers[i + 1]), segments++});
            ++i;
            continue;
        }
        std::int64_t end = std::lower_bound(pointers + i + 1, pointers + count, pointers[i] + kPieceEntries) - pointers;
        if (end > i + 1 && pointers[end] - pointers[end - 1] > kLongLine) --end;
        pieces.push_back({i, end, pointers[i], pointers[end], -1});
        i = end;
    }
    return pieces;
}

template <class Real, class Index>
void masked_product(Lines<Index> lines, Sides<Real> sides, Real* out, int n_threads) {
    run<false, Real, Real>(lines, sides, nullptr, nullptr, out, nullptr, n_threads);
}

template <class Real, class Stored, class Index>
double residual_gradient(Lines<Index> lines, Sides<Real> sides, const Real* target, const Real* weights, Real* d_own,
                         int n_threads) {
    return run<false, Real, Stored>(lines, sides, target, weights, nullptr, d_own, n_threads);
}

template <class Real, class Index>
void weighted_sums(Lines<Index> lines, const Real* other, std::int64_t width, const Real* coefficients, Real* out,
                   int n_threads) {
    run<true, Real, Real>(lines, Sides<Real>{nullptr, other, width}, nullptr, coefficients, nullptr, out, n_threads);
}

#define DMC_GRADIENT(Real, Stored, Index)                                                                              \
    template double residual_gradient<Real, Stored, Index>(Lines<Index>, Sides<Real>, const Real*, const Real*, Real*, \
                                                           int);
#define DMC_INSTANTIATE(Real, Index)                                                                            \
    template void masked_product<Real, Index>(Lines<Index>, Sides<Real>, Real*, int);                           \
    template void weighted_sums<Real, Index>(Lines<Index>, const Real*, std::int64_t, const Real*, Real*, int); \
    DMC_GRADIENT(Real, Real, Index)
DMC_INSTANTIATE(float, std::int32_t)
DMC_INSTANTIATE(float, std::int64_t)
DMC_INSTANTIATE(double, std::int32_t)
DMC_INSTANTIATE(double, std::int64_t)
template std::int64_t padded_width<float, float>(std::int64_t);
template std::int64_t padded_width<double, double>(std::int64_t);
template std::int64_t padded_width<float, bfloat16>(std::int64_t);
DMC_GRADIENT(float, bfloat16, std::int32_t)
DMC_GRADIENT(float, bfloat16, std::int64_t)

}  // namespace dmc
