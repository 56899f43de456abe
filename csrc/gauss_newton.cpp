#include "gauss_newton.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "cholesky.h"
#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kChunk = 1 << 12;         // numbers in a piece of a vector: sums are added in their order
constexpr std::int64_t kWorkOfThread = 1 << 20;  // multiplications for which a further thread is woken

// body(begin, end) for pieces of 0 … size−1; the sum of what they return, in their order.
template <class Body>
double for_pieces(std::int64_t size, std::int64_t piece, std::int64_t work, int n_threads, const Body& body) {
    const std::int64_t pieces = (size + piece - 1) / piece;
    std::vector<double> parts(pieces, 0.0);
    parallel_for(pieces, threads_for(work, kWorkOfThread, n_threads),
                 [&](std::int64_t p) { parts[p] = body(p * piece, std::min((p + 1) * piece, size)); });
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

// y += a x
struct Add {
    template <int Bytes, class Real>
    static DMC_INLINE int run(const Real& a, const Real* const& x, Real* const& y, const std::int64_t& size) {
        for (std::int64_t i = 0; i < size; ++i) y[i] += a * x[i];
        return 0;
    }
};

// Where row p begins in a packed upper triangle: with its diagonal.
DMC_INLINE std::int64_t place_of(std::int64_t p, std::int64_t k) { return p * k - p * (p - 1) / 2; }

template <class Real>
double trace_of(const Real* block, std::int64_t k) {
    double trace = 0;
    for (std::int64_t p = 0; p < k; ++p) trace += block[place_of(p, k)];
    return trace;
}

// The inverses of the packed blocks of lines begin … end−1, in rows of `stride` numbers. Lines with few entries have
// singular blocks and get a little ridge: of the size of what rounding leaves in their own, for theirs may be larger
// than all others together.
template <class Real>
struct Inversion {
    const Real* blocks;
    Real* inverses;
    std::int64_t width, stride;
    double mean_trace;
};

struct Invert {
    template <int Bytes, class Real>
    static DMC_INLINE int run(const Inversion<Real>& work, const std::int64_t& begin, const std::int64_t& end) {
        using Systems = Cholesky<double, Bytes>;
        constexpr std::int64_t lanes = Systems::lanes;
        const std::int64_t k = work.width, size = k * (k + 1) / 2;
        std::vector<Wide<double>> numbers(size + 1), room(k + 1);
        const Systems systems{k, k, numbers.data()->lanes, room.data()->lanes};
        for (std::int64_t first = begin; first < end; first += lanes) {
            const std::int64_t count = std::min(lanes, end - first);
            for (std::int64_t i = 0; i < lanes; ++i)  // lanes that are left over have the last block once more
                fill(systems.a + i, lanes, work, first + std::min(i, count - 1));
            systems.factor();
            systems.invert();
            for (std::int64_t i = 0; i < count; ++i) {
                Real* to = work.inverses + (first + i) * k * work.stride;
                for (std::int64_t r = 0; r < k; ++r)
                    for (std::int64_t c = r; c < k; ++c)
                        to[r * work.stride + c] = to[c * work.stride + r] = Real(systems.at(r, c)[i]);
            }
        }
        return 0;
    }

    // One lane: a block and its ridge.
    template <class Real>
    static DMC_INLINE void fill(double* a, std::int64_t lanes, const Inversion<Real>& work, std::int64_t line) {
        const std::int64_t k = work.width;
        const Real* block = work.blocks + line * (k * (k + 1) / 2);
        const double eps = std::numeric_limits<Real>::epsilon();
        const double needed = 100 * eps * std::max(trace_of(block, k), work.mean_trace) / k;
        const double ridge = needed > 0 ? needed : 1;
        for (std::int64_t r = 0; r < k; ++r)
            for (std::int64_t c = r; c < k; ++c, a += lanes) *a = double(*block++) + (r == c ? ridge : 0);
    }
};

// Some lines of one side, and the inverses that their residuals are multiplied by.
template <class Real>
struct Part {
    const Real* residual;
    Real* out;
    std::int64_t begin, end, width, stride;
    const Real* inverses;
    std::int64_t step;  // from one line's inverse to the next; 0: common to all
};

struct Precondition {
    template <int Bytes, class Real>
    static DMC_INLINE int run(const Part<Real>& part) {
        constexpr std::int64_t lanes = Vector<Real, Bytes>::lanes;
        for (std::int64_t i = part.begin; i < part.end; ++i) {
            std::int64_t c = 0;
            for (; c + 4 * lanes <= part.stride; c += 4 * lanes) columns<Bytes, 4>(part, i, c);
            for (; c < part.stride; c += lanes) columns<Bytes, 1>(part, i, c);
        }
        return 0;
    }

    // Some vectors of line i's product, from number c on.
    template <int Bytes, int Vectors, class Real>
    static DMC_INLINE void columns(const Part<Real>& part, std::int64_t i, std::int64_t c) {
        using V = Vector<Real, Bytes>;
        const std::int64_t k = part.width;
        const Real *from = part.residual + i * k, *inverse = part.inverses + i * part.step + c;
        typename V::type sums[Vectors] = {};
        for (std::int64_t r = 0; r < k; ++r)
            for (int v = 0; v < Vectors; ++v) sums[v] += from[r] * V::load(inverse + r * part.stride + v * V::lanes);
        Real room[Vectors * V::lanes];
        for (int v = 0; v < Vectors; ++v) V::store(room + v * V::lanes, sums[v]);
        if (c < k) std::copy_n(room, std::min<std::int64_t>(Vectors * V::lanes, k - c), part.out + i * k + c);
    }
};

template <class Real>
std::int64_t rounded_up(std::int64_t width) {
    constexpr std::int64_t lanes = 64 / sizeof(Real);
    return (width + lanes - 1) / lanes * lanes;
}

// One side: its unknowns among all, and what is gathered of the model.
template <class Real, class Index>
class Side {
  public:
    // Of the widened model [rows left]·[right columns]ᵀ this side's part has its unknowns at `place`.
    Side(Lines<Index> lines, const Real* basis, std::int64_t width, std::int64_t start, std::int64_t place,
         const Real* model, std::int64_t model_width, std::int64_t wide, Blocks<Real> blocks, int n_threads)
        : lines_(lines),
          width_(width),
          padded_(padded_width<Real, Real>(width)),
          start_(start),
          place_(place),
          wide_(wide),
          common_(blocks.common_inverse),
          stride_(rounded_up<Real>(width)),
          basis_(*lines.pool, lines.other_lines * padded_),
          widened_(*lines.pool, lines.count * wide),
          sums_(*lines.pool, lines.count * padded_) {
        for (std::int64_t j = 0; j < lines.other_lines; ++j) {
            std::copy_n(basis + j * width, width, &basis_[j * padded_]);
            std::fill_n(&basis_[j * padded_] + width, padded_ - width, Real(0));
        }
        std::fill_n(widened_.data(), lines.count * wide, Real(0));
        const std::int64_t there = place ? 0 : width;  // where the model itself stands
        for (std::int64_t i = 0; i < lines.count; ++i)
            std::copy_n(model + i * model_width, model_width, &widened_[i * wide + there]);
        invert(blocks, n_threads);
    }

    const Real* widen(const Real* direction, int n_threads) {
        for_lines(n_threads, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                std::copy_n(direction + start_ + i * width_, width_, &widened_[i * wide_ + place_]);
            return 0.0;
        });
        return widened_.data();
    }

    // product = Σ_e products[e] basis_j + diagonal · direction, over the entries of each line.
    void add_up(const Real* products, const Real* direction, const Real* diagonal, Real* product, int n_threads) {
        weighted_sums(lines_, basis_.data(), padded_, products, sums_.data(), n_threads);
        for_lines(n_threads, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                for (std::int64_t c = 0; c < width_; ++c) {
                    const std::int64_t at = start_ + i * width_ + c;
                    product[at] = sums_[i * padded_ + c] + diagonal[at] * direction[at];
                }
            return 0.0;
        });
    }

    void precondition(const Real* residual, Real* out, int n_threads) {
        for_lines(n_threads, [&](std::int64_t begin, std::int64_t end) {
            const Part<Real> part{residual + start_,
                                  out + start_,
                                  begin,
                                  end,
                                  width_,
                                  stride_,
                                  inverses_.data(),
                                  common_ ? 0 : width_ * stride_};
            dispatch<Precondition>(part);
            return 0.0;
        });
    }

  private:
    void invert(Blocks<Real> blocks, int n_threads) {
        const std::int64_t count = common_ ? 1 : lines_.count, size = width_ * (width_ + 1) / 2;
        inverses_.assign(count * width_ * stride_, Real(0));
        if (common_) {
            for (std::int64_t r = 0; r < width_; ++r)
                std::copy_n(blocks.data + r * width_, width_, &inverses_[r * stride_]);
            return;
        }
        double total = 0;
        for (std::int64_t i = 0; i < count; ++i) total += trace_of(blocks.data + i * size, width_);
        const Inversion<Real> work{blocks.data, inverses_.data(), width_, stride_, count ? total / count : 0};
        for_lines(n_threads, [&](std::int64_t begin, std::int64_t end) {
            dispatch<Invert>(work, begin, end);
            return 0.0;
        });
    }

    template <class Body>
    void for_lines(int n_threads, const Body& body) {
        const std::int64_t lines = std::max<std::int64_t>(1, kChunk / std::max<std::int64_t>(width_, 1));
        for_pieces(lines_.count, lines, lines_.count * width_ * width_, n_threads, body);
    }

    Lines<Index> lines_;
    std::int64_t width_, padded_, start_, place_, wide_;
    bool common_;
    std::int64_t stride_;  // of a row of an inverse: whole vectors of any instruction set
    std::vector<Real> inverses_;
    Buffer<Real> basis_, widened_, sums_;
};

template <class Real, class Index>
class System {
  public:
    System(const NormalEquations<Real, Index>& eq, int n_threads)
        : eq_(eq),
          n_threads_(n_threads),
          wide_(padded_width<Real, Real>(eq.row_width + eq.column_width)),
          rows_(eq.by_row, eq.right, eq.row_width, 0, 0, eq.left, eq.column_width, wide_, eq.row_blocks, n_threads),
          columns_(eq.by_column, eq.left, eq.column_width, eq.row_unknowns(), eq.row_width, eq.right, eq.row_width,
                   wide_, eq.column_blocks, n_threads),
          by_row_(*eq.by_row.pool, eq.by_row.entries()),
          by_column_(*eq.by_row.pool, eq.by_row.entries()) {}

    void multiply(const Real* direction, Real* product) {
        const std::int64_t entries = eq_.by_row.entries();
        const Real *own = rows_.widen(direction, n_threads_), *other = columns_.widen(direction, n_threads_);
        masked_product(eq_.by_row, Sides<Real>{own, other, wide_}, by_row_.data(), n_threads_);
        const auto each = [&](const auto& body) {
            for_pieces(entries, kChunk, entries, n_threads_, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t e = begin; e < end; ++e) body(e);
                return 0.0;
            });
        };
        if (eq_.weights) each([&](std::int64_t e) { by_row_[e] *= eq_.weights[e]; });
        each([&](std::int64_t e) { by_column_[e] = by_row_[eq_.column_order[e]]; });
        rows_.add_up(by_row_.data(), direction, eq_.diagonal, product, n_threads_);
        columns_.add_up(by_column_.data(), direction, eq_.diagonal, product, n_threads_);
    }

    void precondition(const Real* residual, Real* out) {
        rows_.precondition(residual, out, n_threads_);
        columns_.precondition(residual, out, n_threads_);
    }

  private:
    const NormalEquations<Real, Index>& eq_;
    int n_threads_;
    std::int64_t wide_;
    Side<Real, Index> rows_, columns_;
    Buffer<Real> by_row_, by_column_;  // the products at the entries, in either order
};

}  // namespace

template <class Real, class Index>
std::int64_t solve_normal_equations(const NormalEquations<Real, Index>& equations, const Real* right_side, double tol,
                                    std::int64_t max_products, Real* solution, int n_threads) {
    const std::int64_t size = equations.unknowns();
    System<Real, Index> system(equations, n_threads);
    std::vector<Real> residual(right_side, right_side + size), direction(size), z(size), product(size);
    const auto dot = [&](const Real* a, const Real* b) {
        return for_pieces(size, kChunk, size, n_threads, [&](std::int64_t begin, std::int64_t end) {
            const Real *x = a + begin, *y = b + begin;
            const std::int64_t count = end - begin;
            return dispatch<Dot>(x, y, count);
        });
    };
    const auto add = [&](double factor, const Real* from, Real* to) {  // to += factor · from
        for_pieces(size, kChunk, size, n_threads, [&](std::int64_t begin, std::int64_t end) {
            const Real a = Real(factor), *x = from + begin;
            Real* y = to + begin;
            const std::int64_t count = end - begin;
            dispatch<Add>(a, x, y, count);
            return 0.0;
        });
    };
    std::fill_n(solution, size, Real(0));
    system.precondition(residual.data(), direction.data());
    double left = dot(residual.data(), direction.data());
    const double goal = tol * tol * left;
    for (std::int64_t n = 0; n < max_products; ++n) {
        if (!(left > goal)) return n;
        system.multiply(direction.data(), product.data());
        const double bend = dot(direction.data(), product.data());
        if (!(bend > 0)) return n + 1;
        add(left / bend, direction.data(), solution);
        add(-left / bend, product.data(), residual.data());
        system.precondition(residual.data(), z.data());
        const double before = left;
        left = dot(residual.data(), z.data());
        add(left / before, direction.data(), z.data());
        std::swap(direction, z);
    }
    return max_products;
}

#define DMC_INSTANTIATE(Real, Index)                                                                            \
    template std::int64_t solve_normal_equations<Real, Index>(const NormalEquations<Real, Index>&, const Real*, \
                                                              double, std::int64_t, Real*, int);
DMC_INSTANTIATE(float, std::int32_t)
DMC_INSTANTIATE(float, std::int64_t)
DMC_INSTANTIATE(double, std::int32_t)
DMC_INSTANTIATE(double, std::int64_t)

}  // namespace dmc
