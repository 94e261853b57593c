// What listens, who opened it, since when; and what of that is new against the reader's baseline, or gone.

import { compare, listenerKey } from '../baseline.js';
import { card, h, setText } from '../dom.js';
import { listenerFacets } from '../facets.js';
import { ago, baseName, count, endpoint, moment, shortId } from '../format.js';
import { table } from '../table.js';

const MARKS = { new: 'new', gone: 'gone', same: '' };

const opened = (row) => Date.parse(row['netsonde.listen.opened'] ?? '');

/** Who brought it up: from the first ancestor that is known down to the program. */
function chain(row) {
  const by = row['netsonde.listen.opened_by'] ?? row;
  const ancestors = (by['netsonde.process.ancestors'] ?? []).map((one) => ({ pid: one['process.pid'], path: one['process.executable.path'] ?? '' }));
  const names = ancestors.length > 0 ? ancestors : (row['netsonde.process.ancestry'] ?? []).map((path) => ({ path }));
  const own = { pid: by['process.pid'], path: by['process.executable.path'] ?? '' };
  return [...names.reverse(), own].filter((one) => one.path || one.pid);
}

const chainText = (row) => chain(row).map((one) => (one.path ? baseName(one.path) : `pid ${one.pid}`)).join(' › ');

const place = (row) => {
  const name = row['network.interface.name'];
  const text = row['server.address'] ? endpoint(row['server.address'], row['server.port']) : (row['netsonde.socket.protocol'] ?? '');
  return name ? `${text} on ${name}` : String(text);
};

const namespaceOf = (row) => (row['netsonde.namespace.initial'] ? '' : (row['netsonde.namespace.name'] ?? String(row['netsonde.network.namespace'] ?? '')));

function badge(text, kind) {
  return h('span', { class: `badge ${kind}` }, text);
}

export function create(context) {
  const save = h('button', { type: 'button', class: 'primary', onclick: () => context.saveBaseline() });
  const forget = h('button', { type: 'button', onclick: () => context.forgetBaseline() }, 'Forget it');
  const saved = h('span', { class: 'hint' });
  const counts = h('span', { class: 'hint counts', role: 'status' });
  const only = h('button', { type: 'button', 'aria-pressed': 'false', onclick: () => { onlyChanges = !onlyChanges; context.redraw(); } }, 'Only what differs');
  const missing = h('p', { class: 'aside wide', hidden: true });
  const detail = h('aside', { class: 'detail', hidden: true, 'aria-label': 'Details of a listener' });
  let onlyChanges = false;
  let chosen = null;

  const list = table({
    label: 'Listeners',
    key: (one) => one.id,
    sort: 'mark',
    empty: 'Nothing listens that passes the filters.',
    rowClass: (one) => `mark-${one.mark || 'none'}${one.denied ? ' denied' : ''}`,
    onactivate: (one) => {
      chosen = chosen === one.id ? null : one.id;
      context.redraw();
    },
    columns: [
      { key: 'mark', label: 'Mark', value: (one) => (one.denied ? 0 : ({ new: 1, gone: 2 })[one.mark] ?? 3) * 1e6 + (one.row['server.port'] ?? 0), stamp: (one) => `${one.mark} ${one.denied}`, node: marks },
      { key: 'transport', label: 'Protocol', value: (one) => one.row['network.transport'] },
      { key: 'port', label: 'Listens on', wide: true, value: (one) => one.row['server.port'] ?? 0, text: (one) => place(one.row), title: (one) => namespaceOf(one.row) },
      { key: 'class', label: 'Reached from', value: (one) => one.row['netsonde.address.class'] ?? '–' },
      { key: 'program', label: 'Program', wide: true, value: (one) => one.facets.name, title: (one) => one.facets.program },
      { key: 'user', label: 'User', value: (one) => one.facets.user[0] ?? '–' },
      { key: 'unit', label: 'Unit or container', wide: true, value: (one) => one.facets.unit[0] ?? (one.facets.container[0] ? shortId(one.facets.container[0]) : '–') },
      { key: 'since', label: 'Since', number: true, value: (one) => one.since || 0, text: since, title: (one) => (one.since ? moment(one.since) : '') },
      { key: 'chain', label: 'Opened by', wide: true, value: (one) => chainText(one.row) || '–', title: (one) => chainText(one.row) },
      { key: 'accepted', label: 'Accepted', number: true, value: (one) => one.row['netsonde.listen.accepted'] ?? -1, text: (one) => (one.row['netsonde.listen.accepted'] === undefined ? '–' : count(one.row['netsonde.listen.accepted'])) },
      { key: 'peers', label: 'Peers', number: true, value: (one) => one.row['netsonde.listen.peers'] ?? -1, text: (one) => (one.row['netsonde.listen.peers'] === undefined ? '–' : count(one.row['netsonde.listen.peers'])) },
    ],
  });
  const element = h('div', { class: 'grid' },
    h('div', { class: 'bar wide' }, save, forget, only, saved, counts),
    missing,
    card('Listening ports', { wide: true }, h('div', { class: 'beside' }, list.element, detail)),
  );

  function marks(one) {
    const shown = h('span', {});
    if (one.denied) shown.append(badge('denied', 'bad'), ' ');
    if (MARKS[one.mark]) shown.append(badge(MARKS[one.mark], one.mark));
    return shown;
  }

  function since(one) {
    if (one.mark === 'gone') return one.since ? `closed ${ago(one.since, Date.now())}` : 'closed';
    return one.since ? ago(one.since, Date.now()) : 'before netsonde';
  }

  function describe(one) {
    const fact = (name, value) => (value === undefined || value === '' ? [] : [h('dt', {}, name), h('dd', {}, String(value))]);
    const { row } = one;
    const holders = (row['netsonde.socket.holders'] ?? []).map((holder) => `${baseName(holder['process.executable.path'] ?? '?')}[${holder['process.pid']}]`);
    detail.replaceChildren(
      h('header', {}, h('h3', {}, `${row['network.transport']} ${place(row)}`), h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close details', onclick: () => { chosen = null; context.redraw(); } }, '×')),
      h('dl', {},
        fact('Program', one.facets.program),
        fact('Process', row['process.pid']),
        fact('User', one.facets.user[0]),
        fact('Unit', one.facets.unit[0]),
        fact('Container', one.facets.container[0]),
        fact('Namespace', namespaceOf(row)),
        fact('Opened', Number.isFinite(opened(row)) ? moment(opened(row)) : undefined),
        fact('Closed', one.mark === 'gone' && one.since ? moment(one.since) : undefined),
        fact('Last accepted', row['netsonde.listen.last_accepted'] ? moment(Date.parse(row['netsonde.listen.last_accepted'])) : undefined),
        fact('Queue', row['netsonde.listen.queued'] === undefined ? undefined : `${row['netsonde.listen.queued']} of ${row['netsonde.listen.backlog']}`),
        fact('Clients from', (row['netsonde.listen.client_networks'] ?? []).join(', ')),
        fact('Held by', holders.join(', ')),
      ),
      h('h4', {}, 'Opened by'),
      h('ol', { class: 'chain' }, chain(row).map((step) => h('li', {}, h('span', {}, step.path || 'unknown'), step.pid ? h('b', {}, step.pid) : null))),
      h('button', { type: 'button', onclick: () => context.filter('port', String(row['server.port'])) }, 'Filter by this port'),
    );
  }

  function update({ accept, listeners, baseline, closings, listenersError, listenersTruncated }) {
    const all = compare(listeners ?? [], baseline);
    const used = new Map();
    const rows = [];
    for (const { row, key, mark } of all) {
      const facets = listenerFacets(row);
      if (!accept(facets)) continue;
      const twin = used.get(key) ?? 0;
      used.set(key, twin + 1);
      const closed = mark === 'gone' ? closings.get(listenerKey(row)) : undefined;
      const at = mark === 'gone' ? closed : opened(row);
      rows.push({ id: `${mark} ${key} ${twin}`, row, mark, facets, since: Number.isFinite(at) ? at : 0, denied: row['netsonde.audit.action'] === 'deny' });
    }
    const differs = rows.filter((one) => one.mark === 'new' || one.mark === 'gone');
    list.update(onlyChanges && baseline ? differs : rows);
    only.hidden = !baseline;
    only.setAttribute('aria-pressed', String(onlyChanges));
    setText(save, baseline ? 'Save a new baseline' : 'Save as baseline');
    save.disabled = !listeners;
    forget.hidden = !baseline;
    setText(saved, baseline ? `Marked against the baseline of ${moment(baseline.time)}, kept in this browser.` : 'A baseline, kept in this browser, marks what is new and what is gone.');
    setText(counts, baseline ? `${rows.filter((one) => one.mark === 'new').length} new, ${rows.filter((one) => one.mark === 'gone').length} gone` : `${rows.length} listeners`);
    missing.hidden = !listenersError && !listenersTruncated;
    setText(missing, listenersError || (listenersTruncated ? `${listenersTruncated} more sockets were too many to keep (limits.listeners).` : ''));
    const one = rows.find((row) => row.id === chosen);
    detail.hidden = !one;
    if (one) describe(one);
  }

  return { element, update };
}
