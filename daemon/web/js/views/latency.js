// How long things take: quantiles of the round-trip time by program, over time and as a whole.

import { flowHistograms, flowTotals, grouping } from '../aggregate.js';
import { heatmap } from '../charts/heatmap.js';
import { timeChart } from '../charts/time.js';
import { card, h, s } from '../dom.js';
import { count, duration, percent } from '../format.js';
import { empty, occupied, quantile, total } from '../quantiles.js';
import { COLUMN } from '../store.js';
import { table } from '../table.js';

const QUANTILES = [[0.5, 'p50', 'var(--series-1)'], [0.95, 'p95', 'var(--series-2)'], [0.99, 'p99', 'var(--series-6)']];

/** A histogram as small as a word. */
export function miniature(counts, range) {
  const shown = counts.slice(range.low, range.high + 1);
  const most = Math.max(1, ...shown);
  const bars = [...shown].map((value, at) => s('rect', { x: at * 4, width: 3.2, y: 16 - Math.max(value > 0 ? 1.5 : 0, (16 * value) / most), height: Math.max(value > 0 ? 1.5 : 0, (16 * value) / most) }));
  return s('svg', { class: 'mini', viewBox: `0 0 ${shown.length * 4} 16`, width: shown.length * 4, height: 16, 'aria-hidden': 'true' }, bars);
}

export function create(context) {
  const over = timeChart({ label: 'Round-trip time, quantiles', format: duration, kind: 'line', height: 240, log: true });
  const map = heatmap({ label: 'Round-trip time of TCP', height: 240 });
  let range = { low: 0, high: 0 };
  const cell = (key, label, hint, of) => ({ key, label, hint, number: true, value: (row) => of(row) ?? -1, text: (row) => duration(of(row)) });
  const list = table({
    label: 'Latency by program',
    key: (row) => row.key,
    sort: 'p95',
    empty: 'No program had a sample of its round-trip time in this time.',
    onactivate: (row) => context.filter('binary', row.path || row.name),
    columns: [
      { key: 'name', label: 'Program', wide: true, value: (row) => row.name, title: (row) => row.key },
      { key: 'mini', label: 'Distribution', value: (row) => row.samples, node: (row) => miniature(row.rtt, range), stamp: (row) => `${row.rtt.join()} ${range.low} ${range.high}`, hint: 'From fast to slow' },
      { key: 'samples', label: 'Samples', number: true, value: (row) => row.samples, text: (row) => count(row.samples) },
      cell('p50', 'RTT p50', 'Half of the samples took no longer', (row) => row.p50),
      cell('p95', 'RTT p95', '95 of 100 took no longer', (row) => row.p95),
      cell('p99', 'RTT p99', '99 of 100 took no longer', (row) => row.p99),
      cell('connect', 'Connect p95', 'From SYN to established', (row) => row.connect),
      { key: 'again', label: 'Retransmitted', number: true, value: (row) => row.again, text: (row) => (row.again > 0 ? percent(row.again) : '–') },
    ],
  });
  const element = h('div', { class: 'grid' },
    card('Round-trip time, quantiles', { note: h('span', { class: 'hint' }, 'upper bounds of their buckets') }, over.element),
    card('Round-trip time, samples', {}, map.element),
    card('By program', { wide: true }, list.element),
  );

  function update({ store, bins, accept }) {
    const { bounds } = store;
    const all = grouping(store.flows, accept, () => 'all');
    const histograms = flowHistograms(bins, all, bounds.rtt, 'rtt');
    const highest = bounds.rtt.at(-1);
    const whole = histograms.reduce((sum, counts) => sum.map((value, bucket) => value + counts[bucket]), empty(bounds.rtt));
    over.update({
      bins,
      series: QUANTILES.map(([share, label, paint]) => {
        const values = histograms.map((counts) => {
          const found = quantile(counts, bounds.rtt, share);
          return found === Infinity ? highest : found;
        });
        return { label, values, colour: paint, note: duration(quantile(whole, bounds.rtt, share)) };
      }),
    });
    map.update({ bins, histograms, bounds: bounds.rtt });
    const names = new Map();
    const groups = grouping(store.flows, accept, (facets) => {
      const key = facets.program || 'unknown program';
      names.set(key, { name: facets.name, path: facets.binary[0] });
      return key;
    });
    const totals = flowTotals(bins, groups, bounds).filter((group) => total(group.rtt) > 0 || total(group.connect) > 0);
    range = occupied(totals.map((group) => group.rtt), bounds.rtt.length + 1) ?? range;
    list.update(totals.map((group) => ({
      key: group.key,
      ...names.get(group.key),
      rtt: group.rtt,
      samples: total(group.rtt),
      p50: quantile(group.rtt, bounds.rtt, 0.5),
      p95: quantile(group.rtt, bounds.rtt, 0.95),
      p99: quantile(group.rtt, bounds.rtt, 0.99),
      connect: quantile(group.connect, bounds.connect, 0.95),
      again: group.values[COLUMN.retransmits] / (group.values[COLUMN.tx_packets] || 1),
    })));
  }

  return { element, update };
}
