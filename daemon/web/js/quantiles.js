// Histograms: arrays of counts, one longer than the list of their buckets' upper bounds.

/** The counts of no observation. */
export const empty = (bounds) => new Float64Array(bounds.length + 1);

/** How many observations there are. */
export const total = (counts) => counts.reduce((sum, one) => sum + one, 0);

/**
 * The upper bound of the bucket that holds a quantile, in seconds, as the API has it: no less than the true one.
 * `Infinity` when that is the last bucket, `null` when nothing was observed.
 */
export function quantile(counts, bounds, share) {
  const all = total(counts);
  if (all === 0) return null;
  const rank = Math.max(1, Math.ceil(all * share));
  let seen = 0;
  for (let bucket = 0; bucket < counts.length; bucket += 1) {
    seen += counts[bucket];
    if (seen >= rank) return bucket < bounds.length ? bounds[bucket] : Infinity;
  }
  return Infinity;
}

/** The buckets from the first to the last that holds something in any of the histograms, with one more on each side. */
export function occupied(histograms, buckets) {
  let low = buckets;
  let high = -1;
  for (const counts of histograms) {
    for (let bucket = 0; bucket < buckets; bucket += 1) {
      if (counts[bucket] > 0) {
        low = Math.min(low, bucket);
        high = Math.max(high, bucket);
      }
    }
  }
  return high < 0 ? null : { low: Math.max(0, low - 1), high: Math.min(buckets - 1, high + 1) };
}

/** What a bucket holds, from above `low` up to `high` seconds. */
export const edges = (bucket, bounds) => ({
  low: bucket === 0 ? 0 : bounds[bucket - 1],
  high: bucket < bounds.length ? bounds[bucket] : Infinity,
});
