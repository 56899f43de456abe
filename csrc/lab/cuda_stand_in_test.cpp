// The CUDA kernels' own source on a processor, against the CPU core: prints what differs, and fails.
#define DMC_STAND_IN

#include <cstdio>
#include <random>

#include "../masked_product.h"
#include "../masked_product_cuda.cu"

using namespace dmc;

namespace {

std::mt19937 random_numbers(1);

// Numbers of few bits: exact in every form, and so are their products; sums differ by their order only.
double number() { return double(int(random_numbers() % 17) - 8) / 8; }

template <class Real>
struct Problem {
    std::int64_t m, n, width;
    std::vector<std::int64_t> pointers{0};
    std::vector<std::int32_t> indices;
    std::vector<Real> own, other, target, weights;
};

template <class Real>
Problem<Real> draw(const std::vector<int>& counts, std::int64_t n, std::int64_t width) {
    Problem<Real> p{std::int64_t(counts.size()), n, width, {0}, {}, {}, {}, {}, {}};
    for (int count : counts) {
        for (int e = 0; e < count; ++e) p.indices.push_back(std::int32_t(random_numbers() % n));
        p.pointers.push_back(std::int64_t(p.indices.size()));
    }
    const auto fill = [](std::vector<Real>& v, std::int64_t size) {
        for (std::int64_t i = 0; i < size; ++i) v.push_back(Real(number()));
    };
    fill(p.own, p.m * width);
    fill(p.other, n * width);
    fill(p.target, std::int64_t(p.indices.size()));
    fill(p.weights, std::int64_t(p.indices.size()));
    return p;
}

std::uint16_t to_bfloat16(float v) {
    std::uint32_t bits;
    std::memcpy(&bits, &v, 4);
    return std::uint16_t(bits >> 16);
}

std::uint16_t to_float16(float v) {  // for numbers that float16 has
    if (v == 0) return 0;
    int exponent;
    const float mantissa = std::frexp(std::fabs(v), &exponent);  // in [.5, 1)
    return std::uint16_t((v < 0 ? 0x8000 : 0) | (exponent + 14) << 10 | int((mantissa * 2 - 1) * 1024));
}

int failures = 0;

template <class Real>
void compare(const char* what, const std::vector<Real>& got, const std::vector<Real>& wanted, std::int64_t width,
             Form form) {
    for (std::size_t i = 0; i < wanted.size(); ++i)
        if (!(std::fabs(got[i] - wanted[i]) <= 1e-4 * (1 + std::fabs(wanted[i])))) {
            std::printf("%s: width %d, form %d: number %zu is %g in place of %g\n", what, int(width), int(form), i,
                        double(got[i]), double(wanted[i]));
            ++failures;
            return;
        }
}

template <class Real>
void run(const Problem<Real>& p, Form form, bool weighted, std::int64_t longest, std::int64_t light) {
    std::vector<Segment> segments[2];
    std::vector<LongLine> long_lines;
    std::int64_t partials = 0;
    for (std::int64_t i = 0; i < p.m; ++i) {
        const std::int64_t first = p.pointers[i], last = p.pointers[i + 1],
                           count = (last - first + longest - 1) / longest;
        if (count > 1) long_lines.push_back({i, partials, count});
        for (std::int64_t s = 0; s < std::max(count, std::int64_t(1)); ++s)
            segments[last - first > light].push_back(
                {i, first + s * longest, std::min(last, first + (s + 1) * longest), count > 1 ? partials++ : -1});
    }
    // Every array exactly as long as it has to be: the sanitizer sees what goes beyond.
    const DeviceLines lines{p.indices.data(),
                            segments[0].data(),
                            segments[1].data(),
                            std::int64_t(segments[0].size()),
                            std::int64_t(segments[1].size()),
                            long_lines.data(),
                            std::int64_t(long_lines.size())};
    std::vector<std::uint16_t> half;
    for (Real v : p.other) half.push_back(form == Form::bfloat16 ? to_bfloat16(float(v)) : to_float16(float(v)));
    const bool halved = form == Form::bfloat16 || form == Form::float16;
    const DeviceSides sides{p.own.data(), halved ? static_cast<const void*>(half.data()) : p.other.data(), p.width,
                            form};
    std::vector<double> losses(segments[0].size() + segments[1].size() + kLossSums, NAN);
    std::vector<Real> sums(partials * p.width, Real(NAN)), d_own(p.own.size(), Real(NAN)), d_wanted(p.own.size());
    double loss = NAN;
    const Real* weights = weighted ? p.weights.data() : nullptr;
    residual_gradient(lines, sides, p.target.data(), weights, d_own.data(), &loss, {losses.data(), sums.data()}, 0);

    Pool pool;
    const std::vector<Piece> pieces = cut(p.m, p.pointers.data());
    const Lines<std::int32_t> host{p.m, p.n, p.pointers.data(), p.indices.data(), &pieces, &pool};
    const Sides<Real> host_sides{p.own.data(), p.other.data(), p.width};
    const double wanted =
        residual_gradient<Real, Real, std::int32_t>(host, host_sides, p.target.data(), weights, d_wanted.data(), 1);
    compare("gradient", d_own, d_wanted, p.width, form);
    compare<double>("loss", {loss}, {wanted}, p.width, form);
    if (!halved) {
        std::vector<Real> out(p.indices.size(), Real(NAN)), out_wanted(p.indices.size());
        masked_product(lines, sides, out.data(), 0);
        masked_product<Real, std::int32_t>(host, host_sides, out_wanted.data(), 1);
        compare("product", out, out_wanted, p.width, form);
    }
}

}  // namespace

int main() {
    const std::vector<int> counts{0, 3, 40, 1, 0, 7, 150, 2, 5, 33};
    for (std::int64_t width : kWidths) {
        const auto single = draw<float>(counts, 11, width);
        for (Form form : {Form::float32, Form::bfloat16, Form::float16})
            run(single, form, form == Form::float32, 64, 8);
        run(draw<double>(counts, 11, width), Form::float64, true, 64, 8);
    }
    run(draw<float>({0}, 1, 8), Form::float32, false, 64, 8);           // nothing at all
    run(draw<float>({1}, 1, 32), Form::float32, false, 64, 8);          // a single entry
    run(draw<float>(counts, 3, 16), Form::float32, false, 64, 0);       // every line heavy
    run(draw<float>(counts, 3, 16), Form::float32, false, 1000, 1000);  // every line light
    bool refused = false;
    try {
        run(draw<float>(counts, 3, 12), Form::float32, false, 64, 8);
    } catch (const std::invalid_argument&) {
        refused = true;
    }
    if (!refused) std::printf("a width that the kernel does not have was taken\n");
    std::printf("%d differences\n", failures);
    return failures || !refused;
}
