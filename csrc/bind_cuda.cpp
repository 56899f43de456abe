// dmc._cuda: the CUDA kernels for Python. Arrays are any objects with a __cuda_array_interface__; what they say of
// themselves is checked, what stands in the device's memory is not: the maker of a plan has done that. Nothing is
// allocated and nobody waits; the caller keeps the arrays until the stream has passed the call.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checks.h"
#include "masked_product_cuda.h"
#include "unlocked.h"

namespace py = pybind11;
using dmc::dims;
using dmc::kAny;
using dmc::refuse;
using dmc::Shape;

namespace {

struct DeviceArray {
    std::string name;
    py::object owner;
    void* data;
    bool read_only;
    Shape shape;

    DeviceArray(const py::object& given, const char* name_, const std::string& type) : name(name_), owner(given) {
        if (!py::hasattr(given, "__cuda_array_interface__"))
            throw py::type_error(name + " is of type " +
                                 py::str(py::type::of(given).attr("__name__")).cast<std::string>() +
                                 "; it has to be a CUDA tensor that requires no gradient");
        const py::dict known = given.attr("__cuda_array_interface__");
        const auto found = known["typestr"].cast<std::string>();
        if (found != type) throw py::type_error(name + " holds numbers of type " + found + "; give " + type);
        shape = known["shape"].cast<Shape>();
        const auto where = known["data"].cast<std::pair<std::uintptr_t, bool>>();
        data = reinterpret_cast<void*>(where.first);
        read_only = where.second;
        if (known.contains("strides") && !known["strides"].is_none()) check_gaps(known["strides"].cast<Shape>(), type);
        if (count()) dmc::check_aligned(name, data, std::stoul(type.substr(2)));
    }

    std::int64_t count() const {
        std::int64_t numbers = 1;
        for (const std::int64_t length : shape) numbers *= length;
        return numbers;
    }

    void check_shape(const Shape& wanted) const { dmc::check_shape(name, shape, wanted); }

    // An array that the kernels write into.
    void* written() const {
        if (read_only) refuse(name + " is read-only; give an array that can be written to");
        return data;
    }

  private:
    void check_gaps(const Shape& strides, const std::string& type) const {
        std::int64_t step = std::stoll(type.substr(2));
        for (std::size_t d = shape.size(); d-- > 0;) {
            if (shape[d] > 1 && count() && strides.at(d) != step)
                refuse(name + " is not contiguous in row order; give a copy");
            step *= shape[d];
        }
    }
};

// The entries of a matrix line by line, cut into segments; keeps the arrays alive.
class Lines {
  public:
    Lines(const py::object& indices, const py::object& light, const py::object& heavy, const py::object& long_lines,
          std::int64_t lines, std::int64_t other_lines, std::int64_t partials)
        : indices_(indices, "indices", "<i4"),
          light_(light, "light", "<i8"),
          heavy_(heavy, "heavy", "<i8"),
          long_(long_lines, "long_lines", "<i8"),
          lines_(lines),
          other_lines_(other_lines),
          partials_(partials) {
        indices_.check_shape({kAny});
        light_.check_shape({kAny, sizeof(dmc::Segment) / sizeof(std::int64_t)});
        heavy_.check_shape({kAny, sizeof(dmc::Segment) / sizeof(std::int64_t)});
        long_.check_shape({kAny, sizeof(dmc::LongLine) / sizeof(std::int64_t)});
        for (const auto& [name, number] :
             {std::pair{"lines", lines}, {"other_lines", other_lines}, {"partials", partials}})
            if (number < 0) refuse(std::string(name) + " is " + std::to_string(number) + "; give 0 or more");
        if (segments() < lines)
            refuse("there are " + std::to_string(segments()) + " segments for " + std::to_string(lines) +
                   " rows; each row needs one, even without entries");
    }

    dmc::DeviceLines device() const {
        return {static_cast<const std::int32_t*>(indices_.data),
                static_cast<const dmc::Segment*>(light_.data),
                static_cast<const dmc::Segment*>(heavy_.data),
                light_.shape[0],
                heavy_.shape[0],
                static_cast<const dmc::LongLine*>(long_.data),
                long_.shape[0]};
    }
    std::int64_t segments() const { return light_.shape[0] + heavy_.shape[0]; }
    std::int64_t entries() const { return indices_.shape[0]; }
    std::int64_t lines() const { return lines_; }
    std::int64_t other_lines() const { return other_lines_; }
    std::int64_t partials() const { return partials_; }

  private:
    DeviceArray indices_, light_, heavy_, long_;
    std::int64_t lines_, other_lines_, partials_;
};

// What a form is called, the type of its numbers, and that of the sums: bfloat16 comes as the bits of it, because the
// array interface has no name for the type.
struct FormOf {
    dmc::Form form;
    const char *name, *type, *real;
};
constexpr FormOf kForms[] = {{dmc::Form::float32, "float32", "<f4", "<f4"},
                             {dmc::Form::float64, "float64", "<f8", "<f8"},
                             {dmc::Form::bfloat16, "bfloat16", "<i2", "<f4"},
                             {dmc::Form::float16, "float16", "<f2", "<f4"}};

const FormOf& form_of(const std::string& name) {
    for (const FormOf& form : kForms)
        if (name == form.name) return form;
    refuse("form is '" + name + "'; give float32, float64, bfloat16 or float16");
}

dmc::DeviceSides check_sides(const Lines& lines, const DeviceArray& own, const DeviceArray& other, dmc::Form form) {
    own.check_shape({lines.lines(), kAny});
    other.check_shape({lines.other_lines(), own.shape[1]});
    if (other.count()) dmc::check_aligned(other.name, other.data, 16);  // it is gathered 16 bytes at a time
    return {own.data, other.data, own.shape[1], form};
}

cudaStream_t to_stream(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

void masked_product(const Lines& lines, const py::object& own, const py::object& other, const std::string& form,
                    const py::object& out, std::uintptr_t stream) {
    const FormOf& kind = form_of(form);
    const DeviceArray to(out, "out", kind.real);
    to.check_shape({lines.entries()});
    const DeviceArray mine(own, "own", kind.real), gathered(other, "other", kind.type);
    const auto sides = check_sides(lines, mine, gathered, kind.form);
    void* product = to.written();
    const dmc::Unlocked unlocked;
    dmc::masked_product(lines.device(), sides, product, to_stream(stream));
}

void residual_gradient(const Lines& lines, const py::object& own, const py::object& other, const std::string& form,
                       const py::object& target, const py::object& weights, const py::object& d_own,
                       const py::object& loss, const py::object& losses, const py::object& partials,
                       std::uintptr_t stream) {
    const FormOf& kind = form_of(form);
    const DeviceArray mine(own, "own", kind.real), gathered(other, "other", kind.type);
    const auto sides = check_sides(lines, mine, gathered, kind.form);
    const DeviceArray wanted(target, "target", kind.real), to(d_own, "d_own", kind.real);
    const DeviceArray room(losses, "losses", "<f8"), sums(partials, "partials", kind.real);
    wanted.check_shape({lines.entries()});
    to.check_shape({lines.lines(), sides.width});
    room.check_shape({lines.segments() + dmc::kLossSums});
    sums.check_shape({lines.partials(), sides.width});
    const void* weighing = nullptr;
    if (!weights.is_none()) {
        const DeviceArray given(weights, "weights", kind.real);
        given.check_shape({lines.entries()});
        weighing = given.data;
    }
    double* total = nullptr;
    if (!loss.is_none()) {
        const DeviceArray given(loss, "loss", "<f8");
        given.check_shape({});
        total = static_cast<double*>(given.written());
    }
    const dmc::Workspace workspace{static_cast<double*>(room.written()), sums.written()};
    void* gradient = to.written();
    const dmc::Unlocked unlocked;
    dmc::residual_gradient(lines.device(), sides, wanted.data, weighing, gradient, total, workspace, to_stream(stream));
}

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why the kernels cannot run on a device, and what to do; none where they can.
std::optional<std::pair<std::string, std::string>> obstacle(int device) {
    int driver = 0, runtime = 0, devices = 0, major = 0, minor = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess) cudaGetLastError();  // else the next launch would be blamed for it
    if (!driver) return {{"there is no NVIDIA driver", "install one if this machine has an NVIDIA GPU"}};
    if (error == cudaErrorInsufficientDriver)
        return {{"the NVIDIA driver supports CUDA " + version_text(driver) + ", and dmc._cuda was built with CUDA " +
                     version_text(runtime),
                 "update the driver, or rebuild dmc with a CUDA toolkit that the driver supports"}};
    if (error == cudaErrorNoDevice || (error == cudaSuccess && device >= devices))
        return {{"the NVIDIA driver finds " +
                     std::string(devices ? "no GPU with number " + std::to_string(device) : "no GPU"),
                 "run nvidia-smi, and check CUDA_VISIBLE_DEVICES"}};
    if (error != cudaSuccess)
        return {{std::string("CUDA does not start (") + cudaGetErrorString(error) + ")", "run nvidia-smi"}};
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    if (major < 8)
        return {{"the GPU has compute capability " + std::to_string(major) + "." + std::to_string(minor) +
                     " and the kernels need 8.0",
                 "plain torch is used instead"}};
    return std::nullopt;
}

}  // namespace

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
    m.doc() = "The CUDA kernels of dmc.";
    py::tuple widths(std::size(dmc::kWidths));
    for (std::size_t i = 0; i < std::size(dmc::kWidths); ++i) widths[i] = dmc::kWidths[i];
    m.attr("WIDTHS") = widths;
    m.attr("LOSS_SUMS") = dmc::kLossSums;
    m.def("obstacle", &obstacle, py::arg("device") = 0,
          "(why the kernels cannot run on this device, what to do), or None where they can.");
    py::class_<Lines>(m, "Lines", "The entries of a matrix line by line, cut into segments.")
        .def(py::init<py::object, py::object, py::object, py::object, std::int64_t, std::int64_t, std::int64_t>(),
             py::arg("indices"), py::arg("light"), py::arg("heavy"), py::arg("long_lines"), py::arg("lines"),
             py::arg("other_lines"), py::arg("partials"))
        .def_property_readonly("segments", &Lines::segments)
        .def_property_readonly("partials", &Lines::partials);
    m.def("masked_product", &masked_product, py::arg("lines"), py::arg("own"), py::arg("other"), py::arg("form"),
          py::arg("out"), py::arg("stream"), "out[e] = <own_i, other_j> for each entry e = (i, j).");
    m.def("residual_gradient", &residual_gradient, py::arg("lines"), py::arg("own"), py::arg("other"), py::arg("form"),
          py::arg("target"), py::arg("weights"), py::arg("d_own"), py::arg("loss"), py::arg("losses"),
          py::arg("partials"), py::arg("stream"),
          "Half the weighted sum of squared residuals, unless loss is None, and its gradient by own.");
}
