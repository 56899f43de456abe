// The core's threads by themselves, for the thread sanitizer: loops inside loops, from several callers at a time, with
// bodies that throw. Prints how many loops went wrong.

#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../parallel.h"

namespace {

std::atomic<int> wrong{0};

void nested() {
    std::vector<std::int64_t> sums(7, 0);
    dmc::parallel_for(7, 3, [&](std::int64_t i) {
        std::vector<std::int64_t> parts(50, 0);
        dmc::parallel_for(50, 3, [&](std::int64_t j) { parts[j] = i * j; });
        for (const std::int64_t part : parts) sums[i] += part;
    });
    for (std::int64_t i = 0; i < 7; ++i) wrong += sums[i] != i * 49 * 50 / 2;
}

// Each piece once, or none after the one that throws; the caller gets what was thrown.
void throwing(std::int64_t count) {
    std::vector<int> times(count, 0);
    bool caught = false;
    try {
        dmc::parallel_for(count, 4, [&](std::int64_t i) {
            ++times[i];
            if (i == count / 2) throw std::runtime_error("thrown");
        });
    } catch (const std::runtime_error&) {
        caught = true;
    }
    wrong += !caught;
    for (const int n : times) wrong += n > 1;
}

}  // namespace

int main() {
    std::vector<std::thread> callers;
    for (int c = 0; c < 4; ++c)
        callers.emplace_back([] {
            for (int round = 0; round < 50; ++round) {
                nested();
                throwing(2 + round);
            }
        });
    for (std::thread& caller : callers) caller.join();
    std::printf("%d wrong\n", wrong.load());
    return wrong != 0;
}
