// How the host is doing at a glance: traffic, retransmits, round-trip times, the largest programs and remotes.

import { columnSeries, flowHistograms, flowTotals, lookupSeries, rates, covered, grouping } from '../aggregate.js';
import { heatmap } from '../charts/heatmap.js';
import { sparkline, timeChart } from '../charts/time.js';
import { card, h, setText } from '../dom.js';
import { byteRate, count, countRate, duration, percent } from '../format.js';
import { quantile } from '../quantiles.js';
import { COLUMN } from '../store.js';
import { table } from '../table.js';

const RECEIVED = 'var(--received)';
const SENT = 'var(--sent)';
const BAD = 'var(--bad)';

const FAILURES = ['refused', 'timed_out', 'reset', 'host_unreachable', 'net_unreachable', 'aborted', '_OTHER'];

/** A number with what it is and how it went. */
function tile(name, hint, href) {
  const value = h('span', { class: 'value' });
  const note = h('span', { class: 'note' });
  const spark = sparkline();
  const element = h('a', { class: 'tile', title: hint, href }, h('span', { class: 'name' }, name), value, note, spark.element);
  return {
    element,
    update(text, detail, values, paint, grade = '') {
      setText(value, text);
      setText(note, detail);
      element.dataset.grade = grade;
      spark.update(values, paint);
    },
  };
}

/** How bad a share of retransmitted segments is. */
export const retransmitGrade = (share) => (share > 0.05 ? 'bad' : share > 0.01 ? 'warn' : '');

export function create(context) {
  const tiles = {
    received: tile('Received', 'Application bytes that programs of this host received'),
    sent: tile('Sent', 'Application bytes that programs of this host sent'),
    rtt: tile('Round trip, median', 'Smoothed round-trip time of TCP connections, of the whole time shown'),
    retransmits: tile('Retransmitted', 'Segments that were sent again, of all that were sent'),
    active: tile('Open', 'TCP connections and UDP sockets that are open'),
    failures: tile('Failed', 'Connections that could not be established, or that broke'),
    lookups: tile('DNS lookups', 'Lookups that ended, and how many had an error or no answer'),
  };
  const traffic = timeChart({ label: 'Traffic', format: byteRate, base: 1024, height: 220 });
  const retransmits = timeChart({ label: 'Retransmitted segments', format: countRate, kind: 'bars', height: 220 });
  const connections = timeChart({ label: 'Connections', format: countRate, kind: 'line', height: 160 });
  const failures = timeChart({ label: 'Failed connections', format: countRate, kind: 'bars', height: 160 });
  const rtt = heatmap({ label: 'Round-trip time of TCP', height: 260 });
  const tops = (label, name, field) => table({
    label,
    key: (row) => row.key,
    sort: 'bytes',
    empty: 'Nothing moved in this time.',
    onactivate: (row) => field(row),
    columns: [
      { key: 'name', label: name, wide: true, value: (row) => row.name, title: (row) => row.key },
      { key: 'bytes', label: 'Throughput', number: true, value: (row) => row.bytes, text: (row) => byteRate(row.bytes), share: (row) => row.share },
      { key: 'rtt', label: 'RTT p95', number: true, value: (row) => row.p95 ?? -1, text: (row) => duration(row.p95) },
      { key: 'again', label: 'Retrans.', number: true, value: (row) => row.again, text: (row) => (row.again > 0 ? percent(row.again) : '–') },
    ],
  });
  const programs = tops('Largest programs', 'Program', (row) => context.filter('binary', row.program.path || row.name));
  const remotes = tops('Largest remotes', 'Remote', (row) => context.filter('remote', row.key));

  const element = h('div', { class: 'grid' },
    h('div', { class: 'tiles wide' }, Object.values(tiles).map((one) => one.element)),
    card('Traffic', { note: h('span', { class: 'hint' }, 'received above, sent below') }, traffic.element),
    card('Retransmitted segments', {}, retransmits.element),
    card('Round-trip time of TCP', { wide: true, note: h('span', { class: 'hint' }, 'samples by time and latency') }, rtt.element),
    card('Largest programs', {}, programs.element),
    card('Largest remotes', {}, remotes.element),
    card('Connections opened and accepted', {}, connections.element),
    card('Failed connections', {}, failures.element),
  );

  function update({ store, bins, accept }) {
    const bounds = store.bounds;
    const all = grouping(store.flows, accept, () => 'all');
    const columns = columnSeries(bins, all);
    const one = (name) => rates(columns[COLUMN[name]], bins);
    const rx = one('rx');
    const tx = one('tx');
    const again = one('retransmits');
    const segments = one('tx_packets');
    const [totals] = flowTotals(bins, all, bounds);
    const seconds = covered(bins) || 1;
    const sum = (name) => totals?.values[COLUMN[name]] ?? 0;
    const histograms = flowHistograms(bins, all, bounds.rtt, 'rtt');

    const now = (values) => values.at(-1) ?? 0;
    tiles.received.update(byteRate(now(rx)), `${byteRate(sum('rx') / seconds)} mean`, rx, RECEIVED);
    tiles.sent.update(byteRate(now(tx)), `${byteRate(sum('tx') / seconds)} mean`, tx, SENT);
    const share = sum('retransmits') / (sum('tx_packets') || 1);
    const shares = again.map((value, at) => value / (segments[at] || 1));
    tiles.retransmits.update(percent(share), `${count(sum('retransmits'))} segments`, shares, BAD, retransmitGrade(share));
    const medians = histograms.map((counts) => quantile(counts, bounds.rtt, 0.5) ?? 0);
    const p = (q) => (totals ? quantile(totals.rtt, bounds.rtt, q) : null);
    tiles.rtt.update(duration(p(0.5)), `p95 ${duration(p(0.95))}`, medians.map((value) => (Number.isFinite(value) ? value : 0)), 'var(--accent)');
    const open = columns[COLUMN.active];
    tiles.active.update(count(now(open)), `${count(sum('opened') + sum('accepted'))} new in this time`, open, 'var(--accent)');
    const failed = one('failed');
    const [worst] = [...(totals?.failures ?? [])].sort((a, b) => b[1] - a[1]);
    tiles.failures.update(count(sum('failed')), worst ? `most ${worst[0].replaceAll('_', ' ')}` : 'none', failed, BAD, sum('failed') > 0 ? 'warn' : '');
    const asked = grouping(store.lookups, accept, (facets) => (facets.role === 'server' ? null : facets.error ? 'bad' : 'good'));
    const lookups = lookupSeries(bins, asked);
    const both = new Float64Array(bins.length);
    let wrong = 0;
    lookups.forEach((values, at) => values.forEach((value, bin) => {
      both[bin] += value / (bins[bin].seconds || 1);
      if (asked.keys[at] === 'bad') wrong += value;
    }));
    tiles.lookups.update(countRate(now(both)), wrong > 0 ? `${count(wrong)} went wrong` : 'none went wrong', both, 'var(--accent)', wrong > 0 ? 'warn' : '');

    traffic.update({ bins, series: [{ label: 'received', values: rx, colour: RECEIVED }, { label: 'sent', values: tx, colour: SENT, down: true }] });
    retransmits.update({ bins, series: [{ label: 'retransmitted', values: again, colour: BAD, note: `${percent(share)} of sent` }] });
    rtt.update({ bins, histograms, bounds: bounds.rtt });
    connections.update({ bins, series: [{ label: 'opened', values: one('opened'), colour: 'var(--series-1)' }, { label: 'accepted', values: one('accepted'), colour: 'var(--series-2)' }] });
    failures.update({ bins, series: failuresByType(bins, all.of) });

    rows(programs, store, bins, accept, seconds, (facets) => facets.program || 'unknown program', (facets) => facets.name);
    rows(remotes, store, bins, accept, seconds, (facets) => facets.remoteName || null, (facets) => facets.remoteName);
  }

  function failuresByType(bins, of) {
    const types = new Map();
    bins.forEach((bin, at) => {
      for (const frame of bin.frames) {
        for (const { slot, type, failed } of frame.flows.failures) {
          if (of[slot] < 0) continue;
          if (!types.has(type)) types.set(type, new Float64Array(bins.length));
          types.get(type)[at] += failed / (bin.seconds || 1);
        }
      }
    });
    return [...types].sort().map(([type, values]) => ({ label: type.replaceAll('_', ' '), values, colour: `var(--series-${(Math.max(0, FAILURES.indexOf(type)) % 8) + 1})` }));
  }

  function rows(into, store, bins, accept, seconds, keyOf, nameOf) {
    const shown = new Map();
    const groups = grouping(store.flows, accept, (facets) => {
      const key = keyOf(facets);
      if (key !== null) shown.set(key, { name: nameOf(facets), path: facets.binary[0] });
      return key;
    });
    const totals = flowTotals(bins, groups, store.bounds);
    const bytes = (group) => (group.values[COLUMN.tx] + group.values[COLUMN.rx]) / seconds;
    const most = Math.max(1, ...totals.map(bytes));
    const moved = totals.filter((group) => bytes(group) > 0).map((group) => ({
      key: group.key,
      name: shown.get(group.key).name,
      program: shown.get(group.key),
      bytes: bytes(group),
      share: bytes(group) / most,
      p95: quantile(group.rtt, store.bounds.rtt, 0.95),
      again: group.values[COLUMN.retransmits] / (group.values[COLUMN.tx_packets] || 1),
    }));
    into.update(moved.sort((a, b) => b.bytes - a.bytes).slice(0, 10));
  }

  return { element, update };
}
