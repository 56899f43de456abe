// The masked product on a GPU: the contract of masked_product.h, on pointers to the device's memory and a stream.
//
// Nothing is allocated, and nobody waits: what a call needs meanwhile is the caller's, and so is the stream. Widths are
// those of kWidths: fill up narrower factors with zeros. Results are bitwise the same in every run.
#pragma once

#include <cstdint>

#ifdef DMC_STAND_IN
#include "lab/cuda_stand_in.h"
#else
#include <cuda_runtime.h>
#endif

namespace dmc {

constexpr int kWidths[] = {8, 16, 32, 64, 128, 256};

// Some entries of one line. `partial` ≥ 0: the line has several segments, and this is the place of its sum among
// theirs.
struct Segment {
    std::int64_t line, first, last, partial;
};

// A line of several segments: their sums stand at first … first + count − 1.
struct LongLine {
    std::int64_t line, first, count;
};

struct DeviceLines {
    const std::int32_t* indices;   // (entries): the line of the other side
    const Segment *light, *heavy;  // every line in at least one of them, also where it has no entry
    std::int64_t light_count, heavy_count;
    const LongLine* long_lines;
    std::int64_t long_count;
};

enum class Form { float32, float64, bfloat16, float16 };  // of the numbers that are gathered

struct DeviceSides {
    const void *own, *other;  // (lines, width); own float32, or float64 with other float64
    std::int64_t width;
    Form form;  // of other
};

constexpr int kLossSums = 256;

// What a call needs for itself: a loss for each segment, light ones first, and kLossSums; and the sums of the segments
// of long lines, (partials, width).
struct Workspace {
    double* losses;
    void* partials;
};

// out[e] = ⟨own_i, other_j⟩ for each entry.
void masked_product(const DeviceLines& lines, const DeviceSides& sides, void* out, cudaStream_t stream);

// d_own_i = Σ w r other_j, and *loss = ½ Σ w r²; weights null: all one; loss null: it is not wanted. Target, weights,
// d_own: as own.
void residual_gradient(const DeviceLines& lines, const DeviceSides& sides, const void* target, const void* weights,
                       void* d_own, double* loss, const Workspace& workspace, cudaStream_t stream);

}  // namespace dmc
