// The posteriors on the CPU: sums over the entries of a line, and what is made of them.

#include "posterior.h"

#include <algorithm>
#include <vector>

#include "cholesky.h"
#include "line_sums.h"
#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kWidest = sizeof(Wide<double>) / sizeof(double);

struct Work {
    Moments at;
    Prior prior;
    Posterior out;
};

// What a thread needs meanwhile: numbers of a few lines side by side, and the sum of their covariances.
struct Room {
    explicit Room(std::int64_t d)
        : numbers(d * (d + 3) / 2),
          covariance(numbers.size()),
          meanwhile(d),
          side(d),
          expected(d),
          mean(d),
          shown(d + 1) {}

    std::vector<Wide<double>> numbers, covariance, meanwhile, side, expected, mean;
    std::vector<float> shown;
};

// From the sums over the entries of a few lines to their posteriors, a line in each lane. errors: but for Σ value².
struct Finish {
    template <int Bytes>
    static DMC_INLINE int run(const Work& work, const std::int64_t& begin, const std::int64_t& end,
                              const double* const& sums, Room& room) {
        constexpr std::int64_t lanes = Vector<double, Bytes>::lanes;
        for (std::int64_t i = begin; i < end; i += lanes)
            few<Bytes>(work, i, std::min(lanes, end - i), sums + (i - begin) * work.at.size, room);
        return 0;
    }

    template <int Bytes>
    static DMC_INLINE void few(const Work& work, std::int64_t first, std::int64_t count, const double* sums,
                               Room& room) {
        using Systems = Cholesky<double, Bytes>;
        using V = Vector<double, Bytes>;
        using Type = typename V::type;
        constexpr std::int64_t lanes = V::lanes;
        const std::int64_t d = work.prior.unknowns;
        const double* precision = work.prior.precision;
        const Systems systems{d, d + 1, room.numbers.data()->lanes, room.meanwhile.data()->lanes};
        double *side = room.side.data()->lanes, *expected = room.expected.data()->lanes;
        double *mean = room.mean.data()->lanes, noise[lanes], constant[lanes], real[lanes];
        for (std::int64_t i = 0; i < lanes; ++i) {
            const std::int64_t own = std::min(i, count - 1);  // lanes that are left over have the last line once more
            gather(work, sums + own * work.at.size, work.prior.means + (first + own) * d, systems, room, constant, i);
            noise[i] = work.prior.noise[first + own];
            real[i] = i < count;
        }

        const Type precise = V::load(noise);
        double* a = systems.a;
        for (std::int64_t r = 0; r < d; ++r, a += lanes) {
            for (std::int64_t c = r; c < d; ++c, a += lanes) V::store(a, precise * V::load(a) + precision[r * d + c]);
            V::store(a, precise * V::load(side + r * lanes) + product<Bytes>(precision + r * d, expected, d));
        }
        systems.factor();
        systems.solve();
        systems.invert();

        Type linear = {}, pulled = {}, trace = {};
        for (std::int64_t r = 0; r < d; ++r) {
            const Type own = V::load(systems.at(r, d));
            linear += V::load(side + r * lanes) * own;
            for (int i = 0; i < lanes; ++i) mean[r * lanes + i] = float(own[i]);
        }
        const Type counts = V::load(real);
        double* total = room.covariance.data()->lanes;
        for (std::int64_t r = 0; r < d; ++r) {
            pulled += (V::load(mean + r * lanes) - V::load(expected + r * lanes)) *
                      product<Bytes>(precision + r * d, mean, d);
            for (std::int64_t c = r; c < d; ++c, total += kWidest) {
                const Type own = V::load(systems.at(r, c));
                V::store(total, V::load(total) + counts * own);
                trace += (r == c ? 1 : 2) * precision[r * d + c] * own;
            }
        }
        // With A m = noise·side + P μ: the quadratic form in the sums is what m and the prior leave of it.
        const Type errors = V::load(constant) - linear + (double(d) - trace - pulled) / precise;
        for (std::int64_t i = 0; i < count; ++i) {
            if (work.out.errors) work.out.errors[first + i] = errors[i];
            show(work, first + i, systems, room, i);
        }
    }

    // Σ_c row[c] vectors[c].
    template <int Bytes>
    static DMC_INLINE typename Vector<double, Bytes>::type product(const double* row, const double* vectors,
                                                                   std::int64_t count) {
        using V = Vector<double, Bytes>;
        typename V::type sum = {};
        for (std::int64_t c = 0; c < count; ++c) sum += row[c] * V::load(vectors + c * V::lanes);
        return sum;
    }

    // What lane i needs to know of its line.
    template <class Systems>
    static DMC_INLINE void gather(const Work& work, const double* sums, const float* expected, const Systems& systems,
                                  Room& room, double* constant, std::int64_t i) {
        constexpr std::int64_t lanes = Systems::lanes;
        const std::int64_t d = work.prior.unknowns;
        const double *row = sums, *weighted = row + work.at.packed;
        double *a = systems.a + i, *side = room.side.data()->lanes + i, *prior = room.expected.data()->lanes + i;
        for (std::int64_t r = 0; r < d; ++r, ++row, a += lanes) {
            for (std::int64_t c = r; c < d; ++c, a += lanes) *a = *row++;
            side[r * lanes] = weighted[r] - *row;  // the values less the offsets
            prior[r * lanes] = expected[r];
        }
        constant[i] = *row - 2 * weighted[d];  // Σ offset² − 2 Σ offset · value
    }

    // The mean of a line, and the moments of z = (factors, 1, bias): the unknowns with a 1 before the last.
    template <class Systems>
    static DMC_INLINE void show(const Work& work, std::int64_t line, const Systems& systems, Room& room,
                                std::int64_t i) {
        constexpr std::int64_t lanes = Systems::lanes;
        const std::int64_t d = work.prior.unknowns, k = d - 1;
        float *z = room.shown.data(), *mean = work.out.means + line * d;
        for (std::int64_t r = 0; r < d; ++r) z[r] = mean[r] = float(room.mean.data()->lanes[r * lanes + i]);
        const double* a = systems.a + i;
        float *begin = work.out.moments + line * work.at.size, *out = begin;
        for (std::int64_t r = 0; r < k; ++r, a += 2 * lanes) {
            for (std::int64_t c = r; c < k; ++c, a += lanes) *out++ = z[r] * z[c] + float(*a);
            *out++ = z[r];
            *out++ = z[r] * z[k] + float(*a);
        }
        *out++ = 1;
        *out++ = z[k];
        *out++ = z[k] * z[k] + float(*a);
        z[d] = z[k];
        z[k] = 1;
        std::fill(out, begin + work.at.packed, 0.0f);
        out = std::copy_n(z, d + 1, begin + work.at.packed);
        std::fill(out, begin + work.at.size, 0.0f);
    }
};

// out.covariance = the sum of what `finish` adds to a thread's room over all pieces of work, of which it gets some that
// follow each other. They are few enough sums to keep, and the same for any number of threads.
template <class Body>
void sum_covariances(const Work& work, std::int64_t pieces, int n_threads, const Body& finish) {
    const std::int64_t groups = std::min<std::int64_t>(pieces, 64), d = work.prior.unknowns;
    const std::int64_t triangle = d * (d + 1) / 2;
    std::vector<double> covariances(groups * triangle);
    parallel_for(groups, n_threads, [&](std::int64_t g) {
        Room room(d);
        finish(g * pieces / groups, (g + 1) * pieces / groups, room);
        for (std::int64_t t = 0; t < triangle; ++t)
            for (const double of_lane : room.covariance[t].lanes) covariances[g * triangle + t] += of_lane;
    });
    double* sum = work.out.covariance;
    std::fill_n(sum, d * d, 0.0);
    for (std::int64_t g = 0, t = 0; g < groups; ++g)
        for (std::int64_t r = 0; r < d; ++r)
            for (std::int64_t c = r; c < d; ++c, ++t) sum[r * d + c] += covariances[t];
    for (std::int64_t r = 0; r < d; ++r)
        for (std::int64_t c = 0; c < r; ++c) sum[r * d + c] = sum[c * d + r];
}

}  // namespace

template <class Index>
void posterior(Lines<Index> lines, const float* values, const float* weights, const float* others, Prior prior,
               Posterior out, int n_threads) {
    const Work work{Moments(prior.unknowns), prior, out};
    const std::int64_t size = work.at.size, d = prior.unknowns;
    n_threads = threads_for((lines.entries() + lines.count * d) * size, kWork, n_threads);
    const LineSums<Index> line_sums({lines, values, weights, others, work.at.packed, size}, n_threads);
    const std::vector<Piece>& pieces = line_sums.pieces;
    sum_covariances(work, pieces.size(), n_threads, [&](std::int64_t begin, std::int64_t end, Room& room) {
        std::vector<double> of_piece(line_sums.room());
        for (std::int64_t p = begin; p < end; ++p) {
            const Piece& piece = pieces[p];
            if (line_sums.goes_on(piece)) continue;
            line_sums.of(p, of_piece.data());
            const double* sums = of_piece.data();
            dispatch<Finish>(work, piece.begin, piece.end, sums, room);
            for (std::int64_t i = piece.begin; i < piece.end; ++i)
                for (std::int64_t e = lines.pointers[i]; e < lines.pointers[i + 1]; ++e)
                    out.errors[i] += double(values[e]) * double(values[e]) / (weights ? double(weights[e]) : 1.0);
        }
    });
}

void posterior_of_sums(std::int64_t count, const float* sums, Prior prior, Posterior out, int n_threads) {
    const Work work{Moments(prior.unknowns), prior, out};
    const std::int64_t size = work.at.size, batch = lines_of_batch(size), pieces = (count + batch - 1) / batch;
    n_threads = threads_for(count * prior.unknowns * size, kWork, n_threads);
    sum_covariances(work, pieces, n_threads, [&](std::int64_t first, std::int64_t last, Room& room) {
        std::vector<double> of_piece(batch * size);
        for (std::int64_t p = first; p < last; ++p) {
            const std::int64_t begin = p * batch, end = std::min(count, begin + batch);
            std::copy(sums + begin * size, sums + end * size, of_piece.data());
            const double* exact = of_piece.data();
            dispatch<Finish>(work, begin, end, exact, room);
        }
    });
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
void line_sums(Lines<Index> lines, const float* values, const float* weights, const float* vectors, std::int64_t packed,
               std::int64_t width, float* out, int n_threads) {
    n_threads = threads_for((lines.entries() - lines.pointers[0]) * width, kWork, n_threads);
    const LineSums<Index> line_sums({lines, values, weights, vectors, packed, width}, n_threads);
    parallel_for(std::int64_t(line_sums.pieces.size()), n_threads, [&](std::int64_t p) {
        const Piece& piece = line_sums.pieces[p];
        if (line_sums.goes_on(piece)) return;
        std::vector<double> sums(line_sums.room());
        line_sums.of(p, sums.data());
        std::copy_n(sums.data(), (piece.end - piece.begin) * width, out + piece.begin * width);
    });
}

template void line_sums<std::int32_t>(Lines<std::int32_t>, const float*, const float*, const float*, std::int64_t,
                                      std::int64_t, float*, int);
template void line_sums<std::int64_t>(Lines<std::int64_t>, const float*, const float*, const float*, std::int64_t,
                                      std::int64_t, float*, int);
template void posterior<std::int32_t>(Lines<std::int32_t>, const float*, const float*, const float*, Prior, Posterior,
                                      int);
template void posterior<std::int64_t>(Lines<std::int64_t>, const float*, const float*, const float*, Prior, Posterior,
                                      int);

}  // namespace dmc
