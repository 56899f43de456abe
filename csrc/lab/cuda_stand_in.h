// Enough of CUDA to run the kernels' own source on a processor: a thread for each of a block's threads, blocks one
// after another, barriers where a warp exchanges values. For tests under the sanitizers, where no GPU is at hand.
#pragma once

#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct float4 {
    float x, y, z, w;
};
struct double2 {
    double x, y;
};
struct uint4 {
    std::uint32_t x, y, z, w;
};
inline thread_local dim3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace stand_in {

constexpr unsigned kWarp = 32;

struct Warp {
    std::barrier<> barrier{kWarp};
    std::uint64_t slots[kWarp];
};
inline std::vector<std::unique_ptr<Warp>> warps;

template <class T>
T exchange(T value, unsigned from) {
    static_assert(sizeof(T) <= 8);
    Warp& warp = *warps[threadIdx.x / kWarp];
    const unsigned lane = threadIdx.x % kWarp;
    std::memcpy(&warp.slots[lane], &value, sizeof value);
    warp.barrier.arrive_and_wait();
    std::memcpy(&value, &warp.slots[from], sizeof value);
    warp.barrier.arrive_and_wait();
    return value;
}

template <class Body>
void run_block(unsigned threads, const Body& body) {
    warps.clear();
    for (unsigned w = 0; w < threads / kWarp; ++w) warps.push_back(std::make_unique<Warp>());
    std::vector<std::thread> all;
    const dim3 block = blockIdx;
    for (unsigned t = 0; t < threads; ++t)
        all.emplace_back([&, t] {
            threadIdx.x = t;
            blockIdx = block;
            body();
        });
    for (std::thread& thread : all) thread.join();
}

}  // namespace stand_in

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return stand_in::exchange(value, threadIdx.x % stand_in::kWarp ^ unsigned(mask));
}
template <class T>
T __ldg(const T* p) {
    return *p;
}

typedef void* cudaStream_t;
typedef int cudaError_t;
constexpr cudaError_t cudaSuccess = 0, cudaErrorInsufficientDriver = 35, cudaErrorNoDevice = 100;

// A machine as the environment describes it; if nothing is said, one GPU that can run the kernels.
inline int described(const char* name, int otherwise) {
    const char* text = std::getenv(name);
    return text ? std::atoi(text) : otherwise;
}
inline cudaError_t cudaGetLastError() { return described("STAND_IN_ERROR", cudaSuccess); }
inline const char* cudaGetErrorString(cudaError_t error) { return error ? "an error of the stand-in" : "no error"; }
inline cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 13000;
    return cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) {
    *version = described("STAND_IN_DRIVER", 13000);
    return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = described("STAND_IN_DEVICES", 1);
    if (described("STAND_IN_DRIVER", 13000) < 13000) return cudaErrorInsufficientDriver;
    return *count ? described("STAND_IN_ERROR", cudaSuccess) : cudaErrorNoDevice;
}
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    const int capability = described("STAND_IN_CAPABILITY", 90);
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? capability / 10 : capability % 10;
    return cudaSuccess;
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), std::int64_t blocks, int threads, cudaStream_t,
            const Arguments&... arguments) {
    blockDim.x = unsigned(threads);
    gridDim.x = unsigned(blocks);
    for (std::int64_t b = 0; b < blocks; ++b) {
        blockIdx.x = unsigned(b);
        stand_in::run_block(unsigned(threads), [&] { kernel(arguments...); });
    }
}
