// What vectors of whole numbers need beyond the operators of the language.
#pragma once

#include <cstdint>

#include "vectors.h"

#if defined(DMC_X86_DISPATCH) && !defined(__clang__)
#define DMC_X86_BUILTINS 1  // clang would want the caller to have the instruction set before it is inlined
#include <immintrin.h>  // declares the builtins of every instruction set
#endif

namespace dmc {

// Each lane holds two whole numbers of 16 bits; their products with those of the other, added up.
template <int Bytes>
DMC_INLINE typename Vector<std::int32_t, Bytes>::type product_of_pairs(typename Vector<std::int32_t, Bytes>::type a,
                                                                       typename Vector<std::int32_t, Bytes>::type b) {
    using Words = typename Vector<std::int32_t, Bytes>::type;
#ifdef DMC_X86_BUILTINS
    using Shorts = typename Vector<std::int16_t, Bytes>::type;
    if constexpr (Bytes == 64) return (Words)__builtin_ia32_pmaddwd512_mask((Shorts)a, (Shorts)b, Words{}, 0xffff);
    if constexpr (Bytes == 32) return (Words)__builtin_ia32_pmaddwd256((Shorts)a, (Shorts)b);
    if constexpr (Bytes == 16) return (Words)__builtin_ia32_pmaddwd128((Shorts)a, (Shorts)b);
#else
    return (Words)((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

// The sign bits of the lanes, the first one lowest.
template <int Bytes>
DMC_INLINE std::uint32_t signs(typename Vector<std::int32_t, Bytes>::type v) {
#ifdef DMC_X86_BUILTINS
    if constexpr (Bytes == 64) return __builtin_ia32_cvtd2mask512(v);
    if constexpr (Bytes == 32) return __builtin_ia32_movmskps256((typename Vector<float, Bytes>::type)v);
    if constexpr (Bytes == 16) return __builtin_ia32_movmskps((typename Vector<float, Bytes>::type)v);
#else
    std::uint32_t bits = 0;
    for (int lane = 0; lane < Vector<std::int32_t, Bytes>::lanes; ++lane) bits |= std::uint32_t(v[lane] < 0) << lane;
    return bits;
#endif
}

}  // namespace dmc
