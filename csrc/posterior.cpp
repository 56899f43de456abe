// The posteriors on the CPU. Moments are summed a few registers at a time, in float32 over a tile of entries and then
// in float64: the sums of a long line would lose what tells its directions apart.

#include "posterior.h"

#include <algorithm>
#include <vector>

#include "invert.h"
#include "parallel.h"

namespace dmc {
namespace {

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
constexpr std::int64_t kDoubles = 8;      // in a vector of the widest registers

// What is summed over the entries of lines: the others' vectors, the numbers from `packed` on times the entry's value.
template <class Index>
struct Gather {
    Lines<Index> lines;
    const float* values;  // (entries), where there are such numbers
    const float* others;  // (other_lines, size)
    std::int64_t packed, size;
};

struct Work {
    Moments at;
    Prior prior;
    Posterior out;
};

// Entries first … last−1, added one after the other; moments are fetched ahead for those before `fetched`.
struct Range {
    std::int64_t first, last, fetched;
};

std::int64_t lines_of_batch(std::int64_t size) { return std::clamp<std::int64_t>(kSums / size, 1, kBatch); }

// What a thread needs meanwhile. Whole vectors are read and written, so that each has room for one behind its last
// number.
struct Room {
    Room(const Prior& prior, const Moments& at)
        : stride((prior.unknowns + kDoubles) / kDoubles * kDoubles),
          wide(Moments::up(at.shown)),
          precision(prior.unknowns * stride),
          matrix((prior.unknowns + 1) * stride),
          pivot(stride),
          covariance(prior.unknowns * stride),
          side(stride),
          shown(2 * wide),
          known((at.shown + 1) * wide),
          packed(at.size + wide) {
        for (std::int64_t r = 0; r < prior.unknowns; ++r)
            std::copy_n(prior.precision + r * prior.unknowns, prior.unknowns, precision.data() + r * stride);
    }

    std::int64_t stride;  // of the matrices: at least one more than the unknowns
    std::int64_t wide;    // of what is known of a shown vector
    std::vector<double> precision, matrix, pivot, covariance, side;
    std::vector<float> shown, known, packed;
};

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

// sums[c …] += Σ_e scale_e others[j_e][c …] from c on: Plain vectors whose scale is one, then Scaled ones whose scale
// is the value of the entry.
template <int Bytes, int Plain, int Scaled, class Index>
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
            for (int u = 0; u < Plain; ++u) acc[u] += V::load(other + u * V::lanes);
            for (int u = Plain; u < units; ++u) acc[u] += from.values[e] * V::load(other + u * V::lanes);
        }
        for (int u = 0; u < units; ++u) add_to<Bytes>(acc[u], sums + c + u * V::lanes);
    }
}

// The last vectors: those that are not scaled, at most Plain of them, and all that are. One pass over the entries takes
// them together, for to gather them costs more than to add them.
template <int Bytes, int Plain, class Index>
DMC_INLINE void add_last(const Gather<Index>& from, Range entries, std::int64_t c, double* sums) {
    constexpr int lanes = Vector<float, Bytes>::lanes, grain = int(kGrain) / lanes;
    if constexpr (Plain > 0) {
        if (c + (Plain - 1) * lanes >= from.packed) return add_last<Bytes, Plain - 1>(from, entries, c, sums);
        if (from.packed == from.size) return add_units<Bytes, Plain, 0>(from, entries, c, sums);
    }
    add_units<Bytes, Plain, grain>(from, entries, c, sums);
    for (c += (Plain + grain) * lanes; c < from.size; c += kGrain) add_units<Bytes, 0, grain>(from, entries, c, sums);
}

// sums += what is gathered over some entries of a line.
template <int Bytes, class Index>
DMC_INLINE void add(const Gather<Index>& from, Range entries, double* sums) {
    constexpr std::int64_t step = kUnits * Vector<float, Bytes>::lanes;
    std::int64_t c = 0;
    for (; c + step < from.packed; c += step) add_units<Bytes, kUnits, 0>(from, entries, c, sums);
    add_last<Bytes, kUnits>(from, entries, c, sums);
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

// From the sums over a line's entries to its posterior. Returns what the line alone adds to the expected squared error;
// Σ value² and the covariances' part are added for all lines at once.
struct Finish {
    template <int Bytes>
    static DMC_INLINE double run(const Work& work, const std::int64_t& line, const double* const& sums, Room& room) {
        const std::int64_t d = work.prior.unknowns, stride = room.stride;
        double* a = room.matrix.data();
        const double constant = fill<Bytes>(work, line, sums, room);
        if (stride == 16)
            invert<Bytes, 16 / Vector<double, Bytes>::lanes>(a, d, stride, room.pivot.data());
        else
            invert<Bytes, 0>(a, d, stride, room.pivot.data());

        using V = Vector<double, Bytes>;
        const float* expected = work.prior.means + line * d;
        float* mean = work.out.means + line * d;
        double linear = 0, pulled = 0;
        for (std::int64_t r = 0; r < d; ++r) {
            const double own = a[r * stride + d];
            mean[r] = float(own);
            linear += room.side[r] * own;
            a[r * stride + d] = 0;
        }
        for (std::int64_t c = 0; c < stride; c += V::lanes) {
            auto sum = typename V::type{};
            for (std::int64_t r = 0; r < d; ++r)
                sum += double(mean[r]) * V::load(room.precision.data() + r * stride + c);
            for (std::int64_t i = 0; i < V::lanes && c + i < d; ++i)
                pulled += sum[i] * (double(mean[c + i]) - double(expected[c + i]));
        }
        for (std::int64_t i = 0; i < d * stride; i += V::lanes) {
            double* at = room.covariance.data() + i;
            V::store(at, V::load(at) + V::load(a + i));
        }
        show<Bytes>(work, line, room, mean);
        // With A m = noise·side + P μ: the quadratic form in the sums is what m and the prior leave of it.
        return constant - linear - pulled / work.prior.noise;
    }

    // The matrix of the line's least squares problem, and beside it the right-hand side. Vectors write more than a
    // row's own numbers; what follows puts it right.
    template <int Bytes>
    static DMC_INLINE double fill(const Work& work, std::int64_t line, const double* sums, Room& room) {
        using V = Vector<double, Bytes>;
        const std::int64_t d = work.prior.unknowns, stride = room.stride;
        const double noise = work.prior.noise;
        const double *row = sums, *weighted = row + work.at.packed;
        const float* expected = work.prior.means + line * d;
        double* a = room.matrix.data();
        for (std::int64_t c = 0; c < stride; c += V::lanes) {
            auto sum = typename V::type{};
            for (std::int64_t r = 0; r < d; ++r)
                sum += double(expected[r]) * V::load(room.precision.data() + r * stride + c);
            V::store(room.pivot.data() + c, sum);
        }
        for (std::int64_t r = 0; r < d; ++r) {
            room.side[r] = weighted[r] - row[d - r];  // the values less the offsets
            for (std::int64_t c = r; c < d; c += V::lanes) V::store(a + r * stride + c, noise * V::load(row + c - r));
            row += d + 1 - r;
        }
        for (std::int64_t r = 0; r < d; ++r) {
            for (std::int64_t c = 0; c < r; ++c) a[r * stride + c] = a[c * stride + r];
            for (std::int64_t c = d; c < stride; ++c) a[r * stride + c] = 0;
        }
        for (std::int64_t i = 0; i < d * stride; i += V::lanes)
            V::store(a + i, V::load(a + i) + V::load(room.precision.data() + i));
        for (std::int64_t r = 0; r < d; ++r) a[r * stride + d] = noise * room.side[r] + room.pivot[r];
        return *row - 2 * weighted[d];  // Σ offset² − 2 Σ offset · value
    }

    // The moments of z = (factors, 1, bias): the unknowns with a 1 before the last.
    template <int Bytes>
    static DMC_INLINE void show(const Work& work, std::int64_t line, Room& room, const float* mean) {
        using V = Vector<float, Bytes>;
        using D = Vector<double, Bytes>;
        const std::int64_t k = work.prior.unknowns - 1, stride = room.stride, wide = room.wide, shown = work.at.shown;
        float *z = room.shown.data(), *known = room.known.data();
        std::copy_n(mean, k, z);
        z[k] = 1;
        z[k + 1] = mean[k];
        for (std::int64_t r = 0; r <= k; ++r) {
            const double* from = room.matrix.data() + r * stride;
            float* to = known + (r < k ? r : k + 1) * wide;
            for (std::int64_t c = 0; c < stride; c += D::lanes) {
                const auto half = __builtin_convertvector(D::load(from + c), typename Vector<float, Bytes / 2>::type);
                std::memcpy(to + c, &half, sizeof half);
            }
        }
        for (std::int64_t r = 0; r <= k + 1; ++r) {
            float* to = known + r * wide;
            to[k + 1] = to[k];
            to[k] = 0;
        }
        float *packed = room.packed.data(), *out = packed;
        for (std::int64_t r = 0; r < shown; ++r) {
            for (std::int64_t c = r; c < shown; c += V::lanes)
                V::store(out + c - r, z[r] * V::load(z + c) + V::load(known + r * wide + c));
            out += shown - r;
        }
        std::fill(out, packed + work.at.packed, 0.0f);
        std::copy_n(z, shown, packed + work.at.packed);
        std::fill(packed + work.at.packed + shown, packed + work.at.size, 0.0f);
        std::copy_n(packed, work.at.size, work.out.moments + line * work.at.size);
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
        const std::int64_t share = pointers[count] / kPieces, enough = kTimes * from_.lines.other_lines;
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

}  // namespace

template <class Index>
double posterior(Lines<Index> lines, const float* values, const float* others, Prior prior, Posterior out,
                 int n_threads) {
    const Work work{Moments(prior.unknowns), prior, out};
    const std::int64_t size = work.at.size, d = prior.unknowns;
    n_threads = threads_for((lines.entries() + lines.count * d) * size, kWork, n_threads);
    const LineSums<Index> line_sums({lines, values, others, work.at.packed, size}, n_threads);
    const std::vector<Piece>& pieces = line_sums.pieces;

    // Few enough sums of covariances to keep, and the same for any number of threads.
    const std::int64_t groups = std::min<std::int64_t>(pieces.size(), 64);
    std::vector<double> covariances(groups * d * d), errors(groups);
    parallel_for(groups, n_threads, [&](std::int64_t g) {
        Room room(prior, work.at);
        std::vector<double> sums(line_sums.room());
        double error = 0;
        for (std::size_t p = g * pieces.size() / groups; p < (g + 1) * pieces.size() / groups; ++p) {
            const Piece& piece = pieces[p];
            if (line_sums.goes_on(piece)) continue;
            line_sums.of(p, sums.data());
            for (std::int64_t i = piece.begin; i < piece.end; ++i) {
                const double* own = sums.data() + (i - piece.begin) * size;
                error += dispatch<Finish>(work, i, own, room);
            }
            for (std::int64_t e = lines.pointers[piece.begin]; e < lines.pointers[piece.end]; ++e)
                error += double(values[e]) * double(values[e]);
        }
        errors[g] = error;
        for (std::int64_t r = 0; r < d; ++r)
            std::copy_n(room.covariance.data() + r * room.stride, d, covariances.data() + (g * d + r) * d);
    });
    std::fill_n(out.covariance, d * d, 0.0);
    double error = 0, trace = double(lines.count) * double(d);
    for (std::int64_t g = 0; g < groups; ++g) {
        error += errors[g];
        for (std::int64_t c = 0; c < d * d; ++c) out.covariance[c] += covariances[g * d * d + c];
    }
    for (std::int64_t c = 0; c < d * d; ++c) trace -= prior.precision[c] * out.covariance[c];
    return error + trace / prior.noise;
}

void moments_of(std::int64_t lines, std::int64_t unknowns, const float* means, float* moments, int n_threads) {
    const Moments at(unknowns);
    constexpr std::int64_t chunk = 1024;
    parallel_for((lines + chunk - 1) / chunk, threads_for(lines * at.size, kWork, n_threads), [&](std::int64_t piece) {
        std::vector<float> z(at.shown);
        for (std::int64_t i = piece * chunk; i < std::min((piece + 1) * chunk, lines); ++i) {
            const float* mean = means + i * unknowns;
            float* out = moments + i * at.size;
            std::copy_n(mean, unknowns - 1, z.data());
            z[unknowns - 1] = 1;
            z[unknowns] = mean[unknowns - 1];
            std::fill_n(out, at.size, 0.0f);
            std::copy(z.begin(), z.end(), out + at.packed);
            for (std::int64_t r = 0; r < at.shown; ++r)
                for (std::int64_t c = r; c < at.shown; ++c) *out++ = z[r] * z[c];
        }
    });
}

template <class Index>
void line_sums(Lines<Index> lines, const float* vectors, std::int64_t width, float* out, int n_threads) {
    n_threads = threads_for(lines.entries() * width, kWork, n_threads);
    const LineSums<Index> line_sums({lines, nullptr, vectors, width, width}, n_threads);
    parallel_for(std::int64_t(line_sums.pieces.size()), n_threads, [&](std::int64_t p) {
        const Piece& piece = line_sums.pieces[p];
        if (line_sums.goes_on(piece)) return;
        std::vector<double> sums(line_sums.room());
        line_sums.of(p, sums.data());
        std::copy_n(sums.data(), (piece.end - piece.begin) * width, out + piece.begin * width);
    });
}

template void line_sums<std::int32_t>(Lines<std::int32_t>, const float*, std::int64_t, float*, int);
template void line_sums<std::int64_t>(Lines<std::int64_t>, const float*, std::int64_t, float*, int);
template double posterior<std::int32_t>(Lines<std::int32_t>, const float*, const float*, Prior, Posterior, int);
template double posterior<std::int64_t>(Lines<std::int64_t>, const float*, const float*, Prior, Posterior, int);

}  // namespace dmc
