// What vectors of whole numbers need beyond the operators of the language.
#pragma once

#include <cstdint>

#include "vectors.h"

#ifdef DMC_X86_DISPATCH
#include <immintrin.h>  // declares the builtins of every instruction set
#endif

namespace dmc {

template <int Bytes>
using Int32s = typename Vector<std::int32_t, Bytes>::type;

#ifdef DMC_X86_DISPATCH
// The instructions of one set. GCC looks for the set where they end up inlined; clang where they are written, and
// inlines them into a kernel whose set has them. By reference, for vectors of a set must not be handed to a function
// without it.
#ifdef __clang__
#define DMC_INSTRUCTION(set) __attribute__((target(set))) inline
#define DMC_PMADDWD_512(a, b) __builtin_ia32_pmaddwd512(a, b)
#else
#define DMC_INSTRUCTION(set) DMC_INLINE
#define DMC_PMADDWD_512(a, b) __builtin_ia32_pmaddwd512_mask(a, b, Int32s<64>{}, 0xffff)
#endif
template <int Bytes>
using Int16s = typename Vector<std::int16_t, Bytes>::type;
template <int Bytes>
using Float32s = typename Vector<float, Bytes>::type;

DMC_INSTRUCTION("avx512bw") void product_of_pairs(const Int32s<64>& a, const Int32s<64>& b, Int32s<64>& out) {
    out = (Int32s<64>)DMC_PMADDWD_512((Int16s<64>)a, (Int16s<64>)b);
}
DMC_INSTRUCTION("avx2") void product_of_pairs(const Int32s<32>& a, const Int32s<32>& b, Int32s<32>& out) {
    out = (Int32s<32>)__builtin_ia32_pmaddwd256((Int16s<32>)a, (Int16s<32>)b);
}
DMC_INLINE void product_of_pairs(const Int32s<16>& a, const Int32s<16>& b, Int32s<16>& out) {
    out = (Int32s<16>)__builtin_ia32_pmaddwd128((Int16s<16>)a, (Int16s<16>)b);
}
DMC_INSTRUCTION("avx512dq") std::uint32_t sign_bits(const Int32s<64>& v) { return __builtin_ia32_cvtd2mask512(v); }
DMC_INSTRUCTION("avx") std::uint32_t sign_bits(const Int32s<32>& v) {
    return __builtin_ia32_movmskps256((Float32s<32>)v);
}
DMC_INLINE std::uint32_t sign_bits(const Int32s<16>& v) { return __builtin_ia32_movmskps((Float32s<16>)v); }
#endif

// Each lane holds two whole numbers of 16 bits; their products with those of the other, added up.
template <int Bytes>
DMC_INLINE Int32s<Bytes> product_of_pairs(Int32s<Bytes> a, Int32s<Bytes> b) {
#ifdef DMC_X86_DISPATCH
    Int32s<Bytes> out;
    product_of_pairs(a, b, out);
    return out;
#else
    return (Int32s<Bytes>)((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

// The sign bits of the lanes, the first one lowest.
template <int Bytes>
DMC_INLINE std::uint32_t signs(Int32s<Bytes> v) {
#ifdef DMC_X86_DISPATCH
    return sign_bits(v);
#else
    std::uint32_t bits = 0;
    for (int lane = 0; lane < Vector<std::int32_t, Bytes>::lanes; ++lane) bits |= std::uint32_t(v[lane] < 0) << lane;
    return bits;
#endif
}

}  // namespace dmc
