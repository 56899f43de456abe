// How many processors there are for this process, and how many of them its user wants used.

#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "parallel.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace dmc {
namespace {

std::atomic<int> known_processors{0}, known_default{0};  // 0: not looked up

// A cgroup's quota, in processors; infinite where there is none: `file` has "QUOTA PERIOD" (version 2) or the quota
// alone, beside a file of the period (version 1).
double quota(const std::string& folder, bool version_2) {
    std::string allowed;
    double period = 0;
    if (version_2) {
        std::ifstream(folder + "/cpu.max") >> allowed >> period;
    } else {
        std::ifstream(folder + "/cpu.cfs_quota_us") >> allowed;
        std::ifstream(folder + "/cpu.cfs_period_us") >> period;
    }
    const double share = std::strtod(allowed.c_str(), nullptr) / period;  // of "max", -1 and nothing: not above 0
    return share > 0 && std::isfinite(share) ? share : INFINITY;
}

// The least of the quotas of this process's cgroup and of those around it.
double least_quota() {
    double least = INFINITY;
    std::ifstream groups("/proc/self/cgroup");  // lines of NUMBER:CONTROLLERS:PATH
    for (std::string line; std::getline(groups, line);) {
        const std::size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const bool version_2 = controllers == ",,";
        if (!version_2 && controllers.find(",cpu,") == std::string::npos) continue;
        const std::string root = version_2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
        std::string path = line.substr(second + 1);
        while (!path.empty() && path.back() == '/') path.pop_back();
        for (;; path.resize(path.rfind('/'))) {
            least = std::min(least, quota(root + path, version_2));
            if (path.empty()) break;
        }
    }
    return least;
}

int count_processors() {
    int count = int(std::thread::hardware_concurrency());
#ifdef __linux__
    for (int most = 1024; most <= 1 << 20; most *= 2) {  // EINVAL: the machine may have more
        cpu_set_t* allowed = CPU_ALLOC(most);
        if (!allowed) break;
        const bool found = sched_getaffinity(0, CPU_ALLOC_SIZE(most), allowed) == 0;
        if (found) count = CPU_COUNT_S(CPU_ALLOC_SIZE(most), allowed);
        CPU_FREE(allowed);
        if (found || errno != EINVAL) break;
    }
    const double share = least_quota();
    if (share < count) count = int(std::ceil(share));
#endif
    return std::max(count, 1);
}

// The first number of an OpenMP variable ("4,2" are levels of nesting); 0 where it is not one or below 1.
int number_in(const char* variable) {
    const char* text = std::getenv(variable);
    if (!text) return 0;
    char* end = nullptr;
    errno = 0;
    const long number = std::strtol(text, &end, 10);
    while (*end == ' ') ++end;
    const bool whole = end != text && (!*end || *end == ',') && !errno;
    return whole && number > 0 && number <= INT_MAX ? int(number) : 0;
}

int look_up_default() {
    const int wanted = number_in("OMP_NUM_THREADS"), most = number_in("OMP_THREAD_LIMIT");
    const int count = wanted ? wanted : processors();
    return most ? std::min(count, most) : count;
}

// Whoever comes first looks it up; several find the same.
template <class Look>
int known(std::atomic<int>& kept, const Look& look) {
    int count = kept.load(std::memory_order_relaxed);
    if (!count) kept.store(count = look(), std::memory_order_relaxed);
    return count;
}

}  // namespace

int processors() { return known(known_processors, count_processors); }

int default_threads() { return known(known_default, look_up_default); }

void forget_processors() { known_processors = known_default = 0; }

}  // namespace dmc
