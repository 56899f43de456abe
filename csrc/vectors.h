// Vectors of each instruction set, and the choice among them at run time.
//
// A kernel is a struct with `template <int Bytes> static DMC_INLINE … run(…)`, Bytes being those of a register;
// `dispatch` compiles it once for each instruction set and calls the one that this processor has.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define DMC_X86_DISPATCH 1
#endif

// Both compilers would rather take two halves than one register of 64 bytes, and each is told otherwise in its own way.
#ifdef __clang__
#define DMC_AVX512 __attribute__((target("arch=x86-64-v4"), min_vector_width(512)))
#else
#define DMC_AVX512 __attribute__((target("arch=x86-64-v4,prefer-vector-width=512")))
#endif

#define DMC_INLINE inline __attribute__((always_inline))

namespace dmc {

enum class Isa { plain, avx2, avx512 };

// Chosen once, from the processor and the environment variable DMC_ISA.
Isa isa();

// One register's worth of Real.
template <class Real, int Bytes>
struct Vector {
    static constexpr int lanes = Bytes / int(sizeof(Real));
    typedef Real type __attribute__((vector_size(Bytes)));
    typedef Real unaligned __attribute__((vector_size(Bytes), aligned(alignof(Real)), may_alias));

    static DMC_INLINE type load(const Real* p) { return *reinterpret_cast<const unaligned*>(p); }
    static DMC_INLINE void store(Real* p, type v) { *reinterpret_cast<unaligned*>(p) = v; }
};

// The lower half of a vector plus its upper half.
template <class Real, int Bytes>
DMC_INLINE typename Vector<Real, Bytes / 2>::type fold(typename Vector<Real, Bytes>::type v) {
    typename Vector<Real, Bytes / 2>::type low, high;
    std::memcpy(&low, &v, Bytes / 2);
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + Bytes / 2, Bytes / 2);
    return low + high;
}

// Adds up the lanes, halving the vector until one register of 16 bytes is left.
template <class Real, int Bytes>
DMC_INLINE Real sum(typename Vector<Real, Bytes>::type v) {
    if constexpr (Bytes > 16) {
        return sum<Real, Bytes / 2>(fold<Real, Bytes>(v));
    } else if constexpr (sizeof(Real) == 4) {
        return (v[0] + v[2]) + (v[1] + v[3]);
    } else {
        return v[0] + v[1];
    }
}

// The same source compiled for each instruction set. No parallel region may stand inside: a function that the compiler
// cuts out of one would not inherit the target.
#ifdef DMC_X86_DISPATCH
template <class Kernel, class... Arguments>
DMC_AVX512 auto run_avx512(Arguments&... arguments) {
    return Kernel::template run<64>(arguments...);
}
template <class Kernel, class... Arguments>
__attribute__((target("arch=x86-64-v3"))) auto run_avx2(Arguments&... arguments) {
    return Kernel::template run<32>(arguments...);
}
#endif
template <class Kernel, class... Arguments>
auto run_plain(Arguments&... arguments) {
    return Kernel::template run<16>(arguments...);
}

template <class Kernel, class... Arguments>
auto dispatch(Arguments&... arguments) {
#ifdef DMC_X86_DISPATCH
    if (isa() == Isa::avx512) return run_avx512<Kernel>(arguments...);
    if (isa() == Isa::avx2) return run_avx2<Kernel>(arguments...);
#endif
    return run_plain<Kernel>(arguments...);
}

}  // namespace dmc
