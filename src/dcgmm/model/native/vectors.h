/* Vectors, matrix products in registers, memory and threads: what all compiled passes are made of.
 *
 * Written for GCC: vectors, shuffles and unrolling are its extensions of C++.
 */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>
#ifdef __SSE__
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

namespace {

/* A vector holds LANES components, a panel as many of them as leave registers for a block of points. */
#ifdef __AVX512F__
constexpr int LANES = 16, PANEL = 4;
constexpr int points_of(int vectors) { return vectors <= 2 ? 12 : vectors == 3 ? 6 : 4; }
#else
constexpr int LANES = 8, PANEL = 2;
constexpr int points_of(int vectors) { return vectors == 1 ? 6 : 4; }
#endif
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec fill(float x) { return x - vec{}; }
INLINE vec larger(vec a, vec b) { return a > b ? a : b; } /* b where either is NaN: NaN is looked for apart */

/* Each lane takes the value of lane number ^ d. */
template <int d>
INLINE vec swapped(vec v) {
#ifdef __AVX512F__
    constexpr ivec lanes = {0 ^ d, 1 ^ d, 2 ^ d,  3 ^ d,  4 ^ d,  5 ^ d,  6 ^ d,  7 ^ d,
                            8 ^ d, 9 ^ d, 10 ^ d, 11 ^ d, 12 ^ d, 13 ^ d, 14 ^ d, 15 ^ d};
#else
    constexpr ivec lanes = {0 ^ d, 1 ^ d, 2 ^ d, 3 ^ d, 4 ^ d, 5 ^ d, 6 ^ d, 7 ^ d};
#endif
    return __builtin_shuffle(v, lanes);
}

/* The largest lane, or the sum of all, in every lane. */
INLINE vec everywhere_largest(vec v) {
    if (LANES == 16) v = larger(v, swapped<8 % LANES>(v));
    v = larger(v, swapped<4>(v));
    v = larger(v, swapped<2>(v));
    return larger(v, swapped<1>(v));
}
INLINE vec everywhere_sum(vec v) {
    if (LANES == 16) v += swapped<8 % LANES>(v);
    v += swapped<4>(v);
    v += swapped<2>(v);
    return v + swapped<1>(v);
}

/* A bit for each lane in which two vectors are equal. */
INLINE uint32_t equal_lanes(vec a, vec b) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
#elif defined(__AVX__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ));
#else
    uint32_t bits = 0;
    UNROLL for (int i = 0; i < LANES; i++) bits |= uint32_t(a[i] == b[i]) << i;
    return bits;
#endif
}

/* A bit for each lane in which either of two vectors is NaN. */
INLINE uint32_t nan_lanes(vec a, vec b) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q);
#elif defined(__AVX__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_UNORD_Q));
#else
    uint32_t bits = 0;
    UNROLL for (int i = 0; i < LANES; i++) bits |= uint32_t(a[i] != a[i] || b[i] != b[i]) << i;
    return bits;
#endif
}

/* exp(x) for x <= 0, to about 1e-7 relative; 0 where the result would be denormal. Not for NaN. */
INLINE vec exp_negative(vec x) {
    vec clamped = larger(x, fill(-87.0f));
    vec shifted = clamped * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the integer lies in the low bits */
    vec n = shifted - 12582912.0f;
    vec r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = fill(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    ivec scaled = (ivec)p + ((ivec)shifted << 23);
    return x < fill(-87.0f) ? fill(0.0f) : (vec)scaled;
}

/* Both products below have a row of `in` for each point, `stride` apart, and one of `matrix` for each place in it. */

/* out[m][k] = start[k] + sum_d in[m][d] (linear[d][k] + in[m][d] quadratic[d][k]): scores. A row of the matrix is
 * linear[d] and then quadratic[d]. */
struct Score {
    template <int points, int vectors>
    INLINE void panel(const float *in, long stride, long depth, const float *matrix, long row, const float *start,
                      float *out, long out_row) {
        vec total[points][vectors], linear[vectors], quadratic[vectors];
        UNROLL for (int m = 0; m < points; m++)
            UNROLL for (int v = 0; v < vectors; v++) total[m][v] = load(start + v * LANES);
        for (long d = 0; d < depth; d++, matrix += row) {
            UNROLL for (int v = 0; v < vectors; v++) {
                linear[v] = load(matrix + v * LANES);
                quadratic[v] = load(matrix + row / 2 + v * LANES);
            }
            UNROLL for (int m = 0; m < points; m++) {
                vec value = fill(in[m * stride + d]);
                UNROLL for (int v = 0; v < vectors; v++) total[m][v] += value * (linear[v] + value * quadratic[v]);
            }
        }
        UNROLL for (int m = 0; m < points; m++)
            UNROLL for (int v = 0; v < vectors; v++) store(out + m * out_row + v * LANES, total[m][v]);
    }
};

/* out[m][k] = start[k] + sum_j in[m][j] matrix[j][k]. */
struct Plain {
    template <int points, int vectors>
    INLINE void panel(const float *in, long stride, long depth, const float *matrix, long row, const float *start,
                      float *out, long out_row) {
        vec total[points][vectors], column[vectors];
        UNROLL for (int m = 0; m < points; m++)
            UNROLL for (int v = 0; v < vectors; v++) total[m][v] = load(start + v * LANES);
        for (long j = 0; j < depth; j++, matrix += row) {
            UNROLL for (int v = 0; v < vectors; v++) column[v] = load(matrix + v * LANES);
            UNROLL for (int m = 0; m < points; m++) {
                vec value = fill(in[m * stride + j]);
                UNROLL for (int v = 0; v < vectors; v++) total[m][v] += value * column[v];
            }
        }
        UNROLL for (int m = 0; m < points; m++)
            UNROLL for (int v = 0; v < vectors; v++) store(out + m * out_row + v * LANES, total[m][v]);
    }
};

/* A panel's product for any number of points: blocks of as many as the registers hold, then smaller ones. */
template <class Product, int vectors>
void in_blocks(const float *in, long stride, long depth, const float *matrix, long row, const float *start, float *out,
               long out_row, long count) {
    constexpr int most = points_of(vectors), half = most / 2;
    for (; count >= most; count -= most, in += most * stride, out += most * out_row)
        Product::template panel<most, vectors>(in, stride, depth, matrix, row, start, out, out_row);
    for (; count >= half; count -= half, in += half * stride, out += half * out_row)
        Product::template panel<half, vectors>(in, stride, depth, matrix, row, start, out, out_row);
    for (; count > 0; count--, in += stride, out += out_row)
        Product::template panel<1, vectors>(in, stride, depth, matrix, row, start, out, out_row);
}

/* The product for `columns` components, whole vectors of them: panels of PANEL vectors, and one of what is left. */
template <class Product>
void multiply(const float *in, long stride, long depth, const float *matrix, long row, const float *start, long columns,
              float *out, long out_row, long count) {
    for (long first = 0; first < columns; first += PANEL * LANES) {
        const long vectors = std::min<long>(PANEL, (columns - first) / LANES);
        const auto run = vectors == 1   ? in_blocks<Product, 1>
                         : vectors == 2 ? in_blocks<Product, 2>
                         : vectors == 3 ? in_blocks<Product, std::min(3, PANEL)>
                                        : in_blocks<Product, PANEL>;
        run(in, stride, depth, matrix + first, row, start + first, out + first, out_row, count);
    }
}

/* Floats that begin on a cache line, not set to anything. */
class Floats {
  public:
    explicit Floats(long size) : data_(static_cast<float *>(operator new(4 * size, std::align_val_t{64}))) {}
    ~Floats() { operator delete(data_, std::align_val_t{64}); }
    Floats(const Floats &) = delete;
    Floats &operator=(const Floats &) = delete;
    operator float *() const { return data_; }

  private:
    float *data_;
};

/* Results too small to be normal numbers become 0 while it lives: work on such numbers is slow. */
class FlushDenormals {
#ifdef __SSE__
  public:
    FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(saved_); }

  private:
    unsigned saved_;
#endif
};

/* A thread of a parallel region, and its part of a range. */
struct Thread {
#ifdef _OPENMP
    long number = omp_get_thread_num(), all = omp_get_num_threads();
#else
    long number = 0, all = 1;
#endif
    FlushDenormals flush_denormals = {};
    long from(long size) const { return size * number / all; }
    long to(long size) const { return size * (number + 1) / all; }
};

constexpr long padded(long size) { return (size + LANES - 1) / LANES * LANES; }

}  // namespace
