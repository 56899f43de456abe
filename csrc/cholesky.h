// Cholesky's factorisation, without its roots, of small symmetric positive definite matrices: as many at a time as a
// vector has lanes, one in each, so that no size leaves lanes idle. What becomes of a matrix does not depend on those
// beside it.
#pragma once

#include <cstdint>
#include <limits>

#include "vectors.h"

namespace dmc {

// One number of as many matrices as the widest vectors have lanes: room that is aligned for them.
template <class Real>
struct alignas(64) Wide {
    Real lanes[64 / sizeof(Real)];
};

// A = Uᵀ D⁻¹ U with the pivots D on the diagonal of U. Kept are the rows of the upper triangle, one after the other,
// each with what stands behind column k−1: nothing, or the right-hand side as column k. Number t of the matrix in lane
// i is a[t · lanes + i]. `room` holds wide · lanes numbers.
template <class Real, int Bytes>
struct Cholesky {
    using V = Vector<Real, Bytes>;
    using Type = typename V::type;
    static constexpr int lanes = V::lanes;
    static constexpr int kUnits = 8;  // vectors summed in registers

    std::int64_t k, wide;  // wide: k, or k + 1 with a right-hand side
    Real *a, *room;

    // Of number (r, c), c ≥ r.
    DMC_INLINE Real* at(std::int64_t r, std::int64_t c) const { return a + (r * wide - r * (r + 1) / 2 + c) * lanes; }

    // The diagonal becomes D⁻¹, and the right-hand side D U⁻ᵀ of itself. Where rounding leaves nothing of a pivot it is
    // taken to be as large as rounding is, and what stands beside it to be zero: no number grows out of it.
    DMC_INLINE void factor() const {
        const Real rounding = Real(k) * std::numeric_limits<Real>::epsilon();
        for (std::int64_t r = 0; r < k; ++r) {
            for (std::int64_t p = 0; p < r; ++p) V::store(room + p * lanes, V::load(at(p, r)) * V::load(at(p, p)));
            const Type least = V::load(at(r, r)) * rounding;
            eliminate<kUnits>(r, r);
            const Type pivot = V::load(at(r, r));
            const auto lost = pivot < least;
            bool any = false;
            for (int i = 0; i < lanes; ++i) any |= lost[i] != 0;
            if (any)
                for (std::int64_t c = r + 1; c < k; ++c) V::store(at(r, c), lost ? Type{} : V::load(at(r, c)));
            V::store(at(r, r), Real(1) / (lost ? least : pivot));
        }
    }

    // After `factor`: the right-hand side becomes the solution.
    DMC_INLINE void solve() const {
        for (std::int64_t p = k - 1; p >= 0; --p) {
            const Type x = V::load(at(p, k)) * V::load(at(p, p));
            V::store(at(p, k), x);
            for (std::int64_t r = 0; r < p; ++r) V::store(at(r, k), V::load(at(r, k)) - V::load(at(r, p)) * x);
        }
    }

    // After `factor`: the triangle becomes that of the inverse, N D⁻¹ Nᵀ with N = (D⁻¹ U)⁻¹: no digits of its diagonal
    // cancel.
    DMC_INLINE void invert() const {
        for (std::int64_t r = k - 2; r >= 0; --r) {
            const Type own = V::load(at(r, r));
            for (std::int64_t p = r + 1; p < k; ++p) V::store(room + p * lanes, V::load(at(r, p)) * own);
            invert_factor<kUnits>(r, r + 1);
        }
        for (std::int64_t r = 0; r < k; ++r) {
            V::store(room + r * lanes, V::load(at(r, r)));
            for (std::int64_t p = r + 1; p < k; ++p) V::store(room + p * lanes, V::load(at(r, p)) * V::load(at(p, p)));
            multiply<kUnits>(r, r);
        }
    }

  private:
    template <int Units>
    DMC_INLINE void eliminate(std::int64_t r, std::int64_t c) const {
        for (; c + Units <= wide; c += Units) {
            Type sums[Units] = {};
            for (std::int64_t p = 0; p < r; ++p) {
                const Type factor = V::load(room + p * lanes);
                const Real* row = at(p, c);
                for (int u = 0; u < Units; ++u) sums[u] += factor * V::load(row + u * lanes);
            }
            Real* own = at(r, c);
            for (int u = 0; u < Units; ++u) V::store(own + u * lanes, V::load(own + u * lanes) - sums[u]);
        }
        if constexpr (Units > 1) eliminate<Units / 2>(r, c);
    }

    // Row r of N, whose diagonal of ones is not kept, from the rows below.
    template <int Units>
    DMC_INLINE void invert_factor(std::int64_t r, std::int64_t c) const {
        for (; c + Units <= k; c += Units) {
            Type sums[Units];
            for (int u = 0; u < Units; ++u) sums[u] = V::load(room + (c + u) * lanes);
            for (std::int64_t p = r + 1; p < c; ++p) {
                const Type factor = V::load(room + p * lanes);
                const Real* row = at(p, c);
                for (int u = 0; u < Units; ++u) sums[u] += factor * V::load(row + u * lanes);
            }
            for (int p = 0; p < Units - 1; ++p)
                for (int u = p + 1; u < Units; ++u)
                    sums[u] += V::load(room + (c + p) * lanes) * V::load(at(c + p, c + u));
            Real* own = at(r, c);
            for (int u = 0; u < Units; ++u) V::store(own + u * lanes, -sums[u]);
        }
        if constexpr (Units > 1) invert_factor<Units / 2>(r, c);
    }

    // Row r of the inverse, from the rows of N from r on.
    template <int Units>
    DMC_INLINE void multiply(std::int64_t r, std::int64_t c) const {
        for (; c + Units <= k; c += Units) {
            Type sums[Units];
            for (int u = 0; u < Units; ++u) {
                sums[u] = V::load(room + (c + u) * lanes);
                for (int p = u + 1; p < Units; ++p)
                    sums[u] += V::load(room + (c + p) * lanes) * V::load(at(c + u, c + p));
            }
            const Real* rows[Units];
            for (int u = 0; u < Units; ++u) rows[u] = at(c + u, 0);
            for (std::int64_t p = c + Units; p < k; ++p) {
                const Type factor = V::load(room + p * lanes);
                for (int u = 0; u < Units; ++u) sums[u] += factor * V::load(rows[u] + p * lanes);
            }
            Real* own = at(r, c);
            for (int u = 0; u < Units; ++u) V::store(own + u * lanes, sums[u]);
        }
        if constexpr (Units > 1) multiply<Units / 2>(r, c);
    }
};

}  // namespace dmc
