// What the bindings share: arrays as they come from NumPy, and how one that does not fit is refused.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

namespace dmc {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

[[noreturn]] inline void refuse(const std::string& message) { throw pybind11::value_error(message); }

inline std::string dims(const pybind11::array& a) {
    std::string text = "(";
    for (pybind11::ssize_t d = 0; d < a.ndim(); ++d) text += (d ? ", " : "") + std::to_string(a.shape(d));
    return text + (a.ndim() == 1 ? ",)" : ")");
}

inline void check_length(const pybind11::array& a, const char* name, pybind11::ssize_t length) {
    if (a.ndim() != 1 || a.shape(0) != length)
        refuse(std::string(name) + " has shape " + dims(a) + "; it has to be (" + std::to_string(length) + ",)");
}

}  // namespace dmc
