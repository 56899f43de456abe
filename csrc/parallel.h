// The only place that asks for threads.
//
// Work is cut into pieces that do not depend on the number of threads, and what the pieces yield is added up in their
// order: results are bitwise the same for any number.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dmc {

// Threads that a call uses when none are named: what OpenMP says (OMP_NUM_THREADS, threadpoolctl), and one in a process
// that was forked: OpenMP's threads do not survive a fork, and GCC's runtime would wait for them for ever.
int max_threads();

// The threads to use for that many units of work of which each thread should have at least `enough`; n_threads ≤ 0: as
// many as max_threads() allows.
int threads_for(std::int64_t work, std::int64_t enough, int n_threads);

#if defined(__SANITIZE_THREAD__)
// ThreadSanitizer does not see the barriers of GCC's OpenMP, which was not compiled with it: they are told to it here.
// By marks that are global, because a thread finds the local ones through what the barrier guards.
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
inline char fork_mark, join_mark;
#define DMC_BEGINS(mark) __tsan_acquire(&mark)
#define DMC_ENDS(mark) __tsan_release(&mark)
#define DMC_APART __attribute__((noinline))  // so that only the loop itself is suppressed (tests/thread_sanitizer.txt)
#else
#define DMC_BEGINS(mark)
#define DMC_ENDS(mark)
#define DMC_APART
#endif

template <class Body>
DMC_APART void call(const Body& body, std::int64_t i) {
    body(i);
}

// body(0) … body(count − 1), each once, in any order and by several threads.
template <class Body>
void parallel_for(std::int64_t count, int n_threads, const Body& body) {
    if (n_threads <= 1 || count <= 1) {
        for (std::int64_t i = 0; i < count; ++i) body(i);
        return;
    }
    DMC_ENDS(fork_mark);
#pragma omp parallel num_threads(int(std::min(std::int64_t(n_threads), count)))
    {
        DMC_BEGINS(fork_mark);
#pragma omp for schedule(dynamic) nowait
        for (std::int64_t i = 0; i < count; ++i) call(body, i);
        DMC_ENDS(join_mark);
    }
    DMC_BEGINS(join_mark);
}

}  // namespace dmc
