// Python's lock, given up while compiled code runs.
#pragma once

#include <Python.h>
#include <unistd.h>

#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

namespace dmc {

// As pybind11's gil_scoped_release, but for the end of the interpreter: Python 3.13 and earlier end a thread that then
// asks for the lock, by unwinding its stack, and to unwind through a destructor ends the process by std::terminate. A
// daemon thread sleeps here instead until the process is gone, as Python 3.14 has it.
class Unlocked {
  public:
    Unlocked() : state_(PyEval_SaveThread()) {}
    Unlocked(const Unlocked&) = delete;
    Unlocked& operator=(const Unlocked&) = delete;
    ~Unlocked() {
#ifdef __GLIBCXX__
        try {
            PyEval_RestoreThread(state_);
        } catch (abi::__forced_unwind&) {
            for (;;) pause();
        }
#else
        PyEval_RestoreThread(state_);
#endif
    }

  private:
    PyThreadState* state_;
};

}  // namespace dmc
