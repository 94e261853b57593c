// Sums over intervals: by time, by group, by both. Pure; everything is computed from the store's columns.

import { COLUMN, WIDTH } from './store.js';
import { empty } from './quantiles.js';

/**
 * The intervals that end within the last `seconds`, in at most `most` bins of neighbours: each with when it ends, how
 * long it is, and its intervals.
 */
export function binsOf(frames, seconds, most = 180) {
  const newest = frames.at(-1)?.time ?? 0;
  const within = frames.filter((frame) => frame.time > newest - seconds * 1000);
  const each = Math.max(1, Math.ceil(within.length / most));
  const bins = [];
  // From the newest back, so that only the oldest bin may be short.
  for (let end = within.length; end > 0; end -= each) {
    const inside = within.slice(Math.max(0, end - each), end);
    bins.push({
      time: inside.at(-1).time,
      seconds: inside.reduce((all, frame) => all + frame.seconds, 0),
      frames: inside,
    });
  }
  return bins.reverse();
}

/** For each slot the number of its group, or -1 for those that do not pass; and the groups' keys. */
export function grouping(identities, accept, keyOf) {
  const of = new Int32Array(identities.list.length).fill(-1);
  const keys = [];
  const numbers = new Map();
  identities.list.forEach((identity, slot) => {
    if (!identity || !accept(identity.facets)) return;
    const key = keyOf(identity.facets, identity);
    if (key === null) return;
    if (!numbers.has(key)) {
      numbers.set(key, keys.length);
      keys.push(key);
    }
    of[slot] = numbers.get(key);
  });
  return { of, keys };
}

/** Sums of flows for each group: `values` in the columns' order (`active` as of the last interval), and histograms. */
export function flowTotals(bins, { of, keys }, bounds) {
  const groups = keys.map((key) => ({
    key,
    values: new Float64Array(WIDTH),
    rtt: empty(bounds.rtt),
    connect: empty(bounds.connect),
    failures: new Map(),
  }));
  const last = bins.at(-1)?.frames.at(-1);
  for (const bin of bins) {
    for (const frame of bin.frames) {
      const { slots, values, rtt, connect } = frame.flows;
      for (let row = 0; row < slots.length; row += 1) {
        const group = groups[of[slots[row]]];
        if (group === undefined) continue;
        const at = row * WIDTH;
        for (let column = 0; column < WIDTH; column += 1) {
          if (column !== COLUMN.active || frame === last) group.values[column] += values[at + column];
        }
        for (let i = rtt.start[row]; i < rtt.start[row + 1]; i += 1) group.rtt[rtt.bucket[i]] += rtt.counts[i];
        for (let i = connect.start[row]; i < connect.start[row + 1]; i += 1) {
          group.connect[connect.bucket[i]] += connect.counts[i];
        }
      }
      for (const { slot, type, failed } of frame.flows.failures) {
        const group = groups[of[slot]];
        group?.failures.set(type, (group.failures.get(type) ?? 0) + failed);
      }
    }
  }
  return groups;
}

/** The sum of some columns for each group and bin: an array of `Float64Array`s, in the groups' order. */
export function flowSeries(bins, { of, keys }, columns) {
  const series = keys.map(() => new Float64Array(bins.length));
  const wanted = columns.map((name) => COLUMN[name]);
  const levels = wanted.every((column) => column === COLUMN.active);
  bins.forEach((bin, at) => {
    for (const frame of levels ? bin.frames.slice(-1) : bin.frames) {
      const { slots, values } = frame.flows;
      for (let row = 0; row < slots.length; row += 1) {
        const group = of[slots[row]];
        if (group < 0) continue;
        for (const column of wanted) series[group][at] += values[row * WIDTH + column];
      }
    }
  });
  return series;
}

/** Every column of all that pass, a bin each, in one go: `active` as of the end of each bin, all else sums. */
export function columnSeries(bins, { of }) {
  const series = Array.from({ length: WIDTH }, () => new Float64Array(bins.length));
  bins.forEach((bin, at) => {
    const last = bin.frames.at(-1);
    for (const frame of bin.frames) {
      const { slots, values } = frame.flows;
      for (let row = 0; row < slots.length; row += 1) {
        if (of[slots[row]] < 0) continue;
        for (let column = 0; column < WIDTH; column += 1) {
          if (column !== COLUMN.active || frame === last) series[column][at] += values[row * WIDTH + column];
        }
      }
    }
  });
  return series;
}

const addHistograms = (bins, of, bounds, part, key) =>
  bins.map((bin) => {
    const counts = empty(bounds);
    for (const frame of bin.frames) {
      const { slots } = frame[part];
      const { start, bucket, counts: observed } = frame[part][key];
      for (let row = 0; row < slots.length; row += 1) {
        if (of[slots[row]] < 0) continue;
        for (let i = start[row]; i < start[row + 1]; i += 1) counts[bucket[i]] += observed[i];
      }
    }
    return counts;
  });

/** One histogram of flows a bin, of all that pass. */
export const flowHistograms = (bins, { of }, bounds, key) => addHistograms(bins, of, bounds, 'flows', key);

/** One histogram of lookups' latency a bin. */
export const lookupHistograms = (bins, { of }, bounds) => addHistograms(bins, of, bounds, 'lookups', 'latency');

/** Lookups of each group: their count and latency. */
export function lookupTotals(bins, { of, keys }, bounds) {
  const groups = keys.map((key) => ({ key, count: 0, latency: empty(bounds) }));
  for (const bin of bins) {
    for (const frame of bin.frames) {
      const { slots, counts, latency } = frame.lookups;
      for (let row = 0; row < slots.length; row += 1) {
        const group = groups[of[slots[row]]];
        if (group === undefined) continue;
        group.count += counts[row];
        for (let i = latency.start[row]; i < latency.start[row + 1]; i += 1) {
          group.latency[latency.bucket[i]] += latency.counts[i];
        }
      }
    }
  }
  return groups;
}

/** Lookups of each group and bin. */
export function lookupSeries(bins, { of, keys }) {
  const series = keys.map(() => new Float64Array(bins.length));
  bins.forEach((bin, at) => {
    for (const frame of bin.frames) {
      frame.lookups.slots.forEach((slot, row) => {
        if (of[slot] >= 0) series[of[slot]][at] += frame.lookups.counts[row];
      });
    }
  });
  return series;
}

/** A rate of sums: by the length of each bin. */
export const rates = (series, bins) => series.map((value, at) => value / (bins[at].seconds || 1));

/** The groups with the largest sums, and the rest as one. */
export function top(series, keys, most) {
  const order = keys
    .map((key, index) => ({ key, values: series[index], sum: series[index].reduce((all, one) => all + one, 0) }))
    .filter((one) => one.sum > 0)
    .sort((a, b) => b.sum - a.sum);
  if (order.length <= most) return order;
  const rest = order.slice(most);
  const values = new Float64Array(rest[0].values.length);
  for (const one of rest) one.values.forEach((value, at) => (values[at] += value));
  const sum = rest.reduce((all, one) => all + one.sum, 0);
  return [...order.slice(0, most), { key: null, others: rest.length, values, sum }];
}

/** How much of an hour is covered: seconds of all bins. */
export const covered = (bins) => bins.reduce((all, bin) => all + bin.seconds, 0);
