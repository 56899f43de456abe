// One kernel for both passes. A line of the other side is gathered by as many neighbouring threads as it has 16 bytes:
// a group. Groups of a warp share a heavy segment, or have a light one each.

#include <algorithm>
#include <stdexcept>
#include <string>

#include "masked_product_cuda.h"

namespace dmc {

#ifndef DMC_STAND_IN
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), std::int64_t blocks, int threads, cudaStream_t stream,
            const Arguments&... arguments) {
    kernel<<<unsigned(blocks), unsigned(threads), 0, stream>>>(arguments...);
}
#endif

namespace {

constexpr int kWarp = 32, kThreads = 128;
constexpr int kInFlight = 4;  // gathers of a group under way at a time

// The numbers in 16 bytes of a gathered line.
template <class Real, Form F>
struct Chunk;

template <>
struct Chunk<float, Form::float32> {
    static constexpr int numbers = 4;
    static __device__ __forceinline__ void unpack(const uint4& raw, float* out) {
        const std::uint32_t words[] = {raw.x, raw.y, raw.z, raw.w};
        for (int i = 0; i < 4; ++i) memcpy(out + i, words + i, 4);
    }
};

template <>
struct Chunk<double, Form::float64> {
    static constexpr int numbers = 2;
    static __device__ __forceinline__ void unpack(const uint4& raw, double* out) {
        const std::uint64_t words[] = {raw.x | std::uint64_t(raw.y) << 32, raw.z | std::uint64_t(raw.w) << 32};
        for (int i = 0; i < 2; ++i) memcpy(out + i, words + i, 8);
    }
};

template <>
struct Chunk<float, Form::bfloat16> {
    static constexpr int numbers = 8;
    static __device__ __forceinline__ void unpack(const uint4& raw, float* out) {
        const std::uint32_t words[] = {raw.x, raw.y, raw.z, raw.w};
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t low = words[i] << 16, high = words[i] & 0xffff0000;
            memcpy(out + 2 * i, &low, 4);
            memcpy(out + 2 * i + 1, &high, 4);
        }
    }
};

// A float16's value: the exponent is moved by a product with 2¹¹², which is exact, denormal numbers included.
__device__ __forceinline__ float from_half(std::uint32_t half) {
    const std::uint32_t shifted = (half & 0x7fff) << 13;
    float value;
    memcpy(&value, &shifted, 4);
    value *= 5.192296858534828e33f;
    std::uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((half & 0x7c00) == 0x7c00) bits = 0x7f800000 | (half & 0x3ff) << 13;  // infinite, or NaN
    bits |= (half & 0x8000) << 16;
    memcpy(&value, &bits, 4);
    return value;
}

template <>
struct Chunk<float, Form::float16> {
    static constexpr int numbers = 8;
    static __device__ __forceinline__ void unpack(const uint4& raw, float* out) {
        const std::uint32_t words[] = {raw.x, raw.y, raw.z, raw.w};
        for (int i = 0; i < 4; ++i) {
            out[2 * i] = from_half(words[i] & 0xffff);
            out[2 * i + 1] = from_half(words[i] >> 16);
        }
    }
};

template <class Real>
struct Work {
    const std::int32_t* indices;
    const Segment* segments;
    std::int64_t count;  // of segments
    const Real* own;
    const uint4* other;
    const Real* target;   // null: only the product is wanted
    const Real* weights;  // null: all one
    Real* out;            // the product (entries), or d_own
    Real* partials;
    double* losses;  // one for each segment
};

// Sums over groups of threads whose number is a power of two, the same on each of them.
template <int Threads, class T>
__device__ __forceinline__ T sum_over(T value) {
    for (int step = Threads / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffff, value, step);
    return value;
}

__device__ __forceinline__ std::int64_t largest_in_warp(std::int64_t value) {
    for (int step = kWarp / 2; step > 0; step /= 2) {
        const std::int64_t other = __shfl_xor_sync(0xffffffff, value, step);
        value = other > value ? other : value;
    }
    return value;
}

template <class Real, Form F, int Width, bool Together, bool Product>
__global__ void __launch_bounds__(kThreads, 4) pass(Work<Real> work) {
    using C = Chunk<Real, F>;
    constexpr int chunks = Width / C::numbers;              // of a line
    constexpr int lanes = chunks < kWarp ? chunks : kWarp;  // threads of a group
    constexpr int each = chunks / lanes;                    // chunks of a thread
    constexpr int groups = kWarp / lanes;                   // of a warp
    constexpr int stride = Together ? groups : 1;
    const int lane = threadIdx.x % lanes, group = threadIdx.x % kWarp / lanes;
    const std::int64_t warp = std::int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
    const std::int64_t mine = Together ? warp : warp * groups + group;
    // Every thread of a warp goes through the same loops, also where it has nothing to do: they exchange values there.
    const bool present = mine < work.count;
    const Segment segment = present ? work.segments[mine] : Segment{0, 0, 0, -1};

    Real own[each][C::numbers], sums[each][C::numbers];
#pragma unroll
    for (int c = 0; c < each; ++c)
#pragma unroll
        for (int i = 0; i < C::numbers; ++i) {
            own[c][i] = present ? work.own[segment.line * Width + (c * lanes + lane) * C::numbers + i] : Real(0);
            sums[c][i] = 0;
        }
    double loss = 0;
    const std::int64_t length = Together ? segment.last - segment.first : largest_in_warp(segment.last - segment.first);
    for (std::int64_t step = 0; step < length; step += stride * kInFlight) {
        uint4 raw[kInFlight][each];
        std::int64_t entry[kInFlight];
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
            entry[u] = segment.first + step + u * stride + (Together ? group : 0);
            const bool there = entry[u] < segment.last;
            if (!there) entry[u] = -1;
#pragma unroll
            for (int c = 0; c < each; ++c)
                raw[u][c] = there ? __ldg(work.other + std::int64_t(work.indices[entry[u]]) * chunks + c * lanes + lane)
                                  : uint4{0, 0, 0, 0};
        }
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
            Real values[each][C::numbers], dot = 0;
#pragma unroll
            for (int c = 0; c < each; ++c) {
                C::unpack(raw[u][c], values[c]);
                for (int i = 0; i < C::numbers; ++i) dot += own[c][i] * values[c][i];
            }
            dot = sum_over<lanes>(dot);
            if (entry[u] < 0) continue;
            if constexpr (Product) {
                if (lane == 0) work.out[entry[u]] = dot;
            } else {
                const Real residual = dot - work.target[entry[u]];
                const Real scaled = work.weights ? work.weights[entry[u]] * residual : residual;
                if (lane == 0) loss += 0.5 * double(scaled) * double(residual);
#pragma unroll
                for (int c = 0; c < each; ++c)
                    for (int i = 0; i < C::numbers; ++i) sums[c][i] += scaled * values[c][i];
            }
        }
    }
    if constexpr (!Product) {
        if constexpr (Together) {  // a sum over the groups: threads with the same lane
#pragma unroll
            for (int c = 0; c < each; ++c)
#pragma unroll
                for (int i = 0; i < C::numbers; ++i)
#pragma unroll
                    for (int step = kWarp / 2; step >= lanes; step /= 2)
                        sums[c][i] += __shfl_xor_sync(0xffffffff, sums[c][i], step);
            loss = sum_over<kWarp>(loss);
        }
        if (!present || (Together && group > 0)) return;
        Real* to = segment.partial < 0 ? work.out + segment.line * Width : work.partials + segment.partial * Width;
#pragma unroll
        for (int c = 0; c < each; ++c)
#pragma unroll
            for (int i = 0; i < C::numbers; ++i) to[(c * lanes + lane) * C::numbers + i] = sums[c][i];
        if (lane == 0) work.losses[mine] = loss;
    }
}

// The sums of the segments of each long line, in their order; a thread for each number.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    add_segments(const LongLine* lines, std::int64_t count, std::int64_t width, const Real* partials, Real* out) {
    const std::int64_t place = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
    if (place >= count * width) return;
    const LongLine line = lines[place / width];
    Real sum = 0;
    for (std::int64_t s = 0; s < line.count; ++s) sum += partials[(line.first + s) * width + place % width];
    out[line.line * width + place % width] = sum;
}

// Each warp adds up some losses: each of its threads in order, then the threads in theirs.
__global__ void __launch_bounds__(kThreads)
    add_losses(const double* losses, std::int64_t count, std::int64_t warps, double* sums) {
    const std::int64_t warp = std::int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
    double sum = 0;
    for (std::int64_t s = warp * kWarp + threadIdx.x % kWarp; warp < warps && s < count; s += warps * kWarp)
        sum += losses[s];
    sum = sum_over<kWarp>(sum);
    if (warp < warps && threadIdx.x % kWarp == 0) sums[warp] = sum;
}

void check(const char* what) {
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess)
        throw std::runtime_error(std::string("CUDA could not start ") + what + " (" + cudaGetErrorString(error) +
                                 "); the error may come from earlier work of this process: set CUDA_LAUNCH_BLOCKING=1 "
                                 "to see which");
}

template <class Real, Form F, int Width, bool Together, bool Product>
void start(Work<Real> work, cudaStream_t stream) {
    constexpr int chunks = Width / Chunk<Real, F>::numbers, groups = chunks < kWarp ? kWarp / chunks : 1;
    const std::int64_t segments = (Together ? 1 : groups) * (kThreads / kWarp);  // of a block
    if (work.count == 0) return;
    launch(pass<Real, F, Width, Together, Product>, (work.count + segments - 1) / segments, kThreads, stream, work);
    check("the masked product");
}

template <class Real, Form F, bool Product, int Place = 0>
void start_width(Work<Real> light, Work<Real> heavy, std::int64_t width, cudaStream_t stream) {
    constexpr int Width = kWidths[Place];
    if (width == Width) {
        start<Real, F, Width, false, Product>(light, stream);
        start<Real, F, Width, true, Product>(heavy, stream);
    } else if constexpr (Place + 1 < int(sizeof kWidths / sizeof *kWidths)) {
        start_width<Real, F, Product, Place + 1>(light, heavy, width, stream);
    } else {
        throw std::invalid_argument("the factors have " + std::to_string(width) +
                                    " columns; pad them to one of the widths of the kernel");
    }
}

template <class Real, Form F, bool Product>
void start_all(const DeviceLines& lines, const DeviceSides& sides, const void* target, const void* weights, void* out,
               const Workspace& workspace, cudaStream_t stream) {
    const Work<Real> light{lines.indices,
                           lines.light,
                           lines.light_count,
                           static_cast<const Real*>(sides.own),
                           static_cast<const uint4*>(sides.other),
                           static_cast<const Real*>(target),
                           static_cast<const Real*>(weights),
                           static_cast<Real*>(out),
                           static_cast<Real*>(workspace.partials),
                           workspace.losses};
    Work<Real> heavy = light;
    heavy.segments = lines.heavy;
    heavy.count = lines.heavy_count;
    if (heavy.losses) heavy.losses += lines.light_count;
    start_width<Real, F, Product>(light, heavy, sides.width, stream);
    if constexpr (!Product)
        if (lines.long_count) {
            const std::int64_t numbers = lines.long_count * sides.width;
            launch(add_segments<Real>, (numbers + kThreads - 1) / kThreads, kThreads, stream, lines.long_lines,
                   lines.long_count, sides.width, static_cast<const Real*>(workspace.partials),
                   static_cast<Real*>(out));
            check("the sum of the segments");
        }
}

}  // namespace

void masked_product(const DeviceLines& lines, const DeviceSides& sides, void* out, cudaStream_t stream) {
    if (sides.form == Form::float64)
        start_all<double, Form::float64, true>(lines, sides, nullptr, nullptr, out, {}, stream);
    else if (sides.form == Form::float32)
        start_all<float, Form::float32, true>(lines, sides, nullptr, nullptr, out, {}, stream);
    else
        throw std::invalid_argument("the product needs float32 or float64");
}

void residual_gradient(const DeviceLines& lines, const DeviceSides& sides, const void* target, const void* weights,
                       void* d_own, double* loss, const Workspace& workspace, cudaStream_t stream) {
    switch (sides.form) {
        case Form::float32:
            start_all<float, Form::float32, false>(lines, sides, target, weights, d_own, workspace, stream);
            break;
        case Form::float64:
            start_all<double, Form::float64, false>(lines, sides, target, weights, d_own, workspace, stream);
            break;
        case Form::bfloat16:
            start_all<float, Form::bfloat16, false>(lines, sides, target, weights, d_own, workspace, stream);
            break;
        case Form::float16:
            start_all<float, Form::float16, false>(lines, sides, target, weights, d_own, workspace, stream);
            break;
    }
    if (!loss) return;
    const std::int64_t segments = lines.light_count + lines.heavy_count;
    const std::int64_t warps = std::min<std::int64_t>(kLossSums, segments / (2 * kWarp) + 1), block = kThreads / kWarp;
    double* sums = workspace.losses + segments;
    launch(add_losses, (warps + block - 1) / block, kThreads, stream, workspace.losses, segments, warps, sums);
    launch(add_losses, 1, kThreads, stream, sums, warps, std::int64_t(1), loss);
    check("the sum of the losses");
}

}  // namespace dmc
