// What the bindings share: arrays as they come from NumPy, and how one that does not fit is refused.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checks.h"
#include "masked_product.h"
#include "unlocked.h"

namespace dmc {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

// Whatever compiled code reads goes through this before its first number is looked at. The dtype is the binding's:
// `noconvert`, for an array of another dtype or layout is a mistake of the caller, never a silent copy.
inline void check(const pybind11::array& a, const char* name, const Shape& wanted) {
    check_shape(name, Shape(a.shape(), a.shape() + a.ndim()), wanted);
    if (!(a.flags() & pybind11::array::c_style))
        refuse(std::string(name) + " is not contiguous in row order; give a copy");
    if (a.size()) check_aligned(name, a.data(), a.itemsize());
}

template <class T>
const T* checked(const Array<T>& a, const char* name, const Shape& wanted) {
    check(a, name, wanted);
    return a.data();
}

// Null where there is none.
template <class T>
const T* checked(const std::optional<Array<T>>& a, const char* name, const Shape& wanted) {
    return a ? checked(*a, name, wanted) : nullptr;
}

// Of an array that is written into.
template <class T>
T* written(Array<T>& a, const char* name, const Shape& wanted) {
    check(a, name, wanted);
    if (!a.writeable()) refuse(std::string(name) + " is read-only; give an array that can be written to");
    return a.mutable_data();
}

// Of a matrix whose lines are whole blocks of so many numbers.
inline void check_blocks(const pybind11::array& a, const char* name, std::int64_t lines, std::int64_t block) {
    check(a, name, {lines, kAny});
    if (a.shape(1) < 1 || a.shape(1) % block)
        refuse(std::string(name) + " has " + std::to_string(a.shape(1)) + " columns; give a multiple of " +
               std::to_string(block));
}

// The number of lines whose entries are at these indices.
inline std::int64_t check_pointers(const Array<std::int64_t>& pointers, const pybind11::array& indices) {
    const std::int64_t* p = checked(pointers, "pointers", {kAny});
    const std::int64_t count = pointers.shape(0) - 1;
    if (count < 0) refuse("pointers has shape (0,); it needs at least one element");
    if (p[0] != 0) refuse("pointers[0] is " + std::to_string(p[0]) + "; it has to be 0");
    for (std::int64_t i = 0; i < count; ++i)
        if (p[i + 1] < p[i])
            refuse("pointers[" + std::to_string(i + 1) + "] is less than pointers[" + std::to_string(i) +
                   "]; pointers must not decrease");
    check(indices, "indices", {p[count]});
    return count;
}

// Some lines that follow each other.
template <class Index>
Lines<Index> some_of(Lines<Index> lines, const pybind11::slice& some) {
    pybind11::ssize_t begin = 0, end = 0, step = 1, count = 0;
    if (!some.compute(lines.count, &begin, &end, &step, &count)) throw pybind11::error_already_set();
    if (step != 1) refuse("the slice has step " + std::to_string(step) + "; it has to be 1");
    lines.pointers += begin;
    lines.count = count;
    return lines;
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

// Whether nobody can write to the array's memory any more: it is that of a bytes object, and all views on the way there
// are read-only. A flag alone can be set back, and other arrays may share the memory.
inline bool is_immutable(const pybind11::array& array) {
    pybind11::object owner = array;
    while (pybind11::isinstance<pybind11::array>(owner)) {
        const auto view = pybind11::reinterpret_borrow<pybind11::array>(owner);
        if (view.writeable()) return false;
        owner = view.base();
        if (!owner) return false;
    }
    return PyBytes_Check(owner.ptr());
}

// The array, or a copy that nobody else knows where its numbers could change after they were checked.
template <class T>
Array<T> kept(const Array<T>& array) {
    const bool fits = (array.flags() & pybind11::array::c_style) &&
                      reinterpret_cast<std::uintptr_t>(array.data()) % sizeof(T) == 0;  // or else it is refused
    if (!fits || is_immutable(array)) return array;
    return Array<T>(std::vector<pybind11::ssize_t>(array.shape(), array.shape() + array.ndim()), array.data());
}

// The entries of a matrix line by line, checked once and cut into pieces of work; keeps the arrays alive.
template <class Index>
class Entries {
  public:
    Entries(const Array<std::int64_t>& pointers, const Array<Index>& indices, std::int64_t other_lines)
        : pointers_(kept(pointers)), indices_(kept(indices)), other_lines_(other_lines) {
        if (other_lines < 0) refuse("other_lines is " + std::to_string(other_lines) + "; give 0 or more");
        const std::int64_t count = check_pointers(pointers_, indices_);
        const std::int64_t* p = pointers_.data();
        const auto [least, most] = std::minmax_element(indices_.data(), indices_.data() + p[count]);
        for (const Index* worst : {least, most})
            if (p[count] && (*worst < 0 || *worst >= other_lines))
                refuse("index " + std::to_string(*worst) + " is out of range for the " + std::to_string(other_lines) +
                       " rows of the other factor");
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
