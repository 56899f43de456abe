// Stable counting sorts: into buckets of neighbouring lines first, then each bucket in the cache.

#include "sort_entries.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <vector>

#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kBuckets = 1024;  // written to in turn: the end of each has to stay in the cache
constexpr std::int64_t kChunks = 128;    // that threads share, and their least size
constexpr std::int64_t kChunk = 1 << 16;
constexpr std::int64_t kAlone = 4 * kChunk;      // entries up to which one thread sorts alone
constexpr std::int64_t kWorkOfThread = 1 << 15;  // entries for which a further thread is woken
constexpr std::int64_t kPairs = 1 << 12;         // that one thread looks up at a time
constexpr std::int64_t kTogether = 16;           // searches side by side: each waits for memory, all of them at once

constexpr std::int64_t parts(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

// Entries first … last−1 by bucket, in their order within each: a bucket is 2^shift of the lines, and its entries end
// at ends[bucket]. visit(first, last, body) calls body(line, payload) for the entries in their order; put takes what
// comes to stand at a position.
template <class Visit, class Put>
void distribute(std::int64_t first, std::int64_t last, std::int64_t lines, int shift, std::int64_t* ends, int n_threads,
                const Visit& visit, const Put& put) {
    const std::int64_t count = last - first, buckets = parts(lines, std::int64_t(1) << shift);
    // A chunk counts its entries in every bucket: with few entries in each, the counts would outgrow the entries.
    const std::int64_t chunk = std::max({kChunk, parts(count, kChunks), 8 * buckets});
    const std::int64_t chunks = count <= kAlone ? 1 : parts(count, chunk);
    std::vector<std::int64_t> table(chunks > 1 ? chunks * buckets : 0);
    std::int64_t* const next = chunks > 1 ? table.data() : ends;
    const auto run = [&](const auto& body) {
        parallel_for(chunks, n_threads, [&](std::int64_t c) {
            const std::int64_t begin = first + c * chunk;
            body(next + c * buckets, begin, c + 1 < chunks ? begin + chunk : last);
        });
    };
    std::atomic<bool> outside{false};
    run([&](std::int64_t* own, std::int64_t begin, std::int64_t end) {
        std::fill_n(own, buckets, 0);
        bool beyond = false;
        visit(begin, end, [&](std::int64_t line, const auto&) {
            if (std::uint64_t(line) < std::uint64_t(lines))
                ++own[line >> shift];
            else
                beyond = true;
        });
        if (beyond) outside = true;
    });
    if (outside) throw std::out_of_range("an index is out of range for the shape");
    std::int64_t position = first;
    for (std::int64_t b = 0; b < buckets; ++b)
        for (std::int64_t c = 0; c < chunks; ++c) {
            const std::int64_t n = next[c * buckets + b];
            next[c * buckets + b] = position;
            position += n;
        }
    run([&](std::int64_t* own, std::int64_t begin, std::int64_t end) {
        visit(begin, end, [&](std::int64_t line, const auto& payload) { put(own[line >> shift]++, line, payload); });
    });
    if (chunks > 1) std::copy_n(next + (chunks - 1) * buckets, buckets, ends);
}

template <class Line, class Payload>
struct Record {
    Line line;
    Payload payload;
};

// Entries line by line: pointers (lines + 1), and put(position, payload) for each. Scratch is room for them all.
template <class Scratch, class Visit, class Put>
void group(std::int64_t count, std::int64_t lines, std::int64_t* pointers, Scratch* scratch, int n_threads,
           const Visit& visit, const Put& put) {
    const int threads = threads_for(count, kWorkOfThread, n_threads);
    const auto place = [&](std::int64_t position, std::int64_t, const auto& payload) { put(position, payload); };
    pointers[0] = 0;
    int shift = 0;
    if (lines > (count <= kAlone ? kChunk : kBuckets))
        while (parts(lines, std::int64_t(1) << shift) > kBuckets) ++shift;
    if (shift == 0) return distribute(0, count, lines, 0, pointers + 1, threads, visit, place);

    std::vector<std::int64_t> ends(parts(lines, std::int64_t(1) << shift));
    distribute(0, count, lines, shift, ends.data(), threads, visit,
               [&](std::int64_t position, std::int64_t line, const auto& payload) {
                   scratch[position] = {decltype(scratch->line)(line), payload};
               });
    const auto first = [&](std::int64_t b) { return b ? ends[b - 1] : 0; };
    const auto heavy = [&](std::int64_t b) { return ends[b] - first(b) > kAlone; };
    const auto sort = [&](std::int64_t b, int n) {
        const std::int64_t begin = b << shift, end = std::min(lines, (b + 1) << shift);
        distribute(
            first(b), ends[b], end - begin, 0, pointers + 1 + begin, n,
            [&](std::int64_t e, std::int64_t last, const auto& body) {
                for (; e < last; ++e) body(scratch[e].line - begin, scratch[e].payload);
            },
            place);
    };
    // Rating data have long tails: the threads share a bucket that holds a large part of the entries.
    const std::int64_t buckets = std::int64_t(ends.size());
    for (std::int64_t b = 0; b < buckets; ++b)
        if (heavy(b)) sort(b, threads);
    parallel_for(buckets, threads, [&](std::int64_t b) {
        if (!heavy(b)) sort(b, 1);
    });
}

// body(i, begin, end) for each line i with entries among first … last−1: those are begin … end−1.
template <class Body>
void walk(std::int64_t lines, const std::int64_t* pointers, std::int64_t first, std::int64_t last, const Body& body) {
    std::int64_t i = std::upper_bound(pointers, pointers + lines + 1, first) - pointers - 1;
    for (std::int64_t e = first; e < last; ++i) {
        const std::int64_t end = std::min(last, pointers[i + 1]);
        if (e < end) body(i, e, end);
        e = end;
    }
}

template <class Index>
Repeats repeats(std::int64_t lines, const std::int64_t* pointers, const Index* indices, int n_threads) {
    const std::int64_t count = pointers[lines], chunk = std::max(kChunk, parts(count, kChunks));
    std::vector<Repeats> found(parts(count, chunk), {0, -1});
    parallel_for(std::int64_t(found.size()), threads_for(count, kWorkOfThread, n_threads), [&](std::int64_t c) {
        walk(lines, pointers, c * chunk, std::min((c + 1) * chunk, count),
             [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
                 std::int64_t same = 0;
                 begin = std::max(begin, pointers[i] + 1);
                 for (std::int64_t e = begin; e < end; ++e) same += indices[e] == indices[e - 1];
                 if (same && found[c].first < 0)
                     found[c].first = std::adjacent_find(indices + begin - 1, indices + end) + 1 - indices;
                 found[c].count += same;
             });
    });
    Repeats all{0, -1};
    for (const Repeats& part : found) all = {all.count + part.count, all.first < 0 ? part.first : all.first};
    return all;
}

template <class Index, class Real>
struct Entry {
    Index other;
    Real value;
};

// Not set to zero, as a vector's would be: that is a pass over memory.
template <class T>
std::unique_ptr<T[]> room(std::int64_t count) {
    return std::unique_ptr<T[]>(new T[count]);
}

}  // namespace

template <class Given, class Index, class Real>
Repeats sort_entries(Triplets<Given, Real> given, std::int64_t* pointers, Index* columns, Real* out, int n_threads) {
    using Pair = Entry<Index, Real>;
    const auto scratch = room<Record<Index, Pair>>(given.count);
    {
        // By column, then by row: the second sort keeps the order of the first.
        const auto starts = room<std::int64_t>(given.n + 1);
        const auto rows = room<Index>(given.count);
        const auto values = room<Real>(given.count);
        group(
            given.count, given.n, starts.get(), scratch.get(), n_threads,
            [&](std::int64_t e, std::int64_t last, const auto& body) {
                for (; e < last; ++e) {
                    const bool inside = std::uint64_t(given.rows[e]) < std::uint64_t(given.m);
                    body(inside ? std::int64_t(given.cols[e]) : -1, Pair{Index(given.rows[e]), given.values[e]});
                }
            },
            [&](std::int64_t position, const Pair& pair) {
                rows[position] = pair.other;
                values[position] = pair.value;
            });
        group(
            given.count, given.m, pointers, scratch.get(), n_threads,
            [&](std::int64_t first, std::int64_t last, const auto& body) {
                walk(given.n, starts.get(), first, last, [&](std::int64_t j, std::int64_t e, std::int64_t end) {
                    for (; e < end; ++e) body(std::int64_t(rows[e]), Pair{Index(j), values[e]});
                });
            },
            [&](std::int64_t position, const Pair& pair) {
                columns[position] = pair.other;
                out[position] = pair.value;
            });
    }
    return repeats(given.m, pointers, columns, n_threads);
}

template <class Index, class Other>
void transpose(std::int64_t lines, const std::int64_t* pointers, const Index* indices, std::int64_t n,
               std::int64_t* other_pointers, Other* other_indices, int n_threads) {
    const auto scratch = room<Record<Index, Other>>(pointers[lines]);
    group(
        pointers[lines], n, other_pointers, scratch.get(), n_threads,
        [&](std::int64_t first, std::int64_t last, const auto& body) {
            walk(lines, pointers, first, last, [&](std::int64_t i, std::int64_t e, std::int64_t end) {
                for (; e < end; ++e) body(std::int64_t(indices[e]), Other(i));
            });
        },
        [&](std::int64_t position, Other i) { other_indices[position] = i; });
}

template <class Index, class Value>
void by_line(std::int64_t count, const Index* lines, std::int64_t n, const Value* values, Value* out, int n_threads) {
    const auto starts = room<std::int64_t>(n + 1);
    const auto scratch = room<Record<Index, Value>>(count);
    group(
        count, n, starts.get(), scratch.get(), n_threads,
        [&](std::int64_t e, std::int64_t last, const auto& body) {
            for (; e < last; ++e) body(std::int64_t(lines[e]), values[e]);
        },
        [&](std::int64_t position, Value value) { out[position] = value; });
}

template <class Row, class Index>
void locate(std::int64_t m, const std::int64_t* pointers, const Index* columns, std::int64_t pairs, const Row* rows,
            const Index* cols, std::int64_t* found, int n_threads) {
    std::atomic<bool> outside{false};
    parallel_for(parts(pairs, kPairs), threads_for(pairs, kPairs, n_threads), [&](std::int64_t c) {
        const std::int64_t end = std::min((c + 1) * kPairs, pairs);
        for (std::int64_t p = c * kPairs; p < end; p += kTogether) {
            const std::int64_t together = std::min(kTogether, end - p);
            std::int64_t at[kTogether], left[kTogether], longest = 0;
            for (std::int64_t k = 0; k < together; ++k) {
                const bool inside = std::uint64_t(rows[p + k]) < std::uint64_t(m);
                if (!inside) outside = true;
                at[k] = inside ? pointers[rows[p + k]] : 0;
                left[k] = inside ? pointers[rows[p + k] + 1] - at[k] : 0;
                longest = std::max(longest, left[k]);
            }
            for (; longest > 1; longest -= longest / 2)
                for (std::int64_t k = 0; k < together; ++k)
                    if (const std::int64_t half = left[k] / 2) {
                        at[k] += half * (columns[at[k] + half - 1] < cols[p + k]);
                        left[k] -= half;
                    }
            for (std::int64_t k = 0; k < together; ++k)
                found[p + k] = left[k] && columns[at[k]] == cols[p + k] ? at[k] : -1;
        }
    });
    if (outside) throw std::out_of_range("an index is out of range for the shape");
}

#define DMC_SORT(Given, Index, Real) \
    template Repeats sort_entries<Given, Index, Real>(Triplets<Given, Real>, std::int64_t*, Index*, Real*, int);
#define DMC_VALUES(Index, Value) \
    template void by_line<Index, Value>(std::int64_t, const Index*, std::int64_t, const Value*, Value*, int);
#define DMC_PAIR(Index, Other)                                                                                      \
    DMC_SORT(Index, Other, float)                                                                                   \
    DMC_SORT(Index, Other, double)                                                                                  \
    template void transpose<Index, Other>(std::int64_t, const std::int64_t*, const Index*, std::int64_t,            \
                                          std::int64_t*, Other*, int);                                              \
    template void locate<Other, Index>(std::int64_t, const std::int64_t*, const Index*, std::int64_t, const Other*, \
                                       const Index*, std::int64_t*, int);
#define DMC_INDEX(Index)             \
    DMC_PAIR(Index, std::int32_t)    \
    DMC_PAIR(Index, std::int64_t)    \
    DMC_VALUES(Index, std::uint8_t)  \
    DMC_VALUES(Index, std::uint16_t) \
    DMC_VALUES(Index, std::uint32_t) \
    DMC_VALUES(Index, std::uint64_t)
DMC_INDEX(std::int32_t)
DMC_INDEX(std::int64_t)

}  // namespace dmc
