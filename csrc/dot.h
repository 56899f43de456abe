// The product of two lines of factors: one value for a pair of lines, whichever call asks for it.
#pragma once

#include <array>
#include <cstdint>

#include "vectors.h"

namespace dmc {

constexpr std::int64_t kWorkOfThread = 1 << 20;  // products of numbers for which a further thread is woken

template <int Bytes>
struct Bits {
    typedef std::uint64_t type __attribute__((vector_size(Bytes)));
};

// Ones in the last so many bytes of a vector.
template <int Bytes>
DMC_INLINE typename Bits<Bytes>::type last_lanes(std::int64_t bytes) {
    static constexpr auto edge = [] {
        std::array<unsigned char, 2 * Bytes> zeros_then_ones{};
        for (int i = Bytes; i < 2 * Bytes; ++i) zeros_then_ones[i] = 0xff;
        return zeros_then_ones;
    }();
    typename Bits<Bytes>::type mask;
    std::memcpy(&mask, edge.data() + bytes, Bytes);
    return mask;
}

// Any width: the last vector begins earlier than its turn, and the lanes that were there already are left out.
template <class Real, int Bytes>
DMC_INLINE Real dot(const Real* a, const Real* b, std::int64_t width) {
    using V = Vector<Real, Bytes>;
    if (width < V::lanes) {
        if constexpr (Bytes > 16) {
            return dot<Real, Bytes / 2>(a, b, width);
        } else {
            Real total = 0;
            for (std::int64_t k = 0; k < width; ++k) total += a[k] * b[k];
            return total;
        }
    }
    typename V::type even = {}, odd = {};
    std::int64_t k = 0;
    for (; k + 2 * V::lanes <= width; k += 2 * V::lanes) {
        even += V::load(a + k) * V::load(b + k);
        odd += V::load(a + k + V::lanes) * V::load(b + k + V::lanes);
    }
    if (k + V::lanes <= width) {
        even += V::load(a + k) * V::load(b + k);
        k += V::lanes;
    }
    if (k < width) {
        const std::int64_t late = width - V::lanes;
        const auto product = V::load(a + late) * V::load(b + late);
        odd += (typename V::type)((typename Bits<Bytes>::type)product & last_lanes<Bytes>((width - k) * sizeof(Real)));
    }
    return sum<Real, Bytes>(even + odd);
}

}  // namespace dmc
