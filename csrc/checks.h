// How an array that does not fit is refused, wherever it stands: in NumPy's memory or in that of a GPU.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

namespace dmc {

using Shape = std::vector<std::int64_t>;
constexpr std::int64_t kAny = -1;  // in the place of a length that may be any

[[noreturn]] inline void refuse(const std::string& message) { throw pybind11::value_error(message); }

inline std::string dims(const Shape& shape) {
    std::string text = "(";
    for (std::size_t d = 0; d < shape.size(); ++d)
        text += (d ? ", " : "") + (shape[d] == kAny ? "any" : std::to_string(shape[d]));
    return text + (shape.size() == 1 ? ",)" : ")");
}

inline void check_shape(const std::string& name, const Shape& found, const Shape& wanted) {
    bool fits = found.size() == wanted.size();
    for (std::size_t d = 0; fits && d < wanted.size(); ++d) fits = wanted[d] == kAny || found[d] == wanted[d];
    if (!fits) refuse(name + " has shape " + dims(found) + "; it has to be " + dims(wanted));
}

// Compiled loops take numbers to stand at multiples of their size, which views into records and files need not do.
inline void check_aligned(const std::string& name, const void* data, std::size_t bytes) {
    if (reinterpret_cast<std::uintptr_t>(data) % bytes)
        refuse(name + " is not aligned to " + std::to_string(bytes) + " bytes in memory; give a copy");
}

}  // namespace dmc
