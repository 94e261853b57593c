// Who moves how much: by program and by the remote's name, sent and received.

import { covered, flowSeries, flowTotals, grouping, rates, top } from '../aggregate.js';
import { colour, REST, timeChart } from '../charts/time.js';
import { card, choice, h } from '../dom.js';
import { byteRate, bytes, count, percent } from '../format.js';
import { COLUMN } from '../store.js';
import { table } from '../table.js';

const BY = {
  binary: { key: (facets) => facets.program || 'unknown program', name: (facets) => facets.name, heading: 'Program' },
  remote: { key: (facets) => facets.remoteName || null, name: (facets) => facets.remoteName, heading: 'Remote' },
};

export function create(context) {
  const by = choice('Group by', [['binary', 'By program'], ['remote', 'By remote name']], (value) => context.navigate({ by: value }));
  const direction = choice('Direction', [['both', 'Both'], ['rx', 'Received'], ['tx', 'Sent']], (value) => context.navigate({ direction: value }));
  const chart = timeChart({ label: 'Throughput', format: byteRate, base: 1024, height: 320 });
  const list = table({
    label: 'Throughput',
    key: (row) => row.key,
    sort: 'sum',
    empty: 'Nothing moved in this time.',
    onactivate: (row) => context.filter(row.by, row.by === 'binary' ? row.path || row.name : row.key),
    columns: [
      { key: 'name', label: 'Name', wide: true, value: (row) => row.name, title: (row) => row.key, node: named, stamp: (row) => `${row.name} ${row.paint}` },
      { key: 'sum', label: 'Throughput', number: true, value: (row) => row.sum, text: (row) => byteRate(row.sum), share: (row) => row.share },
      { key: 'rx', label: 'Received', number: true, value: (row) => row.rx, text: (row) => bytes(row.rx) },
      { key: 'tx', label: 'Sent', number: true, value: (row) => row.tx, text: (row) => bytes(row.tx) },
      { key: 'packets', label: 'Packets', number: true, hint: 'TCP segments and UDP datagrams, both ways', value: (row) => row.packets, text: (row) => count(row.packets) },
      { key: 'opened', label: 'Connections', number: true, hint: 'Opened and accepted in this time', value: (row) => row.opened, text: (row) => count(row.opened) },
      { key: 'active', label: 'Open', number: true, value: (row) => row.active, text: (row) => count(row.active) },
      { key: 'again', label: 'Retransmitted', number: true, value: (row) => row.again, text: (row) => (row.again > 0 ? percent(row.again) : '–') },
    ],
  });
  const element = h('div', { class: 'grid' },
    h('div', { class: 'bar wide' }, by.element, direction.element),
    card('Throughput', { wide: true }, chart.element),
    card('All of them', { wide: true }, list.element),
  );

  function named(row) {
    return h('span', { class: 'named' }, h('i', { style: { background: row.paint } }), row.name);
  }

  function update({ store, bins, accept, state }) {
    by.update(state.by);
    direction.update(state.direction);
    const how = BY[state.by];
    const names = new Map();
    const groups = grouping(store.flows, accept, (facets) => {
      const key = how.key(facets);
      if (key !== null) names.set(key, { name: how.name(facets), path: facets.binary[0] });
      return key;
    });
    const columns = state.direction === 'both' ? ['tx', 'rx'] : [state.direction];
    const series = top(flowSeries(bins, groups, columns), groups.keys, 8);
    const paints = new Map(series.map((one, at) => [one.key, one.key === null ? REST : colour(at)]));
    chart.update({
      bins,
      series: series.map((one) => ({
        label: one.key === null ? `${one.others} others` : names.get(one.key).name,
        hint: one.key ?? '',
        values: rates(one.values, bins),
        colour: paints.get(one.key),
      })),
    });
    const seconds = covered(bins) || 1;
    const totals = flowTotals(bins, groups, store.bounds);
    const moved = (group) => columns.reduce((all, name) => all + group.values[COLUMN[name]], 0);
    const most = Math.max(1, ...totals.map(moved));
    const value = (group, name) => group.values[COLUMN[name]];
    list.update(totals.filter((group) => moved(group) > 0 || group.values[COLUMN.active] > 0).map((group) => ({
      by: state.by,
      key: group.key,
      ...names.get(group.key),
      paint: paints.get(group.key) ?? 'transparent',
      sum: moved(group) / seconds,
      share: moved(group) / most,
      rx: value(group, 'rx'),
      tx: value(group, 'tx'),
      packets: value(group, 'tx_packets') + value(group, 'rx_packets'),
      opened: value(group, 'opened') + value(group, 'accepted'),
      active: value(group, 'active'),
      again: value(group, 'retransmits') / (value(group, 'tx_packets') || 1),
    })));
  }

  return { element, update };
}
