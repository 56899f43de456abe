// The only place that asks for threads.
//
// Work is cut into pieces that do not depend on the number of threads, and what the pieces yield is added up in their
// order: results are bitwise the same for any number.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace dmc {

// Threads that a call uses when none are named: the calling thread's limit, or else OMP_NUM_THREADS, or else as many as
// there are processors for this process (its affinity and its share of a cgroup).
int max_threads();

// As many processors as this process may use, and the threads that a call uses for want of a limit: both at least 1,
// looked up at first use and again after a fork.
int processors();
int default_threads();
void forget_processors();

// The limit of the calling thread, for the calls it makes; below 1: none.
void limit_threads(int count);

// The threads to use for that many units of work of which each thread should have at least `enough`; n_threads ≤ 0: as
// many as max_threads() allows.
int threads_for(std::int64_t work, std::int64_t enough, int n_threads);

// A loop whose pieces are handed out one by one to whoever works on it.
struct Job {
    std::int64_t count;
    int helpers;                  // as many as may work beside the caller
    void (*work)(Job&) noexcept;  // takes pieces until none are left
    const void* body;
    Job* next = nullptr;                             // of the jobs that others may join
    int joined = 0;                                  // ever
    alignas(64) std::atomic<std::int64_t> piece{0};  // the first that nobody has taken
    alignas(64) std::atomic<int> inside{0};          // helpers at work
    std::atomic_flag failed = ATOMIC_FLAG_INIT;
    std::exception_ptr error{};
};

// Works on it beside as many helpers as there are to be had, be it none; throws what the body threw first.
void run(Job& job);

// body(0) … body(count − 1), each once, in any order and by several threads. When a body throws, what has not begun is
// left out and the caller gets the exception.
template <class Body>
void parallel_for(std::int64_t count, int n_threads, const Body& body) {
    if (n_threads <= 1 || count <= 1) {
        for (std::int64_t i = 0; i < count; ++i) body(i);
        return;
    }
    const auto work = [](Job& job) noexcept {
        const Body& body = *static_cast<const Body*>(job.body);
        try {
            for (std::int64_t i; (i = job.piece.fetch_add(1, std::memory_order_relaxed)) < job.count;) body(i);
        } catch (...) {
            job.piece.store(job.count, std::memory_order_relaxed);
            if (!job.failed.test_and_set()) job.error = std::current_exception();
        }
    };
    Job job{count, int(std::min(std::int64_t(n_threads), count)) - 1, work, &body};
    run(job);
}

}  // namespace dmc
