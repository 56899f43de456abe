// The posteriors on the CPU: sums over the entries of a line, and what is made of them.

#include "posterior.h"

#include <algorithm>
#include <vector>

#include "invert.h"
#include "line_sums.h"
#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kDoubles = 8;  // in a vector of the widest registers

struct Work {
    Moments at;
    Prior prior;
    Posterior out;
};

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

// From the sums over a line's entries to its posterior. Returns the line's expected squared error but for Σ value².
struct Finish {
    template <int Bytes>
    static DMC_INLINE double run(const Work& work, const std::int64_t& line, const double* const& sums, Room& room) {
        const std::int64_t d = work.prior.unknowns, stride = room.stride;
        double* a = room.matrix.data();
        using V = Vector<double, Bytes>;
        const double constant = fill<Bytes>(work, line, sums, room);
        double largest = 0;
        for (std::int64_t r = 0; r < d; ++r) largest = std::max(largest, a[r * stride + r]);
        const double scale = 1 / largest;
        for (std::int64_t i = 0; i < d * stride; i += V::lanes) V::store(a + i, scale * V::load(a + i));
        if (stride == 16)
            invert<Bytes, 16 / V::lanes>(a, d, stride, room.pivot.data());
        else
            invert<Bytes, 0>(a, d, stride, room.pivot.data());

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
        auto trace = typename V::type{};
        for (std::int64_t i = 0; i < d * stride; i += V::lanes) {
            double* at = room.covariance.data() + i;
            const auto own = scale * V::load(a + i);
            V::store(a + i, own);
            V::store(at, V::load(at) + own);
            trace += V::load(room.precision.data() + i) * own;
        }
        show<Bytes>(work, line, room, mean);
        // With A m = noise·side + P μ: the quadratic form in the sums is what m and the prior leave of it.
        return constant - linear + (double(d) - sum<double, Bytes>(trace) - pulled) / work.prior.noise[line];
    }

    // The matrix of the line's least squares problem, and beside it the right-hand side. Vectors write more than a
    // row's own numbers; what follows puts it right.
    template <int Bytes>
    static DMC_INLINE double fill(const Work& work, std::int64_t line, const double* sums, Room& room) {
        using V = Vector<double, Bytes>;
        const std::int64_t d = work.prior.unknowns, stride = room.stride;
        const double noise = work.prior.noise[line];
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

}  // namespace

template <class Index>
void posterior(Lines<Index> lines, const float* values, const float* others, Prior prior, Posterior out,
               int n_threads) {
    const Work work{Moments(prior.unknowns), prior, out};
    const std::int64_t size = work.at.size, d = prior.unknowns;
    n_threads = threads_for((lines.entries() + lines.count * d) * size, kWork, n_threads);
    const LineSums<Index> line_sums({lines, values, others, work.at.packed, size}, n_threads);
    const std::vector<Piece>& pieces = line_sums.pieces;

    // Few enough sums of covariances to keep, and the same for any number of threads.
    const std::int64_t groups = std::min<std::int64_t>(pieces.size(), 64);
    std::vector<double> covariances(groups * d * d);
    parallel_for(groups, n_threads, [&](std::int64_t g) {
        Room room(prior, work.at);
        std::vector<double> sums(line_sums.room());
        for (std::size_t p = g * pieces.size() / groups; p < (g + 1) * pieces.size() / groups; ++p) {
            const Piece& piece = pieces[p];
            if (line_sums.goes_on(piece)) continue;
            line_sums.of(p, sums.data());
            for (std::int64_t i = piece.begin; i < piece.end; ++i) {
                const double* own = sums.data() + (i - piece.begin) * size;
                double error = dispatch<Finish>(work, i, own, room);
                for (std::int64_t e = lines.pointers[i]; e < lines.pointers[i + 1]; ++e)
                    error += double(values[e]) * double(values[e]);
                out.errors[i] = error;
            }
        }
        for (std::int64_t r = 0; r < d; ++r)
            std::copy_n(room.covariance.data() + r * room.stride, d, covariances.data() + (g * d + r) * d);
    });
    std::fill_n(out.covariance, d * d, 0.0);
    for (std::int64_t g = 0; g < groups; ++g)
        for (std::int64_t c = 0; c < d * d; ++c) out.covariance[c] += covariances[g * d * d + c];
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
template void posterior<std::int32_t>(Lines<std::int32_t>, const float*, const float*, Prior, Posterior, int);
template void posterior<std::int64_t>(Lines<std::int64_t>, const float*, const float*, Prior, Posterior, int);

}  // namespace dmc
