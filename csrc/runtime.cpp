// What is asked of the machine: the instruction set and the threads.

#include <cstdlib>

#include "parallel.h"
#include "vectors.h"

namespace dmc {
namespace {

Isa detect() {
#ifdef DMC_X86_DISPATCH
    __builtin_cpu_init();
    Isa best = Isa::plain;
#ifdef __clang__  // knows the levels by name from its version 18 on
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"),
               v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
#else
    const bool v3 = __builtin_cpu_supports("x86-64-v3"), v4 = __builtin_cpu_supports("x86-64-v4");
#endif
    if (v3) best = Isa::avx2;
    if (v4) best = Isa::avx512;
    // A wish beyond what the processor has is not granted: it would end in an illegal instruction.
    if (const char* wish = std::getenv("DMC_ISA")) {
        if (!std::strcmp(wish, "plain")) best = Isa::plain;
        if (!std::strcmp(wish, "avx2")) best = std::min(best, Isa::avx2);
    }
    return best;
#else
    return Isa::plain;
#endif
}

// Of the calling thread; 0: none. In the room that each thread has from its start: room made at first use, where
// there is none, ends the process.
__attribute__((tls_model("initial-exec"))) thread_local int limit = 0;

}  // namespace

Isa isa() {
    static const Isa chosen = detect();
    return chosen;
}

int max_threads() { return limit > 0 ? limit : default_threads(); }

void limit_threads(int count) { limit = std::max(count, 0); }

int threads_for(std::int64_t work, std::int64_t enough, int n_threads) {
    const int wanted = n_threads > 0 ? n_threads : max_threads();
    return int(std::min(std::int64_t(wanted), 1 + work / enough));
}

}  // namespace dmc
