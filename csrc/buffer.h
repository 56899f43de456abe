// Memory for arrays that are gathered from, kept from one call to the next.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace dmc {

// A MemoryError in Python, that says how much was asked for.
class NoRoom : public std::bad_alloc {
  public:
    explicit NoRoom(std::size_t bytes) {
        std::snprintf(text_, sizeof text_, "there is no room in memory for another %zu bytes", bytes);
    }
    const char* what() const noexcept override { return text_; }

  private:
    char text_[80];
};

// Blocks that start at cache lines, of large pages where the system has them. What is given back serves the next call:
// fresh pages cost about as much as what is written to them. A pool lives as long as the problem it works for, and for
// each block that it has to fetch it gives up one: it keeps no more than the call that took most.
class Pool {
  public:
    static constexpr std::size_t kLarge = 4 << 20;  // bytes from which pages are worth a thought

    struct Block {
        char* data = nullptr;
        std::size_t size = 0;
    };

    Pool() { free_.reserve(kKept); }  // so that giving back, in destructors, needs no memory
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() { drop(); }

    Block take(std::size_t size) {
        const std::size_t alignment = size < kLarge ? 64 : kPage;
        size = (size + alignment - 1) / alignment * alignment;
        Block spare;  // the widths have changed
        {
            const std::lock_guard<std::mutex> lock(mutex);
            for (auto block = free_.begin(); block != free_.end(); ++block)
                if (block->size == size) {
                    const Block found = *block;
                    free_.erase(block);
                    return found;
                }
            spare = oldest();
        }
        std::free(spare.data);
        Block fresh{static_cast<char*>(std::aligned_alloc(alignment, size)), size};
        if (!fresh.data) {  // what is kept of other sizes may be what is missing
            drop();
            fresh.data = static_cast<char*>(std::aligned_alloc(alignment, size));
        }
        if (!fresh.data) throw NoRoom(size);
#ifdef __linux__
        if (alignment == kPage) madvise(fresh.data, size, MADV_HUGEPAGE);  // refused: smaller pages serve, more slowly
#endif
        return fresh;
    }

    void give(Block block) {
        Block spare;
        {
            const std::lock_guard<std::mutex> lock(mutex);
            if (free_.size() == kKept) spare = oldest();
            free_.push_back(block);
        }
        std::free(spare.data);
    }

    inline static std::mutex mutex;  // of all pools, so that a fork can wait for it

  private:
    Block oldest() {
        Block block;
        if (!free_.empty()) {
            block = free_.front();
            free_.erase(free_.begin());
        }
        return block;
    }

    void drop() {
        const std::lock_guard<std::mutex> lock(mutex);
        for (const Block& block : free_) std::free(block.data);
        free_.clear();
    }

    static constexpr std::size_t kPage = 1 << 21, kKept = 16;  // of several calls at a time
    std::vector<Block> free_;
};

// An array out of a pool. Not initialised, but for the vector of zeros that follows the last number: a whole vector may
// be read from any number.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    Buffer(Pool& pool, std::int64_t size)
        : pool_(&pool), block_(pool.take(std::max(size, std::int64_t(0)) * sizeof(T) + 64)) {
        std::memset(block_.data + size * sizeof(T), 0, 64);
    }
    Buffer(Buffer&& other) noexcept { *this = std::move(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(pool_, other.pool_);
        std::swap(block_, other.block_);
        return *this;
    }
    ~Buffer() {
        if (pool_) pool_->give(block_);
    }

    T* data() { return reinterpret_cast<T*>(block_.data); }
    const T* data() const { return reinterpret_cast<const T*>(block_.data); }
    T& operator[](std::int64_t i) { return data()[i]; }
    const T& operator[](std::int64_t i) const { return data()[i]; }
    explicit operator bool() const { return pool_ != nullptr; }

  private:
    Pool* pool_ = nullptr;
    Pool::Block block_;
};

}  // namespace dmc
