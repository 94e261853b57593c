// How netsonde itself is doing: its own verdict, its rings and tables, its destinations.

import { card, h, nothing } from '../dom.js';
import { bytes, count, duration, moment, percent } from '../format.js';

const meter = (name, fill, limit, format) =>
  h('div', { class: 'meter' }, h('span', {}, name), h('i', { style: { '--share': percent(fill / (limit || 1)).replace('\u202f', '') } }), h('b', {}, `${format(fill)} of ${format(limit)}`));

export function create() {
  const verdict = h('div', { class: 'verdict', role: 'status' });
  const findings = h('table', { class: 'plain', 'aria-label': 'Findings' });
  const facts = h('dl', { class: 'facts' });
  const fills = h('div', { class: 'meters' });
  const losses = h('div', {});
  const destinations = h('div', {});
  const element = h('div', { class: 'grid' },
    h('div', { class: 'wide' }, verdict),
    card('Findings', { wide: true }, findings),
    card('Rings and tables', {}, fills),
    card('The daemon', {}, facts),
    card('Losses since the start', {}, losses),
    card('Destinations', {}, destinations),
  );
  let drawn = '';

  function update({ answer, statusError, store }) {
    if (!answer) {
      verdict.replaceChildren(nothing('No status yet', statusError || 'The daemon has not answered yet.'));
      return;
    }
    const stamp = JSON.stringify(answer) + store.rows;
    if (stamp === drawn) return;
    drawn = stamp;
    const { grade, findings: lines, status } = answer;
    verdict.replaceChildren(h('span', { class: `badge ${grade}` }, grade), h('span', {}, grade === 'ok' ? 'Everything works, and nothing was lost within the last ten minutes.' : lines.filter((line) => line.grade !== 'ok').map((line) => `${line.subject}: ${line.text}`).join(' · ')));
    findings.replaceChildren(h('tbody', {}, lines.map((line) => h('tr', {}, h('td', {}, h('span', { class: `badge ${line.grade}` }, line.grade)), h('th', { scope: 'row' }, line.subject), h('td', {}, line.text)))));
    fills.replaceChildren(
      ...(status.rings ?? []).map((ring) => meter(ring.name.replaceAll('_', ' '), ring.fill, ring.limit, bytes)),
      ...(status.tables ?? []).map((one) => meter(one.name.replaceAll('_', ' '), one.fill, one.limit, count)),
      meter('rows kept by this page', store.rows, store.mostRows, count),
    );
    const uptime = (status.read_unix_ns - status.started_unix_ns) / 1e9;
    const rows = [
      ['Version', status.version], ['Process', status.pid], ['Started', moment(status.started_unix_ns / 1e6)], ['Up for', duration(uptime)],
      ['Sweep', `${count(status.sweep?.count ?? 0)} so far`], ['Interval', duration(store.interval)],
      ['Oldest record', duration(status.lag_seconds)],
    ];
    facts.replaceChildren(...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, String(value ?? '–'))]));
    const lost = (status.losses ?? []).filter((loss) => loss.count > 0);
    losses.replaceChildren(lost.length === 0
      ? nothing('Nothing was lost', 'Every queue and table has had room for everything.')
      : h('table', { class: 'plain' }, h('tbody', {}, lost.map((loss) => h('tr', {}, h('th', { scope: 'row' }, loss.reason.replaceAll('_', ' ')), h('td', { class: 'number' }, count(loss.count)))))));
    destinations.replaceChildren((status.destinations ?? []).length === 0
      ? nothing('Sent to nobody', 'Without an export, what is measured is seen here and by netsonde top.')
      : h('table', { class: 'plain' }, h('tbody', {}, lines.filter((line) => line.subject.startsWith('export')).map((line) => h('tr', {}, h('td', {}, h('span', { class: `badge ${line.grade}` }, line.grade)), h('th', { scope: 'row' }, line.subject.replace(/^export /, '')), h('td', {}, line.text))))));
  }

  return { element, update };
}
