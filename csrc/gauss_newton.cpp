#include "gauss_newton.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "coordinates.h"
#include "line_inverses.h"
#include "normal_product.h"
#include "parallel.h"

namespace dmc {
namespace {

// Of the average block, what goes to that of a line with fewer entries than unknowns: with all of it models of 20,000 ×
// 50 take four times the steps, and without any small noisy tables go astray.
constexpr double kShort = 1e-3;

constexpr std::int64_t kChunk = 1 << 12;  // numbers in a piece of a vector: sums are added in their order
// Tolerance from which single precision serves. Of 108 systems (conditions 1 to 1e8, 1.2 to 3 times as many entries as
// unknowns, widths 3 to 20, either preconditioner) none was left with a true residual above what was asked.
constexpr double kLoose = 1e-4;

// body(begin, end) for pieces of 0 … size−1; the sum of what they return, in their order.
template <class Body>
double for_pieces(std::int64_t size, int n_threads, const Body& body) {
    const std::int64_t pieces = (size + kChunk - 1) / kChunk;
    std::vector<double> parts(pieces, 0.0);
    parallel_for(pieces, threads_for(size, kProductsOfThread, n_threads),
                 [&](std::int64_t p) { parts[p] = body(p * kChunk, std::min((p + 1) * kChunk, size)); });
    double total = 0;
    for (double part : parts) total += part;
    return total;
}

struct Dot {
    template <int Bytes, class Real>
    static DMC_INLINE double run(const Real* const& a, const Real* const& b, const std::int64_t& size) {
        double total = 0;
        for (std::int64_t i = 0; i < size; ++i) total += double(a[i]) * double(b[i]);
        return total;
    }
};

// y = a x + b y
struct Combine {
    template <int Bytes, class Real>
    static DMC_INLINE int run(const Real& a, const Real* const& x, const Real& b, Real* const& y,
                              const std::int64_t& size) {
        for (std::int64_t i = 0; i < size; ++i) y[i] = a * x[i] + b * y[i];
        return 0;
    }
};

// Largest of some numbers, none of them negative: 1 where there is none above 0.
template <class Real>
double largest(const Real* numbers, std::int64_t size) {
    const double found = numbers && size ? double(*std::max_element(numbers, numbers + size)) : 1;
    return found > 0 ? found : 1;
}

// One side: its unknowns, in coordinates of their own, and what the model has beside them. The system is taken in units
// of the largest weight, and the lines' ridges in units of the largest of them: numbers that single precision has.
template <class Given, class Real>
struct Side {
    Side(std::int64_t lines, std::int64_t others, const Given* basis, std::int64_t width, double curvature,
         const Given* l2, const Given* ridge, double unit, std::int64_t start, int n_threads)
        : lines(lines),
          others(others),
          width(width),
          start(start),
          coordinates(basis, others, width, curvature / unit, on_average(l2, lines, ridge, width, unit), n_threads),
          basis(basis) {
        const double most = largest(l2, lines);
        std::vector<double> numbers(width, most / unit);
        for (std::int64_t i = 0; i < lines && l2; ++i) penalised |= l2[i] != 0;
        if (penalised) {
            of_l2.resize(lines);
            for (std::int64_t i = 0; i < lines; ++i) of_l2[i] = Real(l2[i] / most);
            metric = coordinates.template transformed<Real>(numbers);
        }
        for (std::int64_t c = 0; c < width; ++c) ridged |= (numbers[c] = ridge ? ridge[c] / unit : 0) != 0;
        if (ridged) common = coordinates.template transformed<Real>(numbers);
    }

    // out += direction · D
    void add_ridges(const Real* direction, Real* out, int n_threads) const {
        const Rows<const Real> from{direction + start, width};
        const Rows<Real> to{out + start, width};
        if (ridged) multiply<true>(from, small(common), static_cast<const Real*>(nullptr), to, lines, n_threads);
        if (penalised) multiply<true>(from, small(metric), of_l2.data(), to, lines, n_threads);
    }

    Small<Real> small(const std::vector<Real>& matrix) const {
        return {matrix.data(), width, rounded_up<Real>(width), Form::full};
    }

    static std::vector<double> on_average(const Given* l2, std::int64_t lines, const Given* ridge, std::int64_t width,
                                          double unit) {
        double mean = 0;
        for (std::int64_t i = 0; i < lines && l2; ++i) mean += l2[i] / unit / double(lines);
        std::vector<double> found(width, mean);
        for (std::int64_t c = 0; c < width && ridge; ++c) found[c] += ridge[c] / unit;
        return found;
    }

    std::int64_t lines, others, width, start;
    Coordinates coordinates;
    const Given* basis;
    bool penalised = false, ridged = false;
    std::vector<Real> of_l2, metric, common;  // ridges: of line i its l2 times the metric, and of all the common one
    std::unique_ptr<LineInverses<Real>> inverses;
};

template <class Given, class Real, class Index>
class System {
  public:
    using Equations = NormalEquations<Given, Index>;

    System(const Equations& eq, int n_threads)
        : eq_(eq),
          n_threads_(n_threads),
          unit_(largest(eq.weights, eq.by_row.entries())),
          rows_(eq.by_row.count, eq.by_column.count, eq.right, eq.row_width, eq.curvature, eq.row_l2, eq.row_ridge,
                unit_, 0, n_threads),
          columns_(eq.by_column.count, eq.by_row.count, eq.left, eq.column_width, eq.curvature, eq.column_l2,
                   eq.column_ridge, unit_, eq.by_row.count * eq.row_width, n_threads),
          vectors_(vectors_for<Real>(2 * std::max(eq.row_width, eq.column_width))),
          wide_(numbers_in<Real>(vectors_)),
          narrow_(numbers_in<Real>((vectors_ + 1) / 2)),
          own_(*eq.by_row.pool, rows_.lines * wide_),
          other_(*eq.by_row.pool, columns_.lines * wide_),
          left_(*eq.by_row.pool, rows_.lines * narrow_),
          row_sums_(*eq.by_row.pool, rows_.lines * narrow_),
          column_sums_(*eq.by_row.pool, columns_.lines * narrow_),
          products_(*eq.by_row.pool, eq.by_row.entries()) {
        if (eq.weights) weights_.resize(eq.by_row.entries());
        for (std::size_t e = 0; e < weights_.size(); ++e) weights_[e] = Real(eq.weights[e] / unit_);
        std::fill_n(own_.data(), rows_.lines * wide_, Real(0));
        std::fill_n(other_.data(), columns_.lines * wide_, Real(0));
        std::fill_n(left_.data(), rows_.lines * narrow_, Real(0));
        into(rows_, rows_.basis, columns_.lines, other_.data(), wide_);
        into(columns_, columns_.basis, rows_.lines, left_.data(), narrow_);
        copy(left_.data(), narrow_, own_.data() + eq.row_width, wide_, rows_.lines, eq.column_width);
        if (eq.of_lines) invert();
    }

    std::int64_t size() const { return rows_.lines * rows_.width + columns_.lines * columns_.width; }
    bool identity() const { return !eq_.of_lines; }

    // A gradient, in the coordinates of the unknowns.
    Buffer<double> right_side(const Given* row_gradient, const Given* column_gradient) {
        Buffer<double> found(*eq_.by_row.pool, size());
        into(rows_, row_gradient, rows_.lines, found.data(), rows_.width);
        into(columns_, column_gradient, columns_.lines, found.data() + columns_.start, columns_.width);
        return found;
    }

    Buffer<Real> vector() { return Buffer<Real>(*eq_.by_row.pool, size()); }

    // The unknowns at the solution for a right-hand side that was divided by the scale.
    void back(const Real* solution, double scale, Given* rows, Given* columns) {
        const std::vector<double> scales(std::max(rows_.lines, columns_.lines), scale / unit_);
        multiply<false>(Rows<const Real>{solution, rows_.width}, rows_.coordinates.backward(), scales.data(),
                        Rows<Given>{rows, rows_.width}, rows_.lines, n_threads_);
        multiply<false>(Rows<const Real>{solution + columns_.start, columns_.width}, columns_.coordinates.backward(),
                        scales.data(), Rows<Given>{columns, columns_.width}, columns_.lines, n_threads_);
    }

    void multiply_by(const Real* direction, Real* product) {
        copy(direction, rows_.width, own_.data(), wide_, rows_.lines, rows_.width);
        copy(direction + columns_.start, columns_.width, other_.data() + rows_.width, wide_, columns_.lines,
             columns_.width);
        const Real* weights = eq_.weights ? weights_.data() : nullptr;
        run_pass<false>(Pass<Real, Index>{eq_.by_row, vectors_, own_.data(), other_.data(), weights, nullptr,
                                          products_.data(), row_sums_.data()},
                        n_threads_);
        run_pass<true>(Pass<Real, Index>{eq_.by_column, vectors_, nullptr, left_.data(), nullptr, eq_.column_order,
                                         products_.data(), column_sums_.data()},
                       n_threads_);
        copy(row_sums_.data(), narrow_, product, rows_.width, rows_.lines, rows_.width);
        copy(column_sums_.data(), narrow_, product + columns_.start, columns_.width, columns_.lines, columns_.width);
        rows_.add_ridges(direction, product, n_threads_);
        columns_.add_ridges(direction, product, n_threads_);
    }

    void precondition(const Real* residual, Real* out) const {
        for (const Side<Given, Real>* side : {&rows_, &columns_})
            side->inverses->multiply(residual + side->start, out + side->start);
    }

  private:
    // Lines of numbers in the coordinates of a side.
    template <class From, class To>
    void into(const Side<Given, Real>& side, const From* from, std::int64_t lines, To* to, std::int64_t stride) {
        multiply<false>(Rows<const From>{from, side.width}, side.coordinates.forward(),
                        static_cast<const double*>(nullptr), Rows<To>{to, stride}, lines, n_threads_);
    }

    void copy(const Real* from, std::int64_t from_stride, Real* to, std::int64_t to_stride, std::int64_t lines,
              std::int64_t width) {
        for_pieces_of_lines(lines, lines * width, n_threads_, [&](std::int64_t begin, std::int64_t end) {
            copy_lines(from, from_stride, to, to_stride, width, begin, end);
        });
    }

    void invert() {
        std::vector<Real> by_column;
        if (eq_.weights) {
            by_column.resize(weights_.size());
            for (std::size_t e = 0; e < by_column.size(); ++e) by_column[e] = weights_[eq_.column_order[e]];
        }
        invert(rows_, eq_.by_row, other_.data(), wide_, eq_.weights ? weights_.data() : nullptr);
        invert(columns_, eq_.by_column, left_.data(), narrow_, eq_.weights ? by_column.data() : nullptr);
    }

    // Σ_e w_e b_j b_jᵀ + D over the entries of each line, with the basis in these coordinates, inverted.
    void invert(Side<Given, Real>& side, const Lines<Index>& lines, const Real* basis, std::int64_t stride,
                const Real* weights) {
        const std::int64_t k = side.width, packed = k * (k + 1) / 2, wide = rounded_up<Real>(k);
        std::vector<Real> squares(side.others * packed), blocks(side.lines * packed);
        Real* to = squares.data();
        for (std::int64_t j = 0; j < side.others; ++j)
            for (std::int64_t r = 0; r < k; ++r)
                for (std::int64_t c = r; c < k; ++c) *to++ = basis[j * stride + r] * basis[j * stride + c];
        weighted_sums(lines, squares.data(), packed, weights, blocks.data(), n_threads_);
        to = blocks.data();
        if (side.penalised || side.ridged)
            for (std::int64_t i = 0; i < side.lines; ++i)
                for (std::int64_t r = 0; r < k; ++r)
                    for (std::int64_t c = r; c < k; ++c, ++to) {
                        if (side.penalised) *to += side.of_l2[i] * side.metric[r * wide + c];
                        if (side.ridged) *to += side.common[r * wide + c];
                    }
        // The block of a line with fewer entries than unknowns is singular, and its inverse would send the line far
        // off: it gets a share of the average block, which is the identity here.
        for (std::int64_t i = 0; i < side.lines; ++i)
            if (lines.pointers[i + 1] - lines.pointers[i] < k)
                for (std::int64_t r = 0; r < k; ++r) blocks[i * packed + place_of(r, k)] += kShort;
        side.inverses = std::make_unique<LineInverses<Real>>(blocks, side.lines, k, n_threads_);
    }

    const Equations& eq_;
    int n_threads_;
    double unit_;  // the largest weight
    Side<Given, Real> rows_, columns_;
    std::int64_t vectors_, wide_, narrow_;
    Buffer<Real> own_, other_;  // the widened model [rows left]·[right columns]ᵀ
    Buffer<Real> left_, row_sums_, column_sums_, products_;
    std::vector<Real> weights_;
};

// Conjugate gradients from zero.
template <class Real, class AnySystem>
std::int64_t iterate(AnySystem& system, Buffer<Real>& residual, Buffer<Real>& solution, double tol,
                     std::int64_t max_products, int n_threads) {
    const std::int64_t size = system.size();
    const auto dot = [&](const Real* a, const Real* b) {
        return for_pieces(size, n_threads, [&](std::int64_t begin, std::int64_t end) {
            const Real *x = a + begin, *y = b + begin;
            const std::int64_t count = end - begin;
            return dispatch<Dot>(x, y, count);
        });
    };
    const auto combine = [&](double a, const Real* x, double b, Real* y) {
        const Real of_x = Real(a), of_y = Real(b);
        for_pieces(size, n_threads, [&](std::int64_t begin, std::int64_t end) {
            const Real* from = x + begin;
            Real* to = y + begin;
            const std::int64_t count = end - begin;
            dispatch<Combine>(of_x, from, of_y, to, count);
            return 0.0;
        });
    };
    Buffer<Real> preconditioned, product = system.vector(), direction = system.vector();
    if (!system.identity()) preconditioned = system.vector();
    const Real* z = system.identity() ? residual.data() : preconditioned.data();
    const auto precondition = [&] {
        if (!system.identity()) system.precondition(residual.data(), preconditioned.data());
        return dot(residual.data(), z);
    };
    double left = precondition();
    const double goal = tol * tol * left;
    std::copy_n(z, size, direction.data());
    for (std::int64_t n = 0; n < max_products; ++n) {
        if (!(left > goal)) return n;
        system.multiply_by(direction.data(), product.data());
        const double bend = dot(direction.data(), product.data());
        if (!(bend > 0)) return n + 1;
        combine(left / bend, direction.data(), 1, solution.data());
        combine(-left / bend, product.data(), 1, residual.data());
        const double before = left;
        left = precondition();
        combine(1, z, left / before, direction.data());
    }
    return max_products;
}

template <class Real, class Given, class Index>
std::int64_t solve_in(const NormalEquations<Given, Index>& equations, const Given* row_gradient,
                      const Given* column_gradient, double tol, std::int64_t max_products, Given* rows, Given* columns,
                      int n_threads) {
    System<Given, Real, Index> system(equations, n_threads);
    const Buffer<double> gradient = system.right_side(row_gradient, column_gradient);
    const double squares = for_pieces(system.size(), n_threads, [&](std::int64_t begin, std::int64_t end) {
        const double* x = gradient.data() + begin;
        const std::int64_t count = end - begin;
        return dispatch<Dot>(x, x, count);
    });
    const double scale = squares > 0 && std::isfinite(squares) ? std::sqrt(squares) : 1;
    Buffer<Real> residual = system.vector(), solution = system.vector();
    for (std::int64_t i = 0; i < system.size(); ++i) residual[i] = Real(-gradient[i] / scale), solution[i] = 0;
    const std::int64_t products = iterate(system, residual, solution, tol, max_products, n_threads);
    system.back(solution.data(), scale, rows, columns);
    return products;
}

}  // namespace

template <class Real, class Index>
std::int64_t solve_normal_equations(const NormalEquations<Real, Index>& equations, const Real* row_gradient,
                                    const Real* column_gradient, double tol, std::int64_t max_products, Real* rows,
                                    Real* columns, int n_threads) {
    return tol >= kLoose
               ? solve_in<float>(equations, row_gradient, column_gradient, tol, max_products, rows, columns, n_threads)
               : solve_in<Real>(equations, row_gradient, column_gradient, tol, max_products, rows, columns, n_threads);
}

#define DMC_INSTANTIATE(Real, Index)                                                                            \
    template std::int64_t solve_normal_equations<Real, Index>(const NormalEquations<Real, Index>&, const Real*, \
                                                              const Real*, double, std::int64_t, Real*, Real*, int);
DMC_INSTANTIATE(float, std::int32_t)
DMC_INSTANTIATE(float, std::int64_t)
DMC_INSTANTIATE(double, std::int32_t)
DMC_INSTANTIATE(double, std::int64_t)

}  // namespace dmc
