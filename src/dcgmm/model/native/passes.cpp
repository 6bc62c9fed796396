/* The hot passes of a GMM layer on a CPU, in float32: what gaussian.py and patches.py say in tensors, without a tensor
 * between its parts. Points are worked on in small blocks: their patches are copied side by side, scored against all
 * components in registers, and turned into responsibilities, winners and the winners' sums while they are in the cache.
 *
 * Shapes: N samples; H W C the map under the layer; P = N H' W' points (sample and window position in one); D = kh kw C
 * features of a patch; K components on a grid of S x S, S = sqrt(K). Arrays are dense, in the order of their shapes. `width` and `stride` are K and D
 * rounded up to whole vectors.
 *
 * The same input and number of threads give the same bits: each thread has a fixed range of points, and the sums of the
 * threads are added in their order.
 */
#include "vectors.h"

namespace {

/* Largest of a row of `width` values; NaN where one is. */
INLINE vec largest_of(const float *row, long width) {
    vec best = load(row);
    uint32_t nan = nan_lanes(best, best);
    for (long k = LANES; k < width; k += LANES) {
        const vec next = load(row + k);
        nan |= nan_lanes(next, next);
        best = larger(best, next);
    }
    return nan ? fill(NAN) : everywhere_largest(best);
}

/* First place in a row of its largest value: of a NaN, where that is the largest. */
INLINE long place_of(vec value, const float *row, long width) {
    for (long first = 0; first < width; first += 64) {
        uint64_t found = 0; /* of 64 components at once: where the best one lies cannot be foreseen */
        for (long k = first; k < std::min(width, first + 64); k += LANES)
            found |= uint64_t(equal_lanes(load(row + k), value)) << (k - first);
        if (found) return first + __builtin_ctzll(found);
    }
    return std::find_if(row, row + width, [](float each) { return each != each; }) - row;
}

struct Shapes {
    long samples, height, width, channels;       /* N H W C */
    long kernel_height, kernel_width;            /* kh kw */
    long stride_height, stride_width;            /* sh sw */
    long rows, columns;                          /* H' W' */
    long components;                             /* K */
    long points() const { return samples * rows * columns; }
    long features() const { return kernel_height * kernel_width * channels; }
};

/* Copies in vectors of `lanes` floats, the last of which may overlap the one before: count >= lanes. */
template <int lanes>
INLINE void copy_vectors(const float *from, float *to, long count) {
    typedef float part __attribute__((vector_size(4 * lanes), aligned(4), may_alias));
    for (long i = 0; i < count - lanes; i += lanes) *(part *)(to + i) = *(const part *)(from + i);
    *(part *)(to + count - lanes) = *(const part *)(from + count - lanes);
}

INLINE void copy_run(const float *from, float *to, long count) {
    if (count >= LANES) copy_vectors<LANES>(from, to, count);
    else if (count >= 4) copy_vectors<4>(from, to, count);
    else
        for (long i = 0; i < count; i++) to[i] = from[i];
}

/* Calls use(patch number, where the patch begins in its map) for `count` consecutive points from one on. */
template <class Use>
void for_patches(const Shapes &s, long point, long count, Use use) {
    long column = point % s.columns, row = point / s.columns % s.rows, sample = point / s.columns / s.rows;
    for (long m = 0; m < count; m++) {
        use(m, ((sample * s.height + row * s.stride_height) * s.width + column * s.stride_width) * s.channels);
        if (++column < s.columns) continue;
        column = 0;
        if (++row < s.rows) continue;
        row = 0, sample++;
    }
}

/* The patches of consecutive points, each in `stride` floats. */
void copy_patches(const Shapes &s, const float *maps, long point, long count, float *patches, long stride) {
    const long run = s.kernel_width * s.channels, line = s.width * s.channels;
    for_patches(s, point, count, [&](long m, long place) {
        for (long r = 0; r < s.kernel_height; r++) copy_run(maps + place + r * line, patches + m * stride + r * run, run);
    });
}

/* The reverse: patches added at their places. */
void add_patches(const Shapes &s, float *maps, long point, long count, const float *patches, long stride) {
    const long run = s.kernel_width * s.channels, line = s.width * s.channels;
    for_patches(s, point, count, [&](long m, long place) {
        for (long r = 0; r < s.kernel_height; r++) {
            float *to = maps + place + r * line;
            const float *from = patches + m * stride + r * run;
            for (long i = 0; i < run; i++) to[i] += from[i];
        }
    });
}

constexpr long MOST_SUMMED = 1 << 15; /* points whose sums are taken in float32 */

/* The scores' coefficients for features `from` to `to`, as Score takes them. From component K on they are such that an
 * infinite feature makes no NaN of a start of -inf. */
template <class Linear, class Precision>
void fill_matrix(long components, long width, long from, long to, float *matrix, Linear linear, Precision precision) {
    for (long d = from; d < to; d++) {
        float *first = matrix + 2 * d * width, *second = first + width;
        for (long k = 0; k < components; k++) {
            first[k] = linear(k, d);
            second[k] = -0.5f * precision(k, d);
        }
        for (long k = components; k < width; k++) first[k] = 0, second[k] = -1;
    }
}

__attribute__((noinline)) double sum_of_logs(const float *values, long count) {
    double sum = 0;
    for (long i = 0; i < count; i++) sum += std::log(double(values[i]));
    return sum;
}

/* The part of a component's score that no feature enters: log pi + sum log d - sum (d mu)^2 / 2 - D/2 log(2 pi). */
float constant_of(long features, float log_weight, const float *loc, const float *precision_sqrt) {
    constexpr long most = 4 * LANES; /* factors of a product */
    double log_det = 0, square = 0;
    ivec signs = {};
    for (long first = 0; first < features; first += most) {
        float roots[most], scaled[most];
        long count = std::min(most, features - first);
        for (long i = 0; i < most; i++) roots[i] = 1, scaled[i] = 0;
        for (long i = 0; i < count; i++) {
            roots[i] = precision_sqrt[first + i];
            scaled[i] = roots[i] * loc[first + i];
        }
        vec product = fill(1), squares = fill(0);
        UNROLL for (int i = 0; i < most; i += LANES) {
            const vec root = load(roots + i);
            signs |= (ivec)root;
            product *= root;
            squares += load(scaled + i) * load(scaled + i);
        }
        double together = 1;
        UNROLL for (int i = 0; i < LANES; i++) together *= product[i];
        const bool in_range = together > 1e-300 && together < 1e300; /* not so where it is NaN */
        log_det += in_range ? std::log(together) : sum_of_logs(precision_sqrt + first, count);
        square += everywhere_sum(squares)[0];
    }
    const vec negative = signs < 0 ? fill(NAN) : fill(0);
    if (nan_lanes(negative, negative)) return NAN; /* two of them would make a positive product */
    return float(log_weight + log_det - 0.5 * square - 0.5 * features * std::log(2 * M_PI));
}

/* What some rows of scores, `row` apart and whole vectors long, come to: their largest, log sum exp s, and the
 * responsibilities exp s_k / sum exp s, each where it is wanted. `end` is where the array of responsibilities ends. */
INLINE void summarise(const float *scores, long row, long components, long count, float *weights, float *largest,
                      float *log_prob, float *responsibilities, const float *end) {
    const long width = padded(components);
    for (long m = 0; m < count; m++, scores += row) {
        const vec shift = largest_of(scores, width);
        if (largest) largest[m] = shift[0];
        if (!log_prob && !responsibilities) continue;
        vec total = fill(0);
        for (long k = 0; k < width; k += LANES) {
            vec weight = exp_negative(load(scores + k) - shift);
            store(weights + k, weight);
            total += weight;
        }
        /* NaN, where a score is or all are infinite: then their differences say nothing. */
        total = everywhere_sum(total) + (shift - shift);
        if (log_prob) log_prob[m] = std::isinf(shift[0]) ? shift[0] : shift[0] + std::log(total[0]);
        if (!responsibilities) continue;
        const vec scale = 1.0f / total;
        float *out = responsibilities + m * components;
        long k = 0;
        for (; k + LANES <= components; k += LANES) store(out + k, load(weights + k) * scale);
        /* What is written too far is overwritten by the next point, where there is one. */
        if (k == components) continue;
        if (out + k + LANES <= end) store(out + k, load(weights + k) * scale);
        else
            for (; k < components; k++) out[k] = weights[k] * scale[0];
    }
}

/* Largest of a point's smoothed scores, and its place: of sum_j G_kj (s_j - shift) + shift, G = g x g, where shift is the
 * largest score: scores lie far from 0 and near each other, and rounding would decide between them. `spread` is g
 * transposed, `lanes` apart; `between` has room for S rows of that and `smoothed` for K values and a vector. */
struct Smoothing {
    long side, lanes; /* S, and S rounded up to whole vectors */
    const float *spread;

    float largest(const float *scores, long width, float *between, float *smoothed, long *place) const {
        const vec shift = largest_of(scores, width);
        switch (side) { /* sides that a vector holds whatever its length are unrolled */
            case 2: return shift[0] + largest_small<2>(scores, shift, between, place);
            case 3: return shift[0] + largest_small<3>(scores, shift, between, place);
            case 4: return shift[0] + largest_small<4>(scores, shift, between, place);
            case 5: return shift[0] + largest_small<5>(scores, shift, between, place);
            case 6: return shift[0] + largest_small<6>(scores, shift, between, place);
            case 7: return shift[0] + largest_small<7>(scores, shift, between, place);
            case 8: return shift[0] + largest_small<8>(scores, shift, between, place);
            default: break;
        }
        smooth_large(scores, shift, between, smoothed);
        const long K = side * side;
        for (long k = K; k < padded(K); k++) smoothed[k] = -INFINITY;
        const vec best = largest_of(smoothed, padded(K));
        *place = place_of(best, smoothed, padded(K));
        return best[0] + shift[0];
    }

  private:
    template <int S>
    INLINE_MEMBER float largest_small(const float *scores, vec shift, float *between, long *place) const {
        vec row[S], total[S], outside;
        UNROLL for (int i = 0; i < LANES; i++) outside[i] = i < S ? 0 : -INFINITY;
        UNROLL for (int b = 0; b < S; b++) row[b] = load(scores + b * S) - shift;
        UNROLL for (int a = 0; a < S; a++) {
            total[a] = spread[a] * row[0];
            UNROLL for (int b = 1; b < S; b++) total[a] += spread[b * LANES + a] * row[b];
        }
        UNROLL for (int a = 0; a < S; a++) store(between + a * LANES, total[a]);
        UNROLL for (int b = 0; b < S; b++) row[b] = load(spread + b * LANES);
        UNROLL for (int a = 0; a < S; a++) {
            total[a] = outside;
            UNROLL for (int b = 0; b < S; b++) total[a] += between[a * LANES + b] * row[b];
        }
        constexpr uint32_t inside = (1u << S) - 1;
        vec best = total[0];
        uint32_t nan = 0;
        UNROLL for (int a = 1; a < S; a++) {
            nan |= nan_lanes(total[a - 1], total[a]);
            best = larger(best, total[a]);
        }
        uint64_t found = 0; /* S lanes of each row side by side */
        if (nan & inside) {
            UNROLL for (int a = 0; a < S; a++) found |= uint64_t(nan_lanes(total[a], total[a]) & inside) << (a * S);
            *place = __builtin_ctzll(found);
            return NAN;
        }
        best = everywhere_largest(outside < fill(0) ? outside : best); /* outside, infinite scores have left NaN */
        UNROLL for (int a = 0; a < S; a++) found |= uint64_t(equal_lanes(total[a], best)) << (a * S);
        *place = __builtin_ctzll(found);
        return best[0];
    }

    /* Rows are written in whole vectors: what is too far is overwritten by the next row. */
    template <int rows>
    INLINE_MEMBER void along_columns(const float *scores, vec shift, float *between, long a) const {
        for (long first = 0; first < lanes; first += LANES) {
            vec total[rows] = {};
            for (long b = 0; b < side; b++) {
                const vec row = load(scores + b * side + first) - shift;
                UNROLL for (int i = 0; i < rows; i++) total[i] += spread[b * lanes + a + i] * row;
            }
            UNROLL for (int i = 0; i < rows; i++) store(between + (a + i) * lanes + first, total[i]);
        }
    }

    template <int rows>
    INLINE_MEMBER void along_rows(const float *between, float *smoothed, long a) const {
        for (long first = 0; first < lanes; first += LANES) {
            vec total[rows] = {};
            for (long b = 0; b < side; b++) {
                const vec column = load(spread + b * lanes + first);
                UNROLL for (int i = 0; i < rows; i++) total[i] += between[(a + i) * lanes + b] * column;
            }
            UNROLL for (int i = 0; i < rows; i++) store(smoothed + (a + i) * side + first, total[i]);
        }
    }

    void smooth_large(const float *scores, vec shift, float *between, float *smoothed) const {
        long a = 0;
        for (; a + 4 <= side; a += 4) along_columns<4>(scores, shift, between, a);
        for (; a < side; a++) along_columns<1>(scores, shift, between, a);
        /* Row by row: where a row takes several vectors, the last of one row may reach into the next. */
        if (lanes == LANES)
            for (a = 0; a + 4 <= side; a += 4) along_rows<4>(between, smoothed, a);
        else
            a = 0;
        for (; a < side; a++) along_rows<1>(between, smoothed, a);
    }
};

/* Adds a patch and its squares to its winner's sums. */
INLINE void add_patch(const float *patch, long stride, float *sums) {
    for (long d = 0; d < stride; d += LANES) {
        vec value = load(patch + d);
        store(sums + d, load(sums + d) + value);
        store(sums + stride + d, load(sums + stride + d) + value * value);
    }
}

/* Scores of points `from` to `to`, a block at a time: use(first point, points, their patches, their scores). */
template <class Use>
void in_scored_blocks(const Shapes &s, const float *maps, const float *matrix, const float *start, long from, long to,
                      Use use) {
    const long D = s.features(), stride = padded(D), width = padded(s.components), block = 24;
    const bool whole = s.kernel_height == s.height && s.kernel_width == s.width && D == stride;
    Floats copies(whole ? 1 : block * stride), scores(block * width + 2 * LANES); /* rows are read in whole vectors */
    memset(scores + block * width, 0, 8 * LANES);
    if (!whole) memset(copies, 0, 4 * block * stride);
    for (long first = from; first < to; first += block) {
        const long count = std::min(block, to - first);
        if (!whole) copy_patches(s, maps, first, count, copies, stride);
        const float *patches = whole ? maps + first * D : copies;
        multiply<Score>(patches, stride, D, matrix, 2 * width, start, width, scores, width, count);
        use(first, count, patches, scores);
    }
}

/* Moves float32 sums to double ones. */
void set_aside(float *sums, long size, std::vector<double> &exact) {
    exact.resize(size);
    for (long i = 0; i < size; i++) exact[i] += sums[i];
    memset(sums, 0, 4 * size);
}

/* The kernel g of one side of the grid, transposed, in whole vectors; all zeros without one. */
struct Grid {
    const bool smooths;
    const long side, lanes; /* S, and S rounded up to whole vectors */
    const Floats spread;

    Grid(long components, const float *kernel)
        : smooths(kernel), side(std::lround(std::sqrt(double(components)))), lanes(padded(side)), spread(side * lanes) {
        for (long b = 0; kernel && b < side; b++)
            for (long a = 0; a < lanes; a++) spread[b * lanes + a] = a < side ? kernel[a * side + b] : 0;
    }

    Smoothing smoothing() const { return {side, lanes, spread}; }

    /* Numbers of all components, smoothed along either side. */
    void smooth(std::vector<double> &numbers) const {
        std::vector<double> halfway(side * side);
        for (long a = 0; a < side; a++)
            for (long b = 0; b < side; b++) {
                halfway[a * side + b] = 0;
                for (long c = 0; c < side; c++) halfway[a * side + b] += spread[a * lanes + c] * numbers[c * side + b];
            }
        for (long a = 0; a < side; a++)
            for (long b = 0; b < side; b++) {
                numbers[a * side + b] = 0;
                for (long c = 0; c < side; c++) numbers[a * side + b] += spread[b * lanes + c] * halfway[a * side + c];
            }
    }

    /* The same of rows, `columns` long, from column `first` to `last`: whole vectors of them. `halfway` has room for the
     * rows, and `nothing` is a row of S `columns` zeros. */
    void smooth(const float *rows, long columns, long first, long last, const float *nothing, float *halfway,
                float *smoothed) const {
        for (long b = 0; b < side; b++)
            multiply<Plain>(spread, lanes, side, rows + b * columns + first, side * columns, nothing, last - first,
                            halfway + b * columns + first, side * columns, side);
        for (long a = 0; a < side; a++)
            multiply<Plain>(spread, lanes, side, halfway + a * side * columns + first, columns, nothing, last - first,
                            smoothed + a * side * columns + first, columns, side);
    }
};

/* log softmax of the logits. */
void log_weights_of(const float *logits, long components, float *log_weights) {
    double shift = *std::max_element(logits, logits + components), total = 0;
    for (long k = 0; k < components; k++) total += std::exp(logits[k] - shift);
    for (long k = 0; k < components; k++) log_weights[k] = float(logits[k] - shift - std::log(total));
}

/* d + step within its limits; a NaN stays one. */
INLINE float projected(float value, float least, float most) {
    return value < least ? least : value > most ? most : value;
}

/* A thread's part of so many columns, in whole panels. */
void own_columns(const Thread &thread, long columns, long &first, long &last) {
    const long panels = (columns + PANEL * LANES - 1) / (PANEL * LANES);
    first = thread.from(panels) * PANEL * LANES;
    last = std::min(columns, thread.to(panels) * PANEL * LANES);
}

/* A row, and zeros up to whole vectors. */
INLINE void copy_padded(const float *from, long count, float *to, long stride) {
    memcpy(to, from, 4 * count);
    std::fill(to + count, to + stride, 0.0f);
}

/* The first half of a step: what it needs to know of its points. All threads of a parallel region go through it. */
struct Summation {
    const Shapes &s;
    const Grid &grid;
    const long K, D, width, stride, columns, all; /* columns of a component's sums: those of x, then those of x^2 */
    const Floats matrix, start, log_weights;
    const Floats sums; /* of each thread; then of all, in the place of the first one's */
    std::vector<double> values;
    std::vector<long> all_counts;

    Summation(const Shapes &shapes, long threads, const Grid &grid, const float *logits)
        : s(shapes), grid(grid), K(s.components), D(s.features()), width(padded(K)), stride(padded(D)),
          columns(2 * stride), all(threads), matrix(2 * D * width), start(width), log_weights(K),
          sums(threads * K * columns), values(threads), all_counts(threads * K) {
        log_weights_of(logits, K, log_weights);
        std::fill(start + K, start + width, -INFINITY);
    }

    /* Afterwards each thread has added up columns of its own; to see those of others takes a barrier. */
    void run(const Thread &thread, const float *maps, const float *loc, const float *precision_sqrt,
             float *responsibilities) {
        fill_matrix(
            K, width, thread.from(D), thread.to(D), matrix,
            [&](long k, long d) {
                const float root = precision_sqrt[k * D + d];
                return root * root * loc[k * D + d];
            },
            [&](long k, long d) { return precision_sqrt[k * D + d] * precision_sqrt[k * D + d]; });
        for (long k = thread.from(K); k < thread.to(K); k++)
            start[k] = constant_of(D, log_weights[k], loc + k * D, precision_sqrt + k * D);
        memset(sums + thread.number * K * columns, 0, 4 * K * columns);
#pragma omp barrier
        sum_up(thread, maps, responsibilities);
#pragma omp barrier
        long first, last;
        own_columns(thread, columns, first, last);
        for (long t = 1; t < thread.all; t++)
            for (long k = 0; k < K; k++)
                for (long c = first; c < last; c++) sums[k * columns + c] += sums[(t * K + k) * columns + c];
    }

    /* How many points each component won. */
    std::vector<double> counts() const {
        std::vector<double> counts(K);
        for (long k = 0; k < K; k++)
            for (long t = 0; t < all; t++) counts[k] += all_counts[t * K + k];
        return counts;
    }

    float objective() const {
        double total = 0;
        for (double each : values) total += each;
        return float(total / s.points());
    }

  private:
    void sum_up(const Thread &thread, const float *maps, float *responsibilities) {
        const Smoothing smoothing = grid.smoothing();
        float *own_sums = sums + thread.number * K * columns;
        long *own_counts = all_counts.data() + thread.number * K;
        Floats weights(width), between(grid.side * grid.lanes), smoothed(width + LANES);
        const long to = thread.to(s.points());
        double total = 0;
        std::vector<double> exact; /* sums so far, where there are many points: float32 would lose the later ones */
        long summed = 0;
        in_scored_blocks(s, maps, matrix, start, thread.from(s.points()), to,
                         [&](long first, long count, const float *patches, const float *scores) {
                             if (responsibilities)
                                 summarise(scores, width, K, count, weights, nullptr, nullptr,
                                           responsibilities + first * K, responsibilities + to * K);
                             for (long m = 0; m < count; m++, scores += width, patches += stride) {
                                 long winner;
                                 if (grid.smooths) {
                                     total += smoothing.largest(scores, width, between, smoothed, &winner);
                                 } else {
                                     const vec best = largest_of(scores, width);
                                     winner = place_of(best, scores, width);
                                     total += best[0];
                                 }
                                 own_counts[winner]++;
                                 add_patch(patches, stride, own_sums + winner * columns);
                             }
                             summed += count;
                             if (summed >= MOST_SUMMED) set_aside(own_sums, K * columns, exact), summed = 0;
                         });
        if (!exact.empty()) {
            set_aside(own_sums, K * columns, exact);
            std::copy(exact.begin(), exact.end(), own_sums);
        }
        values[thread.number] = total;
    }
};

struct Rates {
    float logits, loc, precision_sqrt, least, most; /* the last two limit precision_sqrt */
};

/* The second half: the step that sums of points give. */
struct Ascent {
    const Grid &grid;
    const long K, D, stride, columns;
    const Floats nothing, smoothed; /* sums, smoothed, and behind them halfway there */
    std::vector<double> counts;

    Ascent(const Shapes &s, const Grid &grid)
        : grid(grid), K(s.components), D(s.features()), stride(padded(D)), columns(2 * stride),
          nothing(grid.side * columns), smoothed(grid.smooths ? 2 * K * columns : 1) {
        std::fill(nothing + 0, nothing + grid.side * columns, 0.0f);
    }

    /* Each thread the columns that it has added up, in `Summation`. */
    void smooth(const Thread &thread, const float *sums) {
        long first, last;
        own_columns(thread, columns, first, last);
        grid.smooth(sums, columns, first, last, nothing, smoothed + K * columns, smoothed);
    }

    void count(std::vector<double> won) {
        counts = std::move(won);
        if (grid.smooths) grid.smooth(counts);
    }

    void run(const Thread &thread, const float *sums, const float *log_weights, float *logits, float *loc,
             float *precision_sqrt, const Rates &rates, long points) const {
        const float *final_sums = grid.smooths ? (const float *)smoothed : sums;
        for (long k = thread.from(K); k < thread.to(K); k++) {
            const float scale = 1.0f / points, s0 = float(counts[k] / points);
            const float *s1 = final_sums + k * columns, *s2 = s1 + stride;
            float *mu = loc + k * D, *root = precision_sqrt + k * D;
            for (long d = 0; d < D; d++) { /* objective_gradient, and the step */
                const float centred = scale * s1[d] - mu[d] * s0;
                const float deviation = scale * s2[d] - mu[d] * (scale * s1[d] + centred);
                const float up = s0 / root[d] - root[d] * deviation;
                const float step = rates.loc * root[d] * root[d];
                mu[d] += (step * s0 > 1 ? 1 / s0 : step) * centred;
                root[d] = projected(root[d] + rates.precision_sqrt * up, rates.least, rates.most);
            }
            logits[k] += rates.logits * (s0 - std::exp(log_weights[k]));
        }
    }
};

}  // namespace

extern "C" {

/* Scores (P, K) of all points: constant_k + <linear_k, x> - <precision_k, x^2> / 2. */
void dcgmm_scores(const Shapes *shapes, int threads, const float *maps, const float *linear, const float *precision,
                  const float *constant, float *scores_out) {
    const Shapes &s = *shapes;
    const long K = s.components, D = s.features(), width = padded(K);
    Floats matrix(2 * D * width), start(width);
    std::fill(std::copy(constant, constant + K, start + 0), start + width, 0.0f);
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        fill_matrix(
            K, width, thread.from(D), thread.to(D), matrix, [&](long k, long d) { return linear[k * D + d]; },
            [&](long k, long d) { return precision[k * D + d]; });
#pragma omp barrier
        in_scored_blocks(s, maps, matrix, start, thread.from(s.points()), thread.to(s.points()),
                         [&](long first, long count, const float *, const float *scores) {
                             for (long m = 0; m < count; m++)
                                 memcpy(scores_out + (first + m) * K, scores + m * width, 4 * K);
                         });
    }
}

/* Largest and log sum exp (P) and responsibilities (P, K) of scores (P, K); each may be null. */
void dcgmm_summarise(long points, long components, int threads, const float *scores, float *largest, float *log_prob,
                     float *responsibilities) {
    const long K = components, width = padded(K), block = 24;
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        Floats rows(block * width), weights(width);
        std::fill(rows + 0, rows + block * width, -INFINITY);
        const long from = thread.from(points), to = thread.to(points);
        for (long first = from; first < to; first += block) {
            const long count = std::min(block, to - first);
            for (long m = 0; m < count; m++) memcpy(rows + m * width, scores + (first + m) * K, 4 * K);
            summarise(rows, width, K, count, weights, largest ? largest + first : nullptr,
                      log_prob ? log_prob + first : nullptr,
                      responsibilities ? responsibilities + first * K : nullptr, responsibilities + to * K);
        }
    }
}

/* Gradient (N, H, W, C) of sum_pk w_pk s_k(x_p) with respect to the maps, for weights w (P, K):
 * sum_k w_pk (linear_k - x precision_k) of every patch, added at its place. */
void dcgmm_pull(const Shapes *shapes, int threads, const float *maps, const float *weights, const float *linear,
                const float *precision, float *gradient) {
    const Shapes &s = *shapes;
    const long K = s.components, D = s.features(), stride = padded(D), columns = 2 * stride, block = 24;
    const long size = s.height * s.width * s.channels, each = s.rows * s.columns; /* of a sample */
    Floats matrix(K * columns), nothing(columns);
    std::fill(nothing + 0, nothing + columns, 0.0f);
    for (long k = 0; k < K; k++)
        for (long d = 0; d < stride; d++) {
            matrix[k * columns + d] = d < D ? linear[k * D + d] : 0;
            matrix[k * columns + stride + d] = d < D ? precision[k * D + d] : 0;
        }
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        const long from = thread.from(s.samples), to = thread.to(s.samples);
        Floats patches(block * stride), products(block * columns);
        memset(patches, 0, 4 * block * stride);
        std::fill(gradient + from * size, gradient + to * size, 0.0f);
        for (long first = from * each; first < to * each; first += block) {
            const long count = std::min(block, to * each - first);
            copy_patches(s, maps, first, count, patches, stride);
            multiply<Plain>(weights + first * K, K, K, matrix, columns, nothing, columns, products, columns, count);
            for (long m = 0; m < count; m++)
                for (long d = 0; d < stride; d += LANES) {
                    float *patch = patches + m * stride + d;
                    const float *product = products + m * columns + d;
                    store(patch, load(product) - load(patch) * load(product + stride));
                }
            add_patches(s, gradient, first, count, patches, stride);
        }
    }
}

/* One step of SGD ascent, in place: GMM.step of one model. `kernel` may be null (the identity), `responsibilities` too
 * (not wanted). */
void dcgmm_step(const Shapes *shapes, int threads, const float *maps, float *logits, float *loc, float *precision_sqrt,
                const float *kernel, const float *logits_rate, const float *loc_rate, const float *root_rate,
                float least, float most, float *responsibilities, float *value) {
    const Grid grid(shapes->components, kernel);
    Summation summation(*shapes, threads, grid, logits);
    Ascent ascent(*shapes, grid);
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        summation.run(thread, maps, loc, precision_sqrt, responsibilities);
        if (grid.smooths) ascent.smooth(thread, summation.sums);
#pragma omp single
        ascent.count(summation.counts());
        ascent.run(thread, summation.sums, summation.log_weights, logits, loc, precision_sqrt,
                   {*logits_rate, *loc_rate, *root_rate, least, most}, shapes->points());
    }
    *value = summation.objective();
}

/* What a step needs to know of its points: GMM.sums of one model. Its mean objective (1), how many points each component
 * wins (K), and their sums of x and of x^2 (K, D). `kernel` and `responsibilities` may be null. */
void dcgmm_sums(const Shapes *shapes, int threads, const float *maps, const float *logits, const float *loc,
                const float *precision_sqrt, const float *kernel, float *responsibilities, float *value, float *counts,
                float *first, float *second) {
    const long K = shapes->components, D = shapes->features(), stride = padded(D);
    const Grid grid(K, kernel);
    Summation summation(*shapes, threads, grid, logits);
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        summation.run(thread, maps, loc, precision_sqrt, responsibilities);
#pragma omp barrier
        for (long k = thread.from(K); k < thread.to(K); k++) {
            memcpy(first + k * D, summation.sums + 2 * k * stride, 4 * D);
            memcpy(second + k * D, summation.sums + (2 * k + 1) * stride, 4 * D);
        }
    }
    std::vector<double> won = summation.counts();
    std::copy(won.begin(), won.end(), counts);
    *value = summation.objective();
}

/* The step that these sums of `points` points give, in place: GMM.update of one model. `kernel` may be null. */
void dcgmm_update(const Shapes *shapes, int threads, long points, const float *counts, const float *first,
                  const float *second, float *logits, float *loc, float *precision_sqrt, const float *kernel,
                  const float *logits_rate, const float *loc_rate, const float *root_rate, float least, float most) {
    const long K = shapes->components, D = shapes->features(), stride = padded(D);
    const Grid grid(K, kernel);
    Ascent ascent(*shapes, grid);
    Floats sums(2 * K * stride), log_weights(K);
    log_weights_of(logits, K, log_weights);
#pragma omp parallel num_threads(threads)
    {
        const Thread thread;
        for (long k = thread.from(K); k < thread.to(K); k++) {
            copy_padded(first + k * D, D, sums + 2 * k * stride, stride);
            copy_padded(second + k * D, D, sums + (2 * k + 1) * stride, stride);
        }
#pragma omp barrier
        if (grid.smooths) ascent.smooth(thread, sums);
#pragma omp single
        ascent.count({counts, counts + K});
        ascent.run(thread, sums, log_weights, logits, loc, precision_sqrt,
                   {*logits_rate, *loc_rate, *root_rate, least, most}, points);
    }
}
}
