// How fast can this machine gather lines of a factor at the entries of a matrix, if it does nothing with them but add
// them up? The roofline of the masked product, measured by the fastest of several ways to fetch ahead.
//
//     double gather(table, indices, entries, bytes, ahead, level, n_threads)  -> seconds

#include <chrono>
#include <cstdint>

#include "../parallel.h"

namespace {

typedef std::int32_t Words __attribute__((vector_size(64), aligned(4), may_alias));

template <int Level, int CacheLines>
Words add_up(const char* table, const std::int32_t* indices, std::int64_t begin, std::int64_t end, std::int64_t ahead) {
    constexpr std::int64_t bytes = 64 * CacheLines;
    Words sums[CacheLines] = {};
    for (std::int64_t e = begin; e < end; ++e) {
        const char* next = table + std::int64_t(indices[e + ahead < end ? e + ahead : e]) * bytes;
        const char* line = table + std::int64_t(indices[e]) * bytes;
        for (int b = 0; b < CacheLines; ++b) __builtin_prefetch(next + 64 * b, 0, Level);
        for (int b = 0; b < CacheLines; ++b) sums[b] += *reinterpret_cast<const Words*>(line + 64 * b);
    }
    for (int b = 1; b < CacheLines; ++b) sums[0] += sums[b];
    return sums[0];
}

template <int Level>
Words add_up(std::int64_t bytes, const char* table, const std::int32_t* indices, std::int64_t begin, std::int64_t end,
             std::int64_t ahead) {
    switch (bytes) {
        case 64:
            return add_up<Level, 1>(table, indices, begin, end, ahead);
        case 128:
            return add_up<Level, 2>(table, indices, begin, end, ahead);
        case 256:
            return add_up<Level, 4>(table, indices, begin, end, ahead);
        default:
            return add_up<Level, 8>(table, indices, begin, end, ahead);
    }
}

volatile std::int32_t sink;

}  // namespace

// table (lines, bytes): bytes 64, 128, 256 or 512; level 3: fetch to the first level of the cache, 2: to the second.
extern "C" double gather(const void* table, const std::int32_t* indices, std::int64_t entries, std::int64_t bytes,
                         std::int64_t ahead, int level, int n_threads) {
    const auto began = std::chrono::steady_clock::now();
    constexpr std::int64_t chunk = 1 << 16;
    dmc::parallel_for((entries + chunk - 1) / chunk, n_threads, [&](std::int64_t c) {
        const auto run = level == 3 ? add_up<3> : add_up<2>;
        sink = run(bytes, static_cast<const char*>(table), indices, c * chunk, std::min((c + 1) * chunk, entries),
                   ahead)[0];
    });
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}
