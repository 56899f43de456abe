// Entries in the order of their lines: what the sorting computes, on plain pointers.
//
// All of it is stable counting sorts, in time linear in entries and lines; a stable order is unique, so that the result
// cannot depend on the number of threads. The caller owns every array and has checked lengths; indices are checked
// here, where they are read anyway: std::out_of_range where one lies outside the shape, and the outputs are then
// undefined.
#pragma once

#include <cstdint>

namespace dmc {

// Entries that repeat the position of the entry before them; the first of them, or −1.
struct Repeats {
    std::int64_t count, first;
};

// Entries as they come, of an m×n matrix.
template <class Given, class Real>
struct Triplets {
    std::int64_t count, m, n;
    const Given *rows, *cols;
    const Real* values;
};

// Triplets row by row, columns ascending within a row, equal positions in the order given: pointers (m + 1), columns
// and out (count).
template <class Given, class Index, class Real>
Repeats sort_entries(Triplets<Given, Real> given, std::int64_t* pointers, Index* columns, Real* out, int n_threads);

// Line by line as seen from the other side: entry (i, j) of the lines becomes entry (j, i); i ascends within each j.
// pointers (lines + 1), indices of n other lines -> other_pointers (n + 1), other_indices.
template <class Index, class Other>
void transpose(std::int64_t lines, const std::int64_t* pointers, const Index* indices, std::int64_t n,
               std::int64_t* other_pointers, Other* other_indices, int n_threads);

// Values in the order of the lines of their entries, of which there are n; equal lines in the order given.
template <class Index, class Value>
void by_line(std::int64_t count, const Index* lines, std::int64_t n, const Value* values, Value* out, int n_threads);

// found[p]: the entry at (rows[p], cols[p]) among entries row by row, columns ascending without repeats; −1 if none is.
template <class Row, class Index>
void locate(std::int64_t m, const std::int64_t* pointers, const Index* columns, std::int64_t pairs, const Row* rows,
            const Index* cols, std::int64_t* found, int n_threads);

}  // namespace dmc
