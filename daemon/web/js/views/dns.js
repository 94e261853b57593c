// What was looked up: how long it took, what went wrong, and which names do not exist.

import { grouping, lookupHistograms, lookupSeries, lookupTotals, rates } from '../aggregate.js';
import { heatmap } from '../charts/heatmap.js';
import { timeChart } from '../charts/time.js';
import { card, h } from '../dom.js';
import { count, countRate, duration, percent } from '../format.js';
import { quantile } from '../quantiles.js';
import { table } from '../table.js';

/** What became of a lookup, in words. */
export function outcome(facets) {
  if (facets.error === 'timeout') return 'timeout';
  return facets.code || facets.error || 'unknown';
}

const COLOURS = { NOERROR: 'var(--good)', NXDOMAIN: 'var(--series-2)', SERVFAIL: 'var(--bad)', timeout: 'var(--series-6)', REFUSED: 'var(--series-4)' };

export function create(context) {
  const outcomes = timeChart({ label: 'Lookups by outcome', format: countRate, kind: 'bars', height: 220 });
  const latency = heatmap({ label: 'How long lookups took', height: 220 });
  const numbers = [
    { key: 'count', label: 'Lookups', number: true, value: (row) => row.count, text: (row) => count(row.count), share: (row) => row.share },
    { key: 'wrong', label: 'Errors', number: true, value: (row) => row.wrong, text: (row) => (row.wrong > 0 ? count(row.wrong) : '–'), title: (row) => `${percent(row.wrong / row.count)} of the lookups` },
    { key: 'p50', label: 'p50', number: true, value: (row) => row.p50 ?? -1, text: (row) => duration(row.p50) },
    { key: 'p95', label: 'p95', number: true, value: (row) => row.p95 ?? -1, text: (row) => duration(row.p95) },
  ];
  const names = table({
    label: 'Names', key: (row) => row.key, sort: 'count', empty: 'No lookup ended in this time.',
    onactivate: (row) => context.filter('remote', row.name),
    columns: [{ key: 'name', label: 'Name', wide: true, value: (row) => row.name, title: (row) => row.programs.join(', ') }, { key: 'type', label: 'Type', value: (row) => row.types.join(' ') }, ...numbers],
  });
  const missing = table({
    label: 'Names that do not exist', key: (row) => row.key, sort: 'count', empty: 'All names that were asked for exist.',
    onactivate: (row) => context.filter('remote', row.name),
    columns: [
      { key: 'name', label: 'Name', wide: true, value: (row) => row.name },
      { key: 'count', label: 'Lookups', number: true, value: (row) => row.count, text: (row) => count(row.count), share: (row) => row.share },
      { key: 'suffix', label: 'Search suffix', hint: 'The resolver library put a suffix to the name that was asked for', value: (row) => (row.suffix ? 'yes' : '–') },
      { key: 'programs', label: 'Asked by', wide: true, value: (row) => row.programs.join(', ') },
    ],
  });
  const programs = table({
    label: 'Who asks', key: (row) => row.key, sort: 'count', empty: 'Nobody asked.',
    onactivate: (row) => context.filter('binary', row.name),
    columns: [{ key: 'name', label: 'Program', wide: true, value: (row) => row.name, title: (row) => row.key }, ...numbers],
  });
  const resolvers = table({
    label: 'Who answers', key: (row) => row.key, sort: 'count', empty: 'Nobody was asked.',
    onactivate: (row) => context.filter('remote', row.name),
    columns: [{ key: 'name', label: 'Resolver', wide: true, value: (row) => row.name }, ...numbers],
  });
  const aside = h('p', { class: 'aside wide', hidden: true }, 'Lookups have no port of their own: the filter of ports is left aside here.');
  const element = h('div', { class: 'grid' },
    aside,
    card('Lookups by outcome', {}, outcomes.element),
    card('How long they took', {}, latency.element),
    card('Names', {}, names.element),
    card('Names that do not exist', {}, missing.element),
    card('Who asks', {}, programs.element),
    card('Who answers', {}, resolvers.element),
  );

  function update({ store, bins, accept, state }) {
    aside.hidden = !state.filters.port;
    const { bounds } = store;
    // A resolver on this host sees the same lookups from the other side.
    const asks = (facets) => facets.role !== 'server' && accept(facets);
    const by = grouping(store.lookups, asks, outcome);
    const series = lookupSeries(bins, by);
    outcomes.update({
      bins,
      series: by.keys
        .map((key, at) => ({ label: key, values: rates(series[at], bins), colour: COLOURS[key] ?? 'var(--series-rest)', sum: series[at].reduce((all, one) => all + one, 0) }))
        .filter((one) => one.sum > 0)
        .sort((a, b) => b.sum - a.sum)
        .map((one) => ({ ...one, note: count(one.sum) })),
    });
    latency.update({ bins, histograms: lookupHistograms(bins, grouping(store.lookups, asks, () => 'all'), bounds.lookup), bounds: bounds.lookup });
    names.update(rowsBy(store, bins, asks, (facets) => facets.question || null));
    programs.update(rowsBy(store, bins, asks, (facets) => facets.name));
    resolvers.update(rowsBy(store, bins, asks, (facets) => facets.resolver || null));
    missing.update(rowsBy(store, bins, (facets) => asks(facets) && outcome(facets) === 'NXDOMAIN', (facets) => facets.question || null));
  }

  function rowsBy(store, bins, accept, keyOf) {
    const rows = new Map();
    const slots = grouping(store.lookups, accept, (facets, identity) => (keyOf(facets) === null ? null : identity.id));
    const identities = new Map(store.lookups.list.filter(Boolean).map((identity) => [identity.id, identity.facets]));
    for (const group of lookupTotals(bins, slots, store.bounds.lookup)) {
      if (group.count === 0) continue;
      const facets = identities.get(group.key);
      const key = keyOf(facets);
      if (!rows.has(key)) rows.set(key, { key, name: key, count: 0, wrong: 0, latency: group.latency.map(() => 0), types: new Set(), programs: new Set(), suffix: false });
      const row = rows.get(key);
      row.count += group.count;
      if (facets.error) row.wrong += group.count;
      group.latency.forEach((value, bucket) => (row.latency[bucket] += value));
      row.types.add(facets.type);
      row.programs.add(facets.name);
      row.suffix ||= facets.suffix;
    }
    const most = Math.max(1, ...[...rows.values()].map((row) => row.count));
    return [...rows.values()].map((row) => ({
      ...row,
      types: [...row.types].filter(Boolean),
      programs: [...row.programs],
      share: row.count / most,
      p50: quantile(row.latency, store.bounds.lookup, 0.5),
      p95: quantile(row.latency, store.bounds.lookup, 0.95),
    }));
  }

  return { element, update };
}
