// bfloat16: a float32 without its lower 16 bits. Half the memory of a gathered factor, 8 bits of precision.
#pragma once

#include <cstdint>
#include <cstring>

#include "vectors.h"

namespace dmc {

struct bfloat16 {
    std::uint16_t bits;

    bfloat16() = default;
    // To nearest, ties to even; NaN stays NaN.
    explicit bfloat16(float value) {
        std::uint32_t word;
        std::memcpy(&word, &value, sizeof word);
        const bool nan = (word & 0x7fffffff) > 0x7f800000;
        bits = std::uint16_t(nan ? word >> 16 | 0x40 : (word + 0x7fff + (word >> 16 & 1)) >> 16);
    }
};

// Two vectors of float32 as one of words: the first in the lower halves, the second in the upper. Taking them apart is
// a shift and a mask, where numbers one after another would have to cross the lanes.
template <int Bytes>
struct Pair {
    using V = Vector<float, Bytes>;
    using Words = Vector<std::uint32_t, Bytes>;
    typename V::type first, second;

    explicit DMC_INLINE Pair(const bfloat16* p) {
        const auto words = Words::load(reinterpret_cast<const std::uint32_t*>(p));
        first = (typename V::type)(words << 16);
        second = (typename V::type)(words & 0xffff0000);
    }
};

// The place within a row of such pairs (of 2 · lanes numbers; what is left at the end, in a pair of half the size) of
// number c, in a row of that width.
inline std::int64_t paired_place(std::int64_t c, std::int64_t width, std::int64_t lanes) {
    const std::int64_t begin = c / (2 * lanes) * 2 * lanes;
    if (begin + 2 * lanes > width) lanes /= 2;
    return begin + (c - begin) % lanes * 2 + (c - begin) / lanes;
}

}  // namespace dmc
