#include "network.h"

#include <algorithm>

#include "parallel.h"

namespace dmc {
namespace {

constexpr std::int64_t kChunk = 512;             // lines that one thread takes at a time
constexpr std::int64_t kPartials = 64;           // partial sums over lines, at most
constexpr std::int64_t kWorkOfThread = 1 << 20;  // multiplications for which a further thread is woken

// Part of a matrix of numbers that stand row by row, `step` apart.
template <class Real>
struct View {
    Real* data;
    std::int64_t rows, columns, step;
};

template <class Real>
View<Real> view(const Matrix<Real>& m) {
    return {m.data, m.rows, m.columns, m.columns};
}

// Columns up to a whole vector, so that products of small matrices need no tail.
template <class Real>
std::int64_t rounded_up(std::int64_t columns) {
    constexpr std::int64_t lanes = 64 / sizeof(Real);
    return (columns + lanes - 1) / lanes * lanes;
}

template <class Real>
class Small {
  public:
    Small(std::int64_t rows, std::int64_t columns)
        : rows_(rows), columns_(columns), step_(rounded_up<Real>(columns)), data_(rows * step_, Real(0)) {}
    explicit Small(View<const Real> m) : Small(m.rows, m.columns) {
        for (std::int64_t i = 0; i < rows_; ++i) std::copy_n(m.data + i * m.step, columns_, data_.data() + i * step_);
    }

    Small transposed() const {
        Small out(columns_, rows_);
        for (std::int64_t i = 0; i < rows_; ++i)
            for (std::int64_t j = 0; j < columns_; ++j) out.data_[j * out.step_ + i] = data_[i * step_ + j];
        return out;
    }
    View<const Real> view() const { return {data_.data(), rows_, columns_, step_}; }
    View<Real> mutable_view() { return {data_.data(), rows_, columns_, step_}; }

  private:
    std::int64_t rows_, columns_, step_;
    std::vector<Real> data_;
};

template <class V, class Real>
DMC_INLINE void store_some(Real* p, typename V::type v, std::int64_t count) {
    if (count >= V::lanes)
        V::store(p, v);
    else
        std::memcpy(p, &v, count * sizeof(Real));
}

// out = a · b, a tile of R rows and two vectors of columns at a time; b has whole vectors of columns.
struct Multiply {
    template <int Bytes, class Real>
    static DMC_INLINE int run(const View<const Real>& a, const View<const Real>& b, const View<Real>& out) {
        std::int64_t i = 0;
        for (; i + 4 <= a.rows; i += 4) rows<Bytes, 4>(a, b, out, i);
        for (; i < a.rows; ++i) rows<Bytes, 1>(a, b, out, i);
        return 0;
    }

    template <int Bytes, int R, class Real>
    static DMC_INLINE void rows(const View<const Real>& a, const View<const Real>& b, const View<Real>& out,
                                std::int64_t i) {
        using V = Vector<Real, Bytes>;
        for (std::int64_t j = 0; j < b.columns; j += 2 * V::lanes) {
            const bool two = j + V::lanes < b.columns;
            const std::int64_t second = two ? j + V::lanes : j;
            typename V::type sums[R][2] = {};
            for (std::int64_t c = 0; c < a.columns; ++c) {
                const auto b0 = V::load(b.data + c * b.step + j), b1 = V::load(b.data + c * b.step + second);
                for (int r = 0; r < R; ++r) {
                    const Real factor = a.data[(i + r) * a.step + c];
                    sums[r][0] += factor * b0;
                    sums[r][1] += factor * b1;
                }
            }
            for (int r = 0; r < R; ++r) {
                Real* o = out.data + (i + r) * out.step;
                store_some<V>(o + j, sums[r][0], b.columns - j);
                if (two) store_some<V>(o + second, sums[r][1], b.columns - second);
            }
        }
    }
};

// out += aᵀ · b over the rows of both; out has whole vectors of columns, and b may be read as far.
struct AddCrossProduct {
    template <int Bytes, class Real>
    static DMC_INLINE int run(const View<const Real>& a, const View<const Real>& b, const View<Real>& out) {
        constexpr std::int64_t block = 128;  // rows that stay in the cache meanwhile
        for (std::int64_t begin = 0; begin < a.rows; begin += block) {
            const std::int64_t end = std::min(begin + block, a.rows);
            std::int64_t c = 0;
            for (; c + 4 <= a.columns; c += 4) columns<Bytes, 4>(a, b, out, c, begin, end);
            for (; c < a.columns; ++c) columns<Bytes, 1>(a, b, out, c, begin, end);
        }
        return 0;
    }

    template <int Bytes, int C, class Real>
    static DMC_INLINE void columns(const View<const Real>& a, const View<const Real>& b, const View<Real>& out,
                                   std::int64_t c, std::int64_t begin, std::int64_t end) {
        using V = Vector<Real, Bytes>;
        for (std::int64_t j = 0; j < b.columns; j += 2 * V::lanes) {
            const std::int64_t second = j + V::lanes < b.columns ? j + V::lanes : j;
            typename V::type sums[C][2] = {};
            for (std::int64_t i = begin; i < end; ++i) {
                const auto b0 = V::load(b.data + i * b.step + j), b1 = V::load(b.data + i * b.step + second);
                for (int r = 0; r < C; ++r) {
                    const Real factor = a.data[i * a.step + c + r];
                    sums[r][0] += factor * b0;
                    sums[r][1] += factor * b1;
                }
            }
            for (int r = 0; r < C; ++r) {
                Real* o = out.data + (c + r) * out.step;
                V::store(o + j, V::load(o + j) + sums[r][0]);
                if (second != j) V::store(o + second, V::load(o + second) + sums[r][1]);
            }
        }
    }
};

template <class Real>
View<Real> part(const View<Real>& m, std::int64_t begin, std::int64_t end) {
    return {m.data + begin * m.step, end - begin, m.columns, m.step};
}

template <class Real>
void multiply(View<const Real> a, View<const Real> b, View<Real> out, int n_threads) {
    parallel_for((a.rows + kChunk - 1) / kChunk, threads_for(a.rows * a.columns * b.columns, kWorkOfThread, n_threads),
                 [&](std::int64_t chunk) {
                     const std::int64_t begin = chunk * kChunk, end = std::min(begin + kChunk, a.rows);
                     const View<const Real> some = part(a, begin, end);
                     const View<Real> there = part(out, begin, end);
                     dispatch<Multiply>(some, b, there);
                 });
}

template <class Real>
Small<Real> multiply(const Small<Real>& a, const Small<Real>& b) {
    Small<Real> out(a.view().rows, b.view().columns);
    multiply<Real>(a.view(), b.view(), out.mutable_view(), 1);
    return out;
}

// aᵀ · b of two tall matrices: partial sums over a number of rows that depends on the matrices only, added in order.
template <class Real>
Small<Real> cross_product(View<const Real> a, View<const Real> b, int n_threads) {
    const std::int64_t rows = std::max(kChunk, (a.rows + kPartials - 1) / kPartials),
                       count = (a.rows + rows - 1) / rows;
    std::vector<Small<Real>> partial;
    for (std::int64_t p = 0; p < count; ++p) partial.emplace_back(a.columns, b.columns);
    parallel_for(count, threads_for(a.rows * a.columns * b.columns, kWorkOfThread, n_threads), [&](std::int64_t p) {
        const std::int64_t begin = p * rows, end = std::min(begin + rows, a.rows);
        const View<const Real> some_a = part(a, begin, end), some_b = part(b, begin, end);
        const View<Real> out = partial[p].mutable_view();
        dispatch<AddCrossProduct>(some_a, some_b, out);
    });
    Small<Real> out(a.columns, b.columns);
    for (Small<Real>& one : partial)
        for (std::int64_t i = 0; i < a.columns * out.view().step; ++i) out.mutable_view().data[i] += one.view().data[i];
    return out;
}

// body(i) for every line, several lines by each thread.
template <class Body>
void for_lines(std::int64_t lines, std::int64_t width, int n_threads, const Body& body) {
    parallel_for((lines + kChunk - 1) / kChunk, threads_for(lines * width, kWorkOfThread, n_threads),
                 [&](std::int64_t chunk) {
                     for (std::int64_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, lines); ++i) body(i);
                 });
}

// One side of the model in the width of the kernel: the factor's columns, one for each bias, and zeros.
template <class Real>
struct Side {
    std::int64_t lines, width;
    std::int64_t constant;  // the column of ones that carries the other side's bias, or −1: it is no parameter
    Buffer<Real> values, gradient;

    Side(Pool& pool, std::int64_t lines_, std::int64_t width_)
        : lines(lines_), width(width_), constant(-1), values(pool, lines * width), gradient(pool, lines * width) {}

    // Fills the columns from `begin` on: the two biases' (null: there is none), of which number `mine` is this side's,
    // then zeros. By number, because both may be one array.
    void fill(std::int64_t begin, const Real* first, const Real* second, int mine, int n_threads) {
        const Real* biases[] = {first, second};
        std::int64_t column = begin;
        for (int b = 0; b < 2; ++b) {
            const Real* bias = biases[b];
            if (!bias) continue;
            if (b != mine) constant = column;
            for_lines(lines, 16, n_threads,
                      [&](std::int64_t i) { values[i * width + column] = b == mine ? bias[i] : Real(1); });
            ++column;
        }
        for_lines(lines, width, n_threads,
                  [&](std::int64_t i) { std::fill(&values[i * width + column], &values[i * width + width], Real(0)); });
    }

    // Adds the penalty's gradient; the penalty itself, summed in the order of the lines.
    double penalise(const Real* weight, int n_threads) {
        if (!weight) return 0;
        std::vector<double> parts(lines, 0.0);
        for_lines(lines, width, n_threads, [&](std::int64_t i) {
            for (std::int64_t c = 0; c < width; ++c) {
                if (c == constant) continue;
                const Real value = values[i * width + c];
                parts[i] += 0.5 * double(weight[i]) * double(value) * double(value);
                gradient[i * width + c] += weight[i] * value;
            }
        });
        double total = 0;
        for (double part : parts) total += part;
        return total;
    }
};

}  // namespace

template <class Real, class Stored, class Index>
double value_and_grad(const Network<const Real>& network, Lines<Index> by_row, Lines<Index> by_column, Data<Real> data,
                      Penalty<Real> penalty, const Network<Real>& gradient, int n_threads) {
    const std::int64_t k = network.V.columns, biases = (network.row_bias != nullptr) + (network.column_bias != nullptr),
                       width = padded_width<Real, Stored>(k + biases);
    Side<Real> left(*by_row.pool, network.U.rows, width), right(*by_row.pool, network.V.rows, width);

    // before[l]: the product of the cores that stand left of core l; the last: of all.
    std::vector<Small<Real>> cores, before;
    for (const auto& core : network.cores) {
        cores.emplace_back(view(core));
        before.push_back(before.empty() ? Small<Real>(view(core)) : multiply(before.back(), cores.back()));
    }
    const View<Real> left_part{left.values.data(), left.lines, k, width};
    if (cores.empty())
        for_lines(left.lines, width, n_threads,
                  [&](std::int64_t i) { std::copy_n(network.U.data + i * k, k, &left.values[i * width]); });
    else
        multiply<Real>(view(network.U), before.back().view(), left_part, n_threads);
    for_lines(right.lines, width, n_threads,
              [&](std::int64_t i) { std::copy_n(network.V.data + i * k, k, &right.values[i * width]); });
    left.fill(k, network.row_bias, network.column_bias, 0, n_threads);
    right.fill(k, network.row_bias, network.column_bias, 1, n_threads);

    double value =
        residual_gradient<Real, Stored>(by_row, Sides<Real>{left.values.data(), right.values.data(), width},
                                        data.target_by_row, data.weights_by_row, left.gradient.data(), n_threads);
    residual_gradient<Real, Stored>(by_column, Sides<Real>{right.values.data(), left.values.data(), width},
                                    data.target_by_column, data.weights_by_column, right.gradient.data(), n_threads);
    value += left.penalise(penalty.rows, n_threads) + right.penalise(penalty.columns, n_threads);

    const auto take = [&](const Side<Real>& side, std::int64_t from, std::int64_t count, Real* out) {
        for_lines(side.lines, count, n_threads, [&](std::int64_t i) {
            std::copy_n(side.gradient.data() + i * width + from, count, out + i * count);
        });
    };
    take(right, 0, k, gradient.V.data);
    if (gradient.row_bias) take(left, k, 1, gradient.row_bias);
    if (gradient.column_bias) take(right, k + biases - 1, 1, gradient.column_bias);
    if (cores.empty()) {
        take(left, 0, k, gradient.U.data);
        return value;
    }
    const View<const Real> d_left{left.gradient.data(), left.lines, k, width};
    const Small<Real> all = before.back().transposed();
    multiply<Real>(d_left, all.view(), view(gradient.U), n_threads);
    Small<Real> d_after = cross_product<Real>(view(network.U), d_left, n_threads);  // dC · (cores right of core l)ᵀ
    for (std::int64_t l = std::int64_t(cores.size()) - 1; l >= 0; --l) {
        const Small<Real> d_core = l ? multiply(before[l - 1].transposed(), d_after) : Small<Real>(d_after.view());
        const View<const Real> from = d_core.view();
        for (std::int64_t i = 0; i < from.rows; ++i)
            std::copy_n(from.data + i * from.step, from.columns, gradient.cores[l].data + i * from.columns);
        d_after = multiply(d_after, cores[l].transposed());
    }
    return value;
}

#define DMC_INSTANTIATE(Real, Stored, Index)                                                                    \
    template double value_and_grad<Real, Stored, Index>(const Network<const Real>&, Lines<Index>, Lines<Index>, \
                                                        Data<Real>, Penalty<Real>, const Network<Real>&, int);
DMC_INSTANTIATE(float, float, std::int32_t)
DMC_INSTANTIATE(float, float, std::int64_t)
DMC_INSTANTIATE(float, bfloat16, std::int32_t)
DMC_INSTANTIATE(float, bfloat16, std::int64_t)
DMC_INSTANTIATE(double, double, std::int32_t)
DMC_INSTANTIATE(double, double, std::int64_t)

}  // namespace dmc
