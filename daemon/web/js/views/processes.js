// Processes that own sockets, in the tree of their parents, and what each moved.

import { card, h, setText } from '../dom.js';
import { processFacets, programOf } from '../facets.js';
import { bytes, count, moment, ago, shortId } from '../format.js';
import { buildTree, visible } from '../tree.js';

const MOST_LINES = 600;

export function create(context) {
  const body = h('tbody', {});
  const grid = h('table', { role: 'treegrid', 'aria-label': 'Processes', onkeydown: walk },
    h('thead', {}, h('tr', {}, ['Process', 'Pid', 'User', 'Unit or container', 'Received', 'Sent', 'Connections', 'Open', 'Failed'].map((name, at) => h('th', { scope: 'col', class: at === 1 || at > 3 ? 'number' : undefined }, name)))), body);
  const blank = h('div', { class: 'nothing small' }, h('p', {}));
  const note = h('span', { class: 'hint', role: 'status' });
  const detail = h('aside', { class: 'detail', hidden: true, 'aria-label': 'Details of a process' });
  const element = h('div', { class: 'grid' },
    card('Process tree', { wide: true, note }, h('div', { class: 'beside' }, h('div', { class: 'table' }, h('div', { class: 'scroll' }, grid), blank), detail)));
  const closed = new Set();
  let focused = '';
  let chosen = '';
  let lines = [];

  function walk(event) {
    const row = event.target.closest('tr');
    const at = lines.findIndex((line) => line.node.key === row?.dataset.key);
    if (at < 0) return;
    const { node } = lines[at];
    const to = (next) => next && focus(next.key);
    const keys = {
      ArrowDown: () => to(lines[at + 1]?.node),
      ArrowUp: () => to(lines[at - 1]?.node),
      Home: () => to(lines[0].node),
      End: () => to(lines.at(-1).node),
      ArrowRight: () => (closed.has(node.key) ? toggle(node) : to(node.children[0])),
      ArrowLeft: () => (node.children.length > 0 && !closed.has(node.key) ? toggle(node) : to(node.parent)),
      Enter: () => choose(node),
      ' ': () => choose(node),
    };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  }

  function focus(key) {
    focused = key;
    for (const row of body.children) {
      row.tabIndex = row.dataset.key === key ? 0 : -1;
      if (row.dataset.key === key) row.focus();
    }
  }

  function toggle(node) {
    focused = node.key;
    if (!closed.delete(node.key)) closed.add(node.key);
    context.redraw();
  }

  function choose(node) {
    chosen = chosen === node.key ? '' : node.key;
    focused = node.key;
    context.redraw();
  }

  function line({ node, depth }) {
    const { process, sum } = node;
    const attributes = process?.attributes ?? {};
    const shut = closed.has(node.key);
    const opener = node.children.length > 0
      ? h('button', { type: 'button', class: 'opener', tabindex: '-1', 'aria-label': shut ? 'Open' : 'Close', onclick: (event) => { event.stopPropagation(); toggle(node); } }, shut ? '▸' : '▾')
      : h('span', { class: 'opener' });
    const number = (value, format) => h('td', { class: 'number' }, value > 0 ? format(value) : '–');
    const row = h('tr', {
      'data-key': node.key, tabindex: node.key === focused ? '0' : '-1', class: `active${process ? '' : ' ancestor'}${node.key === chosen ? ' chosen' : ''}`,
      'aria-level': String(depth + 1), 'aria-expanded': node.children.length > 0 ? String(!shut) : undefined, onclick: () => choose(node),
    },
    h('td', { class: 'wide', title: node.path }, h('span', { class: 'indent', style: { '--depth': String(depth) } }, opener, h('span', {}, node.name))),
    h('td', { class: 'number' }, String(node.pid)),
    h('td', {}, attributes['process.user.name'] ?? ''),
    h('td', { class: 'wide' }, attributes['systemd.unit'] ?? shortId(attributes['container.id'] ?? '')),
    number(sum.rx, bytes), number(sum.tx, bytes), number(sum.connections, count), number(sum.active, count), number(sum.failures, count));
    return row;
  }

  function describe(node, store) {
    const attributes = node.process?.attributes ?? {};
    const flows = (node.process?.flows ?? []).map((id) => store.flows.list[store.flows.slots.get(id)]).filter(Boolean);
    const fact = (name, value) => (value === undefined || value === '' ? [] : [h('dt', {}, name), h('dd', {}, String(value))]);
    const started = node.started;
    detail.replaceChildren(
      h('header', {}, h('h3', {}, `${node.name} [${node.pid}]`), h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close details', onclick: () => choose(node) }, '×')),
      h('dl', {},
        fact('Binary', node.path),
        fact('Script', attributes['netsonde.process.script.path']),
        fact('Command', (attributes['process.command_args'] ?? []).join?.(' ')),
        fact('Started', started ? moment(started) : undefined),
        fact('User', attributes['process.user.name']),
        fact('Unit', attributes['systemd.unit']),
        fact('Slice', attributes['systemd.slice']),
        fact('Container', attributes['container.id']),
        fact('Control group', attributes['process.linux.cgroup']),
        fact('Last seen moving', node.process ? ago(node.process.last, Date.now()) : undefined)),
      h('h4', {}, 'Talks to'),
      flows.length > 0
        ? h('ul', { class: 'plainlist' }, flows.slice(0, 20).map(({ facets }) => h('li', {}, h('span', {}, facets.role === 'server' ? `serves :${facets.portNumber}` : `${facets.remoteName}:${facets.portNumber}`), h('b', {}, facets.transport))))
        : h('p', { class: 'hint' }, node.process ? 'No flow of it is within this hour.' : 'It has no socket of its own; those below it do.'),
      node.process ? h('button', { type: 'button', onclick: () => context.navigate({ view: 'map', centre: `p:${programOf(attributes).key}` }) }, 'Show in the map') : null,
    );
  }

  function update({ store, accept, processes, processesError, processesTruncated }) {
    const flowsOf = (process) => (process.flows ?? []).map((id) => store.flows.list[store.flows.slots.get(id)]?.facets).filter(Boolean);
    const passing = (processes ?? []).filter((process) => accept(processFacets(process.attributes, flowsOf(process))));
    const all = visible(buildTree(passing), closed);
    lines = all.slice(0, MOST_LINES);
    if (!lines.some((one) => one.node.key === focused)) focused = lines[0]?.node.key ?? '';
    const hadFocus = body.contains(document.activeElement);
    body.replaceChildren(...lines.map(line));
    if (hadFocus) focus(focused);
    blank.hidden = lines.length > 0;
    grid.hidden = lines.length === 0;
    setText(blank.firstElementChild, processesError || (processes ? 'No process with sockets passes the filters.' : 'Reading processes …'));
    const more = all.length - lines.length + (processesTruncated ?? 0);
    setText(note, `${passing.length} with sockets${more > 0 ? `, ${more} lines not shown` : ''}`);
    const node = lines.find((one) => one.node.key === chosen)?.node;
    detail.hidden = !node;
    if (node) describe(node, store);
  }

  return { element, update };
}
