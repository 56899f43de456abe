// Coordinates in which the factors of one side of a model have Gram matrix one: those of its unknowns, whatever the
// condition of the model.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "vectors.h"

namespace dmc {

// A row of a small matrix takes whole vectors of any instruction set.
template <class Real>
std::int64_t rounded_up(std::int64_t width) {
    constexpr std::int64_t lanes = 64 / sizeof(Real);
    return (width + lanes - 1) / lanes * lanes;
}

// Lines of numbers, `stride` from one to the next.
template <class Real>
struct Rows {
    Real* data;
    std::int64_t stride;
};

// Which rows of a small matrix count for a column: all, those up to its own, or those from its own on.
enum class Form { full, upper, lower };

// A square matrix (width, stride).
template <class Real>
struct Small {
    const Real* data;
    std::int64_t width, stride;
    Form form;
};

// to_i = scale_i · (from_i · matrix), added to what is there if `Add`; scale null: all one.
template <bool Add>
struct Multiply {
    template <int Bytes, class From, class Real, class To>
    static DMC_INLINE int run(const Rows<const From>& from, const Small<Real>& matrix, const Real* const& scale,
                              const Rows<To>& to, const std::int64_t& begin, const std::int64_t& end) {
        std::int64_t i = begin;
        for (; i + 4 <= end; i += 4) lines<Bytes, 4>(from, matrix, scale, to, i);
        for (; i < end; ++i) lines<Bytes, 1>(from, matrix, scale, to, i);
        return 0;
    }

    // Several lines together, which share the matrix' numbers.
    template <int Bytes, int Lines, class From, class Real, class To>
    static DMC_INLINE void lines(const Rows<const From>& from, const Small<Real>& matrix, const Real* scale,
                                 const Rows<To>& to, std::int64_t i) {
        constexpr std::int64_t lanes = Vector<Real, Bytes>::lanes;
        std::int64_t c = 0;
        for (; c + lanes < matrix.width; c += 2 * lanes) columns<Bytes, Lines, 2>(from, matrix, scale, to, i, c);
        if (c < matrix.width) columns<Bytes, Lines, 1>(from, matrix, scale, to, i, c);
    }

    template <int Bytes, int Lines, int Vectors, class From, class Real, class To>
    static DMC_INLINE void columns(const Rows<const From>& from, const Small<Real>& matrix, const Real* scale,
                                   const Rows<To>& to, std::int64_t i, std::int64_t c) {
        using V = Vector<Real, Bytes>;
        const std::int64_t last = std::min<std::int64_t>(c + Vectors * V::lanes, matrix.width);
        const std::int64_t begin = matrix.form == Form::lower ? c : 0;
        const std::int64_t end = matrix.form == Form::upper ? last : matrix.width;
        const From* own = from.data + i * from.stride;
        typename V::type sums[Lines][Vectors] = {};
        for (std::int64_t r = begin; r < end; ++r)
            for (int v = 0; v < Vectors; ++v) {
                const auto row = V::load(matrix.data + r * matrix.stride + c + v * V::lanes);
                for (int l = 0; l < Lines; ++l) sums[l][v] += Real(own[l * from.stride + r]) * row;
            }
        Real room[Vectors * V::lanes];
        for (int l = 0; l < Lines; ++l) {
            const Real factor = scale ? scale[i + l] : Real(1);
            for (int v = 0; v < Vectors; ++v) V::store(room + v * V::lanes, factor * sums[l][v]);
            To* out = to.data + (i + l) * to.stride;
            for (std::int64_t k = c; k < last; ++k) out[k] = To((Add ? Real(out[k]) : Real(0)) + room[k - c]);
        }
    }
};

// Lines of numbers copied into places of another stride: of a constant width, where there is a case for it.
template <int Width = 1, class Real>
void copy_lines(const Real* from, std::int64_t from_stride, Real* to, std::int64_t to_stride, std::int64_t width,
                std::int64_t begin, std::int64_t end) {
    if constexpr (Width > 16) {
        for (std::int64_t i = begin; i < end; ++i) std::copy_n(from + i * from_stride, width, to + i * to_stride);
    } else if (width == Width) {
        for (std::int64_t i = begin; i < end; ++i)
            std::memcpy(to + i * to_stride, from + i * from_stride, Width * sizeof(Real));
    } else {
        copy_lines<Width + 1>(from, from_stride, to, to_stride, width, begin, end);
    }
}

constexpr std::int64_t kLinesOfPiece = 256;

// body(begin, end) for pieces of 0 … lines−1, by several threads where there are so many multiplications.
template <class Body>
void for_pieces_of_lines(std::int64_t lines, std::int64_t work, int n_threads, const Body& body) {
    constexpr std::int64_t enough = 1 << 20;
    parallel_for((lines + kLinesOfPiece - 1) / kLinesOfPiece, threads_for(work, enough, n_threads),
                 [&](std::int64_t p) { body(p * kLinesOfPiece, std::min((p + 1) * kLinesOfPiece, lines)); });
}

template <bool Add, class From, class Real, class To>
void multiply(Rows<const From> from, Small<Real> matrix, const Real* scale, Rows<To> to, std::int64_t lines,
              int n_threads) {
    for_pieces_of_lines(
        lines, lines * matrix.width * matrix.width, n_threads,
        [&](std::int64_t begin, std::int64_t end) { dispatch<Multiply<Add>>(from, matrix, scale, to, begin, end); });
}

// gram (width, stride) += Σ_i from_i from_iᵀ on and above the diagonal, and here and there below it. Four lines at a
// time: what is added to is read and written once for them.
struct AddGram {
    template <int Bytes, class From>
    static DMC_INLINE int run(const Rows<const From>& from, const std::int64_t& width, const std::int64_t& begin,
                              const std::int64_t& end, double* const& gram) {
        using V = Vector<double, Bytes>;
        const std::int64_t stride = rounded_up<double>(width);
        std::vector<double> room(4 * stride);
        for (std::int64_t i = begin; i < end; i += 4) {
            double* lines[4];
            for (int l = 0; l < 4; ++l) {
                lines[l] = room.data() + l * stride;
                if (i + l < end)
                    std::copy_n(from.data + (i + l) * from.stride, width, lines[l]);
                else
                    std::fill_n(lines[l], width, 0.0);
            }
            for (std::int64_t r = 0; r < width; ++r)
                for (std::int64_t c = r / V::lanes * V::lanes; c < width; c += V::lanes) {
                    double* at = gram + r * stride + c;
                    typename V::type sum = V::load(at);
                    for (int l = 0; l < 4; ++l) sum += lines[l][r] * V::load(lines[l] + c);
                    V::store(at, sum);
                }
        }
        return 0;
    }
};

// The upper triangle U of A = Uᵀ U, in place, and its inverse. Rows are worked on from the diagonal on.
struct Triangle {
    template <int Bytes>
    static DMC_INLINE int run(double* const& a, double* const& inverse, const std::int64_t& k,
                              const std::int64_t& stride, const double& least) {
        for (std::int64_t r = 0; r < k; ++r) {
            double* own = a + r * stride;
            const double root = std::sqrt(std::max(own[r], least)), back = 1 / root;
            own[r] = root;
            for (std::int64_t c = r + 1; c < k; ++c) own[c] *= back;
            for (std::int64_t q = r + 1; q < k; ++q) subtract(own[q], own, a + q * stride, q, k);
        }
        for (std::int64_t r = k - 1; r >= 0; --r) {
            const double *own = a + r * stride, back = 1 / own[r];
            double* to = inverse + r * stride;
            std::fill_n(to, stride, 0.0);
            to[r] = back;
            for (std::int64_t p = r + 1; p < k; ++p) subtract(own[p] * back, inverse + p * stride, to, p, k);
        }
        return 0;
    }

    static DMC_INLINE void subtract(double factor, const double* from, double* to, std::int64_t c, std::int64_t k) {
        for (; c < k; ++c) to[c] -= factor * from[c];
    }
};

// With A = curvature · Gram matrix of a basis + a ridge: T such that Tᵀ A T = 1, upper triangular, and its transpose.
// What rounding leaves undecided is decided by a little ridge.
class Coordinates {
  public:
    template <class Real>
    Coordinates(const Real* basis, std::int64_t lines, std::int64_t width, double curvature,
                const std::vector<double>& ridge, int n_threads)
        : width(width), stride(rounded_up<double>(width)), into(width * stride), back(width * stride) {
        std::vector<double> a = gram(Rows<const Real>{basis, width}, lines, n_threads), scale(width);
        for (double& number : a) number *= curvature;
        for (std::int64_t r = 0; r < width; ++r) {
            double& own = a[r * stride + r];
            own += ridge[r];
            scale[r] = own > 0 ? 1 / std::sqrt(own) : 1;
        }
        for (std::int64_t r = 0; r < width; ++r) {
            for (std::int64_t c = r; c < width; ++c) a[r * stride + c] *= scale[r] * scale[c];
            a[r * stride + r] += kRidge;
        }
        double *triangle = a.data(), *inverse = into.data();
        const double least = kRidge;
        dispatch<Triangle>(triangle, inverse, this->width, stride, least);
        for (std::int64_t r = 0; r < width; ++r)
            for (std::int64_t c = r; c < width; ++c) back[c * stride + r] = into[r * stride + c] *= scale[r];
    }

    Small<double> forward() const { return {into.data(), width, stride, Form::upper}; }
    Small<double> backward() const { return {back.data(), width, stride, Form::lower}; }

    // Tᵀ diag(d) T (width, stride).
    template <class Real>
    std::vector<Real> transformed(const std::vector<double>& d) const {
        const std::int64_t wide = rounded_up<Real>(width);
        std::vector<double> sums(width * stride, 0.0);
        for (std::int64_t p = 0; p < width; ++p)
            for (std::int64_t r = p; r < width; ++r) {
                const double factor = d[p] * into[p * stride + r];
                for (std::int64_t c = p; c < width; ++c) sums[r * stride + c] += factor * into[p * stride + c];
            }
        std::vector<Real> found(width * wide, Real(0));
        for (std::int64_t r = 0; r < width; ++r)
            for (std::int64_t c = 0; c < width; ++c) found[r * wide + c] = Real(sums[r * stride + c]);
        return found;
    }

    const std::int64_t width, stride;

  private:
    // Of a diagonal of ones: above what rounding leaves in a Gram matrix (2e-16 times the root of the lines that are
    // summed one after the other, at most 4096), and felt only by directions that the others span to six digits.
    static constexpr double kRidge = 1e-13;

    // Piece by piece, added up in their order.
    template <class Real>
    std::vector<double> gram(Rows<const Real> basis, std::int64_t lines, int n_threads) const {
        constexpr std::int64_t piece = 1 << 12;
        const std::int64_t pieces = (lines + piece - 1) / piece, size = width * stride;
        std::vector<double> parts(std::max<std::int64_t>(pieces, 1) * size, 0.0);
        parallel_for(pieces, threads_for(lines * width * width, 1 << 20, n_threads), [&](std::int64_t p) {
            const std::int64_t begin = p * piece, end = std::min(begin + piece, lines);
            double* to = parts.data() + p * size;
            dispatch<AddGram>(basis, this->width, begin, end, to);
        });
        for (std::int64_t p = 1; p < pieces; ++p)
            for (std::int64_t c = 0; c < size; ++c) parts[c] += parts[p * size + c];
        parts.resize(size);
        return parts;
    }

    std::vector<double> into, back;
};

}  // namespace dmc
