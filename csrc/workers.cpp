// The threads that help with loops: started when they are first wanted, shared by all callers, and kept.
//
// Not OpenMP's: its runtime ends the process when it cannot have a thread, does not survive a fork, lets exceptions end
// the process, and waits by spinning for milliseconds beside other work.

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <new>

#include "buffer.h"
#include "parallel.h"

namespace dmc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kStack = 1 << 19;  // bytes; kernels use up to 30,000
constexpr int kMost = 1024;              // workers
// Loops follow each other within 50 to 200 µs, the Python between two steps. To sleep and to be woken costs both sides
// tens of them.
constexpr std::chrono::microseconds kSpin(200);

// Waits a moment for what is about to happen, and gives the processor to whoever wants it.
template <class Condition>
bool happens_soon(const Condition& condition) {
    const auto end = Clock::now() + kSpin;
    do {
        for (int i = 0; i < 16; ++i) {
            if (condition()) return true;
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#elif defined(__aarch64__)
            asm volatile("yield");
#endif
        }
        sched_yield();
    } while (Clock::now() < end);
    return false;
}

class Workers {
  public:
    void run(Job& job) {
        post(job);
        job.work(job);
        close(job);
        if (job.error) std::rethrow_exception(job.error);
    }

    // Of fork: what other threads were about to change has to be whole in the child, which has none of them.
    void lock() { mutex_.lock(); }
    void unlock() { mutex_.unlock(); }
    void forget_threads() {
        first_ = nullptr;
        workers_ = sleeping_ = woken_ = 0;
        spinning_ = waiting_ = 0;
        new (&work_) std::condition_variable;  // not destroyed before: it counts waiters that are no more
        new (&done_) std::condition_variable;
    }

  private:
    // For others to join: those that are awake come by themselves.
    void post(Job& job) {
        const int others = processors() - 1;  // may throw while they are looked up: before anybody knows of the job
        int wake;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            job.next = first_;
            first_ = &job;
            posted_.fetch_add(1, std::memory_order_release);
            const int wanted = std::max(0, job.helpers - spinning_.load(std::memory_order_relaxed));
            wake = std::min(wanted, sleeping_);
            sleeping_ -= wake;
            woken_ += wake;
            hire(std::min(wanted - wake, std::max(job.helpers, others) - workers_));
        }
        for (; wake > 0; --wake) work_.notify_one();
    }

    // Nobody joins any more, and those inside have left.
    void close(Job& job) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            Job** at = &first_;
            while (*at != &job) at = &(*at)->next;
            *at = job.next;
        }
        const auto left = [&] { return job.inside.load(std::memory_order_acquire) == 0; };
        if (left() || happens_soon(left)) return;
        std::unique_lock<std::mutex> lock(mutex_);
        ++waiting_;
        done_.wait(lock, [&] { return job.inside.load() == 0; });
        --waiting_;
    }

    // So many more workers, or as many as the system gives: no room or a limit is no error, as the caller works too.
    void hire(int count) {
        if (count <= 0 || Clock::now() < no_more_until_) return;
        pthread_attr_t small;
        if (pthread_attr_init(&small)) return;
        pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&small, kStack);
        sigset_t none, before;  // signals are for the threads that Python knows
        sigfillset(&none);
        for (const int of_its_own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&none, of_its_own);
        pthread_sigmask(SIG_SETMASK, &none, &before);
        for (; count > 0 && workers_ < kMost; --count, ++workers_) {
            pthread_t thread;
            const auto work = [](void* self) -> void* { static_cast<Workers*>(self)->serve(); };
            if (pthread_create(&thread, &small, work, this)) {
                no_more_until_ = Clock::now() + std::chrono::seconds(1);
                break;
            }
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        pthread_attr_destroy(&small);
    }

    [[noreturn]] void serve() {
        for (;;) {
            std::unique_lock<std::mutex> lock(mutex_);
            if (Job* job = open_job()) {
                ++job->joined;
                job->inside.fetch_add(1, std::memory_order_relaxed);
                lock.unlock();
                job->work(*job);
                leave(*job);
            } else {
                idle(lock);
            }
        }
    }

    Job* open_job() {
        for (Job* job = first_; job; job = job->next)
            if (job->joined < job->helpers && job->piece.load(std::memory_order_relaxed) < job->count) return job;
        return nullptr;
    }

    // The job may be gone as soon as nobody is inside. Either its caller sees that, or it is seen here that it sleeps.
    void leave(Job& job) {
        if (job.inside.fetch_sub(1) != 1 || !waiting_.load()) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_all();
    }

    void idle(std::unique_lock<std::mutex>& lock) {
        const unsigned seen = posted_.load(std::memory_order_relaxed);
        spinning_.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        happens_soon([&] { return posted_.load(std::memory_order_acquire) != seen; });
        lock.lock();
        spinning_.fetch_sub(1, std::memory_order_relaxed);
        if (posted_.load(std::memory_order_relaxed) != seen) return;
        ++sleeping_;
        work_.wait(lock, [&] { return woken_ > 0; });
        --woken_;
    }

    std::mutex mutex_;
    std::condition_variable work_, done_;
    Job* first_ = nullptr;
    int workers_ = 0, sleeping_ = 0, woken_ = 0;  // woken: told to wake, and not yet awake
    std::atomic<int> spinning_{0}, waiting_{0};   // workers, and callers that sleep until their job is left
    std::atomic<unsigned> posted_{0};             // jobs ever
    Clock::time_point no_more_until_;             // threads are not to be had before
};

// Never destroyed: workers wait on it while the process ends.
Workers& workers() {
    alignas(Workers) static char room[sizeof(Workers)];
    static Workers& all = *new (room) Workers;
    return all;
}

// A fork waits until nobody changes what the child will need, and the child starts without workers.
const int over_forks = pthread_atfork(
    [] {
        Pool::mutex.lock();
        workers().lock();
    },
    [] {
        workers().unlock();
        Pool::mutex.unlock();
    },
    [] {
        workers().forget_threads();
        workers().unlock();
        Pool::mutex.unlock();
        forget_processors();
    });

}  // namespace

void run(Job& job) { workers().run(job); }

}  // namespace dmc
