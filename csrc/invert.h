// The inverse of a small symmetric positive definite matrix, by vectors.
#pragma once

#include <cstdint>

#include "vectors.h"

namespace dmc {

// The first `size` columns become the inverse of the matrix that they are, further ones are multiplied by it. Without a
// search for pivots: the matrix is symmetric and positive definite, and its largest number about one: digits are lost
// where a pivot is far above that. Blocks vectors a row; 0: any number.
template <int Bytes, int Blocks>
DMC_INLINE void invert(double* a, std::int64_t size, std::int64_t stride, double* pivot) {
    using V = Vector<double, Bytes>;
    const std::int64_t blocks = Blocks ? Blocks : stride / V::lanes;
    for (std::int64_t p = 0; p < size; ++p) {
        double* own = a + p * stride;
        const double inverse = 1 / own[p];
        for (std::int64_t v = 0; v < blocks; ++v) V::store(pivot + v * V::lanes, V::load(own + v * V::lanes) * inverse);
        // f, at p, becomes f − f·(1 + inverse): no number has to be put into a vector that is about to be read.
        pivot[p] = 1 + inverse;
        typename V::type kept[Blocks ? Blocks : 1];
        for (int v = 0; v < Blocks; ++v) kept[v] = V::load(pivot + v * V::lanes);
        for (std::int64_t r = 0; r < size; ++r) {
            double* row = a + r * stride;
            const double factor = row[p];
            for (std::int64_t v = 0; v < blocks; ++v) {
                const auto by = Blocks ? kept[Blocks ? v : 0] : V::load(pivot + v * V::lanes);
                V::store(row + v * V::lanes, V::load(row + v * V::lanes) - factor * by);
            }
        }
        pivot[p] = inverse;  // the pivot's own row has been written over
        for (std::int64_t v = 0; v < blocks; ++v) V::store(own + v * V::lanes, V::load(pivot + v * V::lanes));
    }
}

}  // namespace dmc
