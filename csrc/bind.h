// What the bindings share: arrays as they come from NumPy, and how one that does not fit is refused.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "masked_product.h"

namespace dmc {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

[[noreturn]] inline void refuse(const std::string& message) { throw pybind11::value_error(message); }

inline std::string dims(const pybind11::array& a) {
    std::string text = "(";
    for (pybind11::ssize_t d = 0; d < a.ndim(); ++d) text += (d ? ", " : "") + std::to_string(a.shape(d));
    return text + (a.ndim() == 1 ? ",)" : ")");
}

// Compiled loops take numbers to stand at multiples of their size, which views into records and files need not do.
inline void check_aligned(const pybind11::array& a, const char* name) {
    if (!pybind11::detail::check_flags(a.ptr(), pybind11::detail::npy_api::NPY_ARRAY_ALIGNED_))
        refuse(std::string(name) + " is not aligned in memory; give a copy");
}

inline void check_length(const pybind11::array& a, const char* name, pybind11::ssize_t length) {
    if (a.ndim() != 1 || a.shape(0) != length)
        refuse(std::string(name) + " has shape " + dims(a) + "; it has to be (" + std::to_string(length) + ",)");
}

// A matrix for Python out of a pool, to which it comes back when nobody holds it any more: a gradient of a hundred
// megabytes would else spend a fifth of its time on fresh pages.
template <class T>
Array<T> pooled(const std::shared_ptr<Pool>& pool, std::int64_t rows, std::int64_t columns) {
    const std::size_t size = rows * columns * sizeof(T);
    if (size < Pool::kLarge) return Array<T>({rows, columns});
    struct Held {
        std::shared_ptr<Pool> pool;
        Pool::Block block;
        ~Held() { pool->give(block); }
    };
    std::unique_ptr<Held> held(new Held{pool, pool->take(size)});
    T* data = reinterpret_cast<T*>(held->block.data);
    const pybind11::capsule owner(held.get(), [](void* pointer) { delete static_cast<Held*>(pointer); });
    held.release();
    return Array<T>({rows, columns}, data, owner);
}

// The entries of a matrix line by line, checked once and cut into pieces of work; keeps the arrays alive.
template <class Index>
class Entries {
  public:
    Entries(Array<std::int64_t> pointers, Array<Index> indices, std::int64_t other_lines)
        : pointers_(std::move(pointers)), indices_(std::move(indices)), other_lines_(other_lines) {
        if (pointers_.ndim() != 1 || pointers_.shape(0) < 1)
            refuse("pointers has shape " + dims(pointers_) + "; it has to be (lines + 1,)");
        const std::int64_t count = pointers_.shape(0) - 1;
        const std::int64_t* p = pointers_.data();
        if (p[0] != 0) refuse("pointers start at " + std::to_string(p[0]) + "; they have to start at 0");
        for (std::int64_t i = 0; i < count; ++i)
            if (p[i + 1] < p[i]) refuse("pointers fall after line " + std::to_string(i) + "; they have to ascend");
        check_length(indices_, "indices", p[count]);
        check_aligned(pointers_, "pointers");
        check_aligned(indices_, "indices");
        const auto [least, most] = std::minmax_element(indices_.data(), indices_.data() + p[count]);
        for (const Index* worst : {least, most})
            if (p[count] && (*worst < 0 || *worst >= other_lines))
                refuse("index " + std::to_string(*worst) + " is out of range for " + std::to_string(other_lines) +
                       " lines of the other side");
        pieces_ = cut(count, p);
    }

    Lines<Index> lines() const {
        return {pointers_.shape(0) - 1, other_lines_, pointers_.data(), indices_.data(), &pieces_, pool_.get()};
    }

    const std::shared_ptr<Pool>& pool() const { return pool_; }

  private:
    Array<std::int64_t> pointers_;
    Array<Index> indices_;
    std::int64_t other_lines_;
    std::vector<Piece> pieces_;
    std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();  // arrays that Python holds may outlive the entries
};

}  // namespace dmc
