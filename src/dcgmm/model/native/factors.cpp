/* The passes of a factor-analysing GMM layer on a CPU, in float32: what factors.py says in tensors, but for the product of
 * points and factors, which a matrix product of tensors does as fast as the processor can. Each component is worked on by
 * itself, its factors in the cache, and in a step only if it wins a point.
 *
 * Shapes: P points, K components, D features, L factors. Arrays are dense, in the order of their shapes: factors are rows
 * (L, K, D). `stride` is D rounded up to whole vectors: rows of one component are copied so far apart, 0 behind D.
 *
 * The same input gives the same bits, whatever the number of threads: each result is formed by one thread, in one order.
 */
#include "vectors.h"

namespace {

/* Dot products of rows of `a` with rows of `b`, a tile of them in registers. */
template <int rows_a, int rows_b>
INLINE void tile(const float *a, const float *b, long stride, float *out, long out_row) {
    vec total[rows_a][rows_b] = {};
    for (long d = 0; d < stride; d += LANES) {
        vec other[rows_b];
        UNROLL for (int j = 0; j < rows_b; j++) other[j] = load(b + j * stride + d);
        UNROLL for (int i = 0; i < rows_a; i++) {
            const vec own = load(a + i * stride + d);
            UNROLL for (int j = 0; j < rows_b; j++) total[i][j] += own * other[j];
        }
    }
    UNROLL for (int i = 0; i < rows_a; i++)
        UNROLL for (int j = 0; j < rows_b; j++) out[i * out_row + j] = everywhere_sum(total[i][j])[0];
}

/* out[i][j] = <a_i, b_j> for rows `stride` apart; where `half`, at least for j <= i. */
void dot_products(const float *a, long rows_a, const float *b, long rows_b, long stride, float *out, long out_row,
                  bool half = false) {
    for (long i = 0; i < rows_a;) {
        const long high = rows_a - i >= 4 ? 4 : 1;
        for (long j = 0; j < (half ? i + high : rows_b);) {
            const long wide = rows_b - j >= 4 ? 4 : 1;
            const auto run = high == 4 ? (wide == 4 ? tile<4, 4> : tile<4, 1>) : (wide == 4 ? tile<1, 4> : tile<1, 1>);
            run(a + i * stride, b + j * stride, stride, out + i * out_row + j, out_row);
            j += wide;
        }
        i += high;
    }
}

/* `count` rows of D floats, `apart` from each other, copied `stride` apart, with `behind` after each. */
void copy_rows(const float *from, long apart, long D, float *to, long stride, long count, float behind) {
    for (long i = 0; i < count; i++) {
        memcpy(to + i * stride, from + i * apart, 4 * D);
        std::fill(to + i * stride + D, to + (i + 1) * stride, behind);
    }
}

typedef std::vector<double> Matrix; /* (L, L) */

/* M = I - G^T E^-1 G, from the rows of d^-1 G. */
void capacitance(const float *standard, long L, long stride, float *products, Matrix &m) {
    dot_products(standard, L, standard, L, stride, products, L, true);
    for (long i = 0; i < L; i++)
        for (long j = 0; j <= i; j++) m[i * L + j] = m[j * L + i] = double(i == j) - products[i * L + j];
}

/* A symmetric matrix becomes its inverse, by Gauss and Jordan; returns its log determinant. All is NaN where it is not
 * positive definite. */
double invert(Matrix &m, long L) {
    double log_det = 0;
    for (long p = 0; p < L; p++) {
        double *pivot = &m[p * L];
        const double inverse = 1 / pivot[p];
        if (!(inverse > 0)) return m.assign(L * L, NAN), NAN;
        log_det -= std::log(inverse);
        pivot[p] = 1;
        for (long j = 0; j < L; j++) pivot[j] *= inverse;
        for (long i = 0; i < L; i++) {
            if (i == p) continue;
            double *row = &m[i * L];
            const double times = row[p];
            row[p] = 0;
            for (long j = 0; j < L; j++) row[j] -= times * pivot[j];
        }
    }
    return log_det;
}

/* Jacobi's rotations until a symmetric matrix is diagonal: its eigenvalues, and in the rows of `basis` its eigenvectors.
 * After a step M is nearly diagonal, since the step before left it so: two or three rounds do. */
void diagonalise(Matrix &m, long L, Matrix &basis) {
    double size = 0;
    for (long i = 0; i < L * L; i++) basis[i] = i % (L + 1) == 0, size = std::max(size, std::fabs(m[i]));
    for (int round = 0, rotations = 1; rotations && round < 50; round++) {
        rotations = 0;
        for (long p = 0; p < L; p++)
            for (long q = p + 1; q < L; q++) {
                double *mp = &m[p * L], *mq = &m[q * L], *bp = &basis[p * L], *bq = &basis[q * L];
                if (!(std::fabs(mp[q]) > 1e-9 * size)) continue;
                rotations++;
                const double slope = (mq[q] - mp[p]) / (2 * mp[q]);
                const double t = std::copysign(1.0, slope) / (std::fabs(slope) + std::sqrt(slope * slope + 1));
                const double c = 1 / std::sqrt(t * t + 1), s = t * c;
                for (long i = 0; i < L; i++) {
                    const double x = mp[i], y = mq[i], u = bp[i], v = bq[i];
                    mp[i] = c * x - s * y, mq[i] = s * x + c * y;
                    bp[i] = c * u - s * v, bq[i] = s * u + c * v;
                }
                for (long i = 0; i < L; i++) {
                    const double x = m[i * L + p], y = m[i * L + q];
                    m[i * L + p] = c * x - s * y, m[i * L + q] = s * x + c * y;
                }
            }
    }
}

/* The map (L, L) that brings factors to where `project` puts them: the rows of M's basis, the smallest eigenvalue
 * first, times what shrinks those under the floor. */
void projection(Matrix &m, long L, float floor, Matrix &basis, std::vector<long> &order, float *map) {
    for (double &value : m)
        if (!std::isfinite(value)) value = 0; /* a model that has diverged keeps its NaN by its factors */
    diagonalise(m, L, basis);
    for (long i = 0; i < L; i++) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](long i, long j) { return m[i * L + i] < m[j * L + j]; });
    const double most = 1 - double(floor);
    for (long i = 0; i < L; i++) {
        const double length = 1 - m[order[i] * L + order[i]], shrink = length > most ? std::sqrt(most / length) : 1;
        for (long j = 0; j < L; j++) map[i * L + j] = float(shrink * basis[order[i] * L + j]);
    }
}

struct Sizes {
    long points, components, features, factors; /* P K D L */
};

struct Rates {
    float loc, precision_sqrt, factors;
    float least, most; /* of precision_sqrt */
    float floor;       /* of the eigenvalues of M */
};

/* What one thread needs to make the step of one component after the other. */
class Component {
  public:
    explicit Component(const Sizes &sizes)
        : D(sizes.features), L(sizes.factors), K(sizes.components), stride(padded(D)),
          most(std::max<long>(16, BLOCK / stride)), loc(stride), root(stride), g(L * stride), other(L * stride),
          sums((L + 1) * stride), part((L + 1) * stride), squares(stride), nothing(stride), points(most * stride),
          projected(most * L), weights((L + 1) * most), small(L * L), mean(L), offset(L), inverse(L * L), m(L * L), basis(L * L), order(L) {
        std::fill(nothing + 0, nothing + stride, 0.0f);
    }

    /* Asks for the factors of a component that is next. */
    void ask_for(long k, const float *rows) const {
        for (long l = 0; l < L; l++)
            for (long d = 0; d < D; d += 16) __builtin_prefetch(rows + (l * K + k) * D + d, 0, 2);
    }

    void take(long k, const float *all_loc, const float *all_root, const float *rows) {
        copy_rows(all_loc + k * D, D, D, loc, stride, 1, 0);
        copy_rows(all_root + k * D, D, D, root, stride, 1, 1);
        copy_rows(rows + k * D, K * D, D, g, stride, L, 0);
    }

    /* G^T mu, log det M and M^-1. */
    void describe() {
        dot_products(g, L, loc, 1, stride, offset, 1);
        for (long d = 0; d < stride; d += LANES) {
            const vec scale = 1.0f / load(root + d);
            for (long l = 0; l < L; l++) store(other + l * stride + d, load(g + l * stride + d) * scale);
        }
        capacitance(other, L, stride, small, m);
        log_det = float(invert(m, L));
        std::copy(m.begin(), m.end(), inverse + 0);
    }

    /* Sums over the points won: of x and x z^T in the rows of `sums`, of x^2 in `squares`; and to the scores of the
     * points what the factors add. */
    void sum_up(const float *x, const long *won, long count, float *values) {
        memset(squares, 0, 4 * stride);
        for (long first = 0; first < count; first += most) {
            const long size = std::min(most, count - first);
            for (long p = 0; p < size; p++) copy_rows(x + won[first + p] * D, D, D, points + p * stride, stride, 1, 0);
            dot_products(points, size, g, L, stride, projected, L);
            for (long p = 0; p < size; p++) {
                float length = 0;
                for (long l = 0; l < L; l++) {
                    const float z = projected[p * L + l] - offset[l];
                    weights[(l + 1) * size + p] = z;
                    length += z * z;
                }
                weights[p] = 1;
                values[won[first + p]] += 0.5f * (length + log_det);
            }
            multiply<Plain>(weights, size, size, points, stride, nothing, stride, first ? part : sums, stride, L + 1);
            if (first)
                for (long i = 0; i < (L + 1) * stride; i += LANES) store(sums + i, load(sums + i) + load(part + i));
            for (long p = 0; p < size; p++)
                for (long d = 0; d < stride; d += LANES) {
                    const vec value = load(points + p * stride + d);
                    store(squares + d, load(squares + d) + value * value);
                }
        }
    }

    /* The ascent of `factor_gradient`, with the means of what was summed up, and the projection after it. */
    void ascend(float scale, float share, const Rates &rates) {
        for (long i = 0; i < stride; i += LANES) { /* <c>, over the sum of x, which the step below does not need */
            store(squares + i, load(squares + i) * scale);
            store(sums + i, load(sums + i) * scale - load(loc + i) * share);
        }
        dot_products(g, L, sums, 1, stride, mean, 1);
        multiply<Plain>(inverse, L, L, g, stride, nothing, stride, other, stride, L); /* M^-1 G^T */
        for (long d = 0; d < stride; d += LANES) step_features(d, scale, share, rates);
        capacitance(other, L, stride, small, m);
        projection(m, L, rates.floor, basis, order, small);
        multiply<Plain>(small, L, L, g, stride, nothing, stride, other, stride, L);
    }

    void put(long k, float *all_loc, float *all_root, float *rows) const {
        memcpy(all_loc + k * D, loc, 4 * D);
        memcpy(all_root + k * D, root, 4 * D);
        for (long l = 0; l < L; l++) memcpy(rows + (l * K + k) * D, other + l * stride, 4 * D);
    }

    void put_description(long k, float *all_offset, float *all_log_det, float *all_inverse) const {
        for (long l = 0; l < L; l++) all_offset[l * K + k] = offset[l];
        all_log_det[k] = log_det;
        memcpy(all_inverse + k * L * L, inverse, 4 * L * L);
    }

  private:
    static constexpr long BLOCK = 1 << 16; /* floats of points that are held at once */

    /* Some features' part of the step; leaves the rows of d^-1 G in `other`. */
    INLINE_MEMBER void step_features(long d, float scale, float share, const Rates &rates) {
        const vec mu = load(loc + d), old = load(root + d), centred = load(sums + d);
        const vec precision = old * old, variance = 1.0f / precision;
        vec explained = fill(0), pulled = fill(0);
        for (long l = 0; l < L; l++) {
            const vec own = load(g + l * stride + d), inverted = load(other + l * stride + d) * variance;
            const vec cross = load(sums + (l + 1) * stride + d) * scale - mean[l] * mu;
            explained += inverted * own;
            pulled += own * mean[l];
            store(g + l * stride + d, own + rates.factors * (cross - share * inverted));
        }
        const vec first = centred + mu * share; /* <x> */
        const vec deviation = load(squares + d) - mu * (first + centred);
        const vec up = share / old - old * deviation + share * old * variance * explained;
        const vec farthest = 1.0f / (precision * share), rate = fill(rates.loc);
        store(loc + d, mu + (farthest < rate ? farthest : rate) * (precision * centred - pulled));
        const vec stepped = old + rates.precision_sqrt * up, least = fill(rates.least), most_ = fill(rates.most);
        const vec fresh = stepped < least ? least : stepped > most_ ? most_ : stepped;
        store(root + d, fresh);
        const vec inverse_root = 1.0f / fresh;
        for (long l = 0; l < L; l++) store(other + l * stride + d, load(g + l * stride + d) * inverse_root);
    }

    const long D, L, K, stride, most;
    const Floats loc, root, g, other, sums, part, squares, nothing, points, projected, weights, small, mean, offset, inverse;
    float log_det = 0;
    Matrix m, basis;
    std::vector<long> order;
};

}  // namespace

extern "C" {

/* G^T mu (L, K), and of M, NaN where it is not positive definite, log det (K) and inverse (K, L, L). */
void dcgmm_factor_parameters(const Sizes *sizes, int threads, const float *loc, const float *precision_sqrt,
                             const float *rows, float *offset, float *log_det, float *inverse) {
    const long K = sizes->components;
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        Component component(*sizes);
        for (long k = thread.from(K); k < thread.to(K); k++) {
            component.take(k, loc, precision_sqrt, rows);
            if (k + 1 < thread.to(K)) component.ask_for(k + 1, rows);
            component.describe();
            component.put_description(k, offset, log_det, inverse);
        }
    }
}

/* Scores (P, K) with the part of the factors, 1/2 |z|^2 + 1/2 log det M, from the products (P, L, K) of points and
 * factors, z = products - offset. */
void dcgmm_add_factors(const Sizes *sizes, int threads, const float *products, const float *offset,
                       const float *log_det, float *scores) {
    const long K = sizes->components, L = sizes->factors;
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        Floats squares(K);
        for (long p = thread.from(sizes->points); p < thread.to(sizes->points); p++) {
            std::copy(log_det, log_det + K, squares + 0);
            for (long l = 0; l < L; l++) {
                const float *product = products + (p * L + l) * K, *middle = offset + l * K;
                for (long k = 0; k < K; k++) squares[k] += (product[k] - middle[k]) * (product[k] - middle[k]);
            }
            for (long k = 0; k < K; k++) scores[p * K + k] += 0.5f * squares[k];
        }
    }
}

/* One step of SGD ascent of all but the logits, in place, for points (P, D) with the winner (P) of each. `scores` (P, K)
 * are those of the diagonal Gaussians. `values` (P) become the winner's scores with factors, as they were before. */
void dcgmm_ascend_factors(const Sizes *sizes, int threads, const float *x, const int64_t *winner, const float *scores,
                          const Rates *rates, float *loc, float *precision_sqrt, float *rows, float *values) {
    const long P = sizes->points, K = sizes->components;
    std::vector<long> starts(K + 1), won(P), components; /* the points of each component, in their order */
    for (long p = 0; p < P; p++) starts[winner[p] + 1]++;
    for (long k = 0; k < K; k++) {
        if (starts[k + 1]) components.push_back(k);
        starts[k + 1] += starts[k];
    }
    std::vector<long> next(starts);
    for (long p = 0; p < P; p++) {
        won[next[winner[p]]++] = p;
        values[p] = scores[p * K + winner[p]];
    }
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        Component component(*sizes);
        for (size_t i = thread.number; i < components.size(); i += thread.all) {
            const long k = components[i], count = starts[k + 1] - starts[k];
            component.take(k, loc, precision_sqrt, rows);
            if (i + thread.all < components.size()) component.ask_for(components[i + thread.all], rows);
            component.describe();
            component.sum_up(x, &won[starts[k]], count, values);
            component.ascend(1.0f / P, float(double(count) / P), *rates);
            component.put(k, loc, precision_sqrt, rows);
        }
    }
}
}
