// bfloat16: a float32 without its lower 16 bits. Half the memory of a gathered factor, 8 bits of precision.
#pragma once

#include <cstdint>

#include "vectors.h"

namespace dmc {

struct bfloat16 {
    std::uint16_t bits;
};

// Two vectors of float32 as one of words: the first in the lower halves, the second in the upper. Taking them apart is
// a shift and a mask, where numbers one after another would have to cross the lanes.
template <int Bytes>
struct Pair {
    using V = Vector<float, Bytes>;
    using Words = Vector<std::uint32_t, Bytes>;
    typename V::type first, second;

    DMC_INLINE Pair(typename V::type first_, typename V::type second_) : first(first_), second(second_) {}
    explicit DMC_INLINE Pair(const bfloat16* p) {
        const auto words = Words::load(reinterpret_cast<const std::uint32_t*>(p));
        first = (typename V::type)(words << 16);
        second = (typename V::type)(words & 0xffff0000);
    }
    DMC_INLINE void store(bfloat16* p) const {
        Words::store(reinterpret_cast<std::uint32_t*>(p), rounded(first) >> 16 | (rounded(second) & 0xffff0000));
    }

    // To nearest, ties to even, in the upper half; NaN stays NaN.
    static DMC_INLINE typename Words::type rounded(typename V::type v) {
        const auto words = (typename Words::type)v;
        const auto nan = (typename Words::type)((words & 0x7fffffff) > 0x7f800000);
        return ((words + 0x7fff + (words >> 16 & 1)) & ~nan) | ((words | 0x400000) & nan);
    }
};

}  // namespace dmc
