// Memory for arrays that are gathered from: starts of cache lines, large pages where the system has them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace dmc {

// Not initialised, but for the vector of zeros that follows the last number: a whole vector may be read from any
// number.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::int64_t size) {
        const std::size_t bytes = std::size_t(size) * sizeof(T), alignment = bytes < kLarge ? 64 : kPage,
                          whole = (bytes + 64 + alignment - 1) / alignment * alignment;
        data_ = static_cast<T*>(std::aligned_alloc(alignment, whole));
        if (!data_) throw std::bad_alloc();
#ifdef __linux__
        if (alignment == kPage) madvise(data_, whole, MADV_HUGEPAGE);  // refused: smaller pages serve, more slowly
#endif
        std::memset(static_cast<void*>(data_ + size), 0, 64);
    }
    Buffer(Buffer&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    ~Buffer() { std::free(data_); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](std::int64_t i) { return data_[i]; }
    const T& operator[](std::int64_t i) const { return data_[i]; }
    explicit operator bool() const { return data_ != nullptr; }

  private:
    static constexpr std::size_t kPage = 1 << 21, kLarge = 4 << 20;
    T* data_ = nullptr;
};

}  // namespace dmc
