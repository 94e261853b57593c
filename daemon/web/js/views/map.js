// The service map: programs of this host and whom they talk to, in columns from clients to servers. A node in the
// centre shows its neighbourhood.

import { covered, flowTotals, grouping } from '../aggregate.js';
import { card, h, s, setText } from '../dom.js';
import { byteRate, count, percent } from '../format.js';
import { buildGraph, largest, layout, neighbourhood, search, weight } from '../graph.js';
import { MOST_HOPS } from '../location.js';
import { COLUMN } from '../store.js';
import { retransmitGrade } from './overview.js';

const d3 = globalThis.d3;

const WIDTH = 190;
const HEIGHT = 44;
const GAP = { column: 110, row: 18 };
/** Who did any of these is in the map. */
const SEEN = ['tx', 'rx', 'opened', 'accepted', 'active', 'failed', 'retransmits'].map((name) => COLUMN[name]);
/** The height of a gap that an edge passes a column through. */
const PASSAGE = 26;
/** Longer columns are folded, so that names stay readable. */
const MOST_ROWS = 12;
const STEP = 48;

/** What is wrong on an edge or at a node, if anything is. */
const gradeOf = (one) => (one.failed > 0 ? 'bad' : retransmitGrade(one.packets > 0 ? one.retransmits / one.packets : 0));

const shorten = (text, most) => (text.length <= most ? text : `${text.slice(0, Math.ceil(most / 2) - 1)}…${text.slice(-Math.floor(most / 2))}`);

export function create(context) {
  const canvas = s('g', {});
  const svg = s('svg', { class: 'map', role: 'group', 'aria-label': 'Service map. Arrow keys go from node to node, Enter centres one, Escape shows all.' }, canvas);
  const zoom = d3.zoom().scaleExtent([0.2, 2.5]).on('zoom', ({ transform }) => canvas.setAttribute('transform', transform));
  d3.select(svg).call(zoom).on('dblclick.zoom', null);
  svg.addEventListener('keydown', walk);

  const find = h('input', { type: 'search', id: 'map-find', placeholder: 'Find a program or remote', 'aria-label': 'Find a program or remote', autocomplete: 'off', spellcheck: 'false' });
  find.addEventListener('input', () => context.navigate({ find: find.value }, true));
  find.addEventListener('keydown', (event) => {
    const [best] = found;
    if (event.key === 'Enter' && best) centre(best.id);
    if (event.key === 'Escape' && find.value) {
      event.stopPropagation();
      context.navigate({ find: '' }, true);
    }
  });
  const results = h('ul', { class: 'results', 'aria-label': 'Found' });
  const fewer = h('button', { type: 'button', 'aria-label': 'Fewer hops', onclick: () => context.navigate({ hops: Math.max(1, hops - 1) }) }, '−');
  const further = h('button', { type: 'button', 'aria-label': 'More hops', onclick: () => context.navigate({ hops: Math.min(MOST_HOPS, hops + 1) }) }, '+');
  const hopsText = h('span', { class: 'hops' });
  const whole = h('button', { type: 'button', onclick: () => context.navigate({ centre: '' }) }, 'Whole map');
  const fitted = h('button', { type: 'button', onclick: () => fit() }, 'Fit');
  const steps = h('span', { class: 'choice' }, fewer, hopsText, further);
  const note = h('span', { class: 'hint', role: 'status' });
  const more = h('button', { type: 'button', class: 'quiet', onclick: () => { most += STEP; context.redraw(); } }, 'Show more');
  const blank = h('div', { class: 'nothing over', hidden: true }, h('strong', {}, 'Nobody talks'), h('p', {}, 'No flow that passes the filters moved anything in this time.'));
  const side = h('aside', { class: 'detail', 'aria-label': 'Details of the centre', hidden: true });
  const legend = h('ul', { class: 'legend' },
    ['program', 'remote', 'inbound'].map((kind) => h('li', {}, h('i', { class: `kind ${kind}` }), h('span', {}, { program: 'program', remote: 'remote', inbound: 'clients from elsewhere' }[kind]))),
    h('li', {}, h('i', { style: { background: 'var(--warn)' } }), h('span', {}, 'over 1 % retransmitted')),
    h('li', {}, h('i', { style: { background: 'var(--bad)' } }), h('span', {}, 'failures, or over 5 %')));
  const element = h('div', { class: 'grid' },
    h('div', { class: 'bar wide' }, h('div', { class: 'finder' }, find, results), steps, whole, fitted, note, more),
    card('Service map', { wide: true, note: legend }, h('div', { class: 'beside' }, h('div', { class: 'map-frame' }, svg, blank), side)));

  let found = [];
  let hops = 1;
  let most = STEP;
  let places = new Map();
  let points = new Map();
  let ways = new Map();
  let order = [];
  let focused = '';
  let shape = '';
  const nodes = new Map();
  const edges = new Map();

  const centre = (id) => context.navigate({ centre: id, find: '' });

  function walk(event) {
    if (event.key === 'Escape' && svg.dataset.centre) {
      event.preventDefault();
      context.navigate({ centre: '' });
      return;
    }
    const id = event.target.closest('[data-node]')?.dataset.node;
    if (!id) return;
    const at = places.get(id);
    const beside = (step) => {
      const column = order[at.column + step];
      return column?.[Math.round(((at.row + 0.5) / at.rows) * column.length - 0.5)];
    };
    const next = {
      ArrowDown: () => order[at.column][at.row + 1],
      ArrowUp: () => order[at.column][at.row - 1],
      ArrowLeft: () => beside(-1),
      ArrowRight: () => beside(1),
    }[event.key];
    if (next) {
      event.preventDefault();
      const to = next();
      if (to) nodes.get(to)?.element.focus();
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      centre(id);
    }
  }

  /** Where everything lies, in the map's own coordinates. A column that is folded has no room for what passes it. */
  function arrange(graph, middle) {
    const laid = layout(graph, middle);
    places = laid.places;
    order = laid.columns;
    ways = laid.ways;
    let left = 0;
    points = new Map();
    laid.slots.forEach((slots, number) => {
      const count = order[number].length;
      if (count > MOST_ROWS) {
        const folds = Math.ceil(count / MOST_ROWS);
        const rows = Math.ceil(count / folds);
        order[number].forEach((id, row) => {
          const fold = Math.floor(row / rows);
          const inFold = Math.min(rows, count - fold * rows);
          points.set(id, { x: left + fold * (WIDTH + 30), y: ((row % rows) - inFold / 2) * (HEIGHT + GAP.row) });
        });
        left += folds * (WIDTH + 30) - 30 + GAP.column;
        return;
      }
      const tall = (id) => (graph.nodes.has(id) ? HEIGHT + GAP.row : PASSAGE);
      let y = -slots.reduce((all, id) => all + tall(id), 0) / 2;
      for (const id of slots) {
        points.set(id, { x: left, y: graph.nodes.has(id) ? y : y + (PASSAGE - GAP.row) / 2 });
        y += tall(id);
      }
      left += WIDTH + GAP.column;
    });
  }

  function fit() {
    const { clientWidth: width, clientHeight: height } = svg;
    if (width === 0 || nodes.size === 0) return;
    const all = [...nodes.values()].map((node) => node.at);
    const [x0, x1] = [d3.min(all, (at) => at.x), d3.max(all, (at) => at.x) + WIDTH];
    const [y0, y1] = [d3.min(all, (at) => at.y), d3.max(all, (at) => at.y) + HEIGHT];
    const scale = Math.min(1.15, (width - 48) / (x1 - x0), (height - 48) / (y1 - y0));
    const to = d3.zoomIdentity.translate(width / 2, height / 2).scale(Math.max(0.2, scale)).translate(-(x0 + x1) / 2, -(y0 + y1) / 2);
    d3.select(svg).call(zoom.transform, to);
  }
  new ResizeObserver(() => fit()).observe(svg);

  function nodeElement(id) {
    const box = s('rect', { class: 'box', width: WIDTH, height: HEIGHT, rx: 8 });
    const stripe = s('rect', { class: 'stripe', x: 0, y: 8, width: 3, height: HEIGHT - 16, rx: 1.5 });
    const name = s('text', { class: 'name', x: 14, y: 18 });
    const rate = s('text', { class: 'rate', x: 14, y: 34 });
    const title = s('title', {});
    const element = s('g', { role: 'button', tabindex: '-1', 'data-node': id }, title, box, stripe, name, rate);
    element.addEventListener('click', () => centre(id));
    element.addEventListener('focus', () => {
      nodes.get(focused)?.element.setAttribute('tabindex', '-1');
      focused = id;
      element.setAttribute('tabindex', '0');
      highlight(id);
    });
    element.addEventListener('blur', () => highlight(null));
    element.addEventListener('pointerenter', () => highlight(id));
    element.addEventListener('pointerleave', () => highlight(null));
    return { element, name, rate, title, at: { x: 0, y: 0 } };
  }

  /** What belongs to a node stands out while it is pointed at. */
  function highlight(id) {
    svg.classList.toggle('pointed', id !== null);
    for (const one of edges.values()) one.element.classList.toggle('near', one.data.from === id || one.data.to === id);
    const near = new Set([id, ...[...edges.values()].filter((one) => one.data.from === id || one.data.to === id).flatMap((one) => [one.data.from, one.data.to])]);
    for (const [key, node] of nodes) node.element.classList.toggle('near', near.has(key));
  }

  function drawEdges(graph, seconds) {
    const strongest = Math.max(1, ...graph.edges.map(weight));
    const seen = new Set();
    for (const edge of graph.edges) {
      seen.add(edge.id);
      let drawn = edges.get(edge.id);
      if (!drawn) {
        const title = s('title', {});
        drawn = { element: s('path', { class: 'edge' }, title), title };
        edges.set(edge.id, drawn);
        canvas.prepend(drawn.element);
      }
      drawn.data = edge;
      const [a, b] = [nodes.get(edge.from).at, nodes.get(edge.to).at];
      const way = (ways.get(edge.id) ?? []).map((id) => points.get(id)).filter(Boolean);
      drawn.element.setAttribute('d', curve(a, b, edge.from === edge.to, way));
      drawn.element.style.setProperty('stroke-width', String(1.2 + 5 * Math.sqrt(weight(edge) / strongest)));
      drawn.element.dataset.grade = gradeOf(edge);
      setText(drawn.title, edgeText(edge, graph, seconds));
    }
    for (const [id, drawn] of edges) {
      if (!seen.has(id)) {
        drawn.element.remove();
        edges.delete(id);
      }
    }
  }

  function curve(a, b, own, way) {
    const y = (at) => at.y + HEIGHT / 2;
    if (own) return `M${a.x + WIDTH - 30},${a.y} c10,-36 44,-20 30,${HEIGHT / 2}`;
    if (b.x === a.x) {
      const side = a.x + WIDTH;
      return `M${side},${y(a)} C${side + 60},${y(a)} ${side + 60},${y(b)} ${side},${y(b)}`;
    }
    const right = b.x > a.x;
    const bend = (from, x, to, end) => {
      const half = (right ? 1 : -1) * Math.max(40, Math.abs(x - from.x) / 2);
      return `C${from.x + half},${from.y} ${x - half},${to} ${x},${to} L${end},${to}`;
    };
    let from = { x: right ? a.x + WIDTH : a.x, y: y(a) };
    let path = `M${from.x},${from.y}`;
    for (const passed of way) {
      const [enter, leave] = right ? [passed.x, passed.x + WIDTH] : [passed.x + WIDTH, passed.x];
      // The middle of a passage.
      const level = passed.y + GAP.row / 2;
      path += bend(from, enter, level, leave);
      from = { x: leave, y: level };
    }
    const end = right ? b.x : b.x + WIDTH;
    return path + bend(from, end, y(b), end);
  }

  function edgeText(edge, graph, seconds) {
    const [from, to] = [graph.nodes.get(edge.from).label, graph.nodes.get(edge.to).label];
    const parts = [`${from} → ${to}`, `sent ${byteRate(edge.tx / seconds)}, received ${byteRate(edge.rx / seconds)}`];
    if (edge.ports.size > 0) parts.push(`port ${[...edge.ports].slice(0, 6).join(', ')}`);
    if (edge.packets > 0 && edge.retransmits > 0) parts.push(`${percent(edge.retransmits / edge.packets)} retransmitted`);
    if (edge.failed > 0) parts.push(`${count(edge.failed)} failed`);
    return parts.join('\n');
  }

  function drawNodes(graph, middle, seconds) {
    for (const node of graph.nodes.values()) {
      let drawn = nodes.get(node.id);
      if (!drawn) {
        drawn = nodeElement(node.id);
        nodes.set(node.id, drawn);
        canvas.append(drawn.element);
      }
      drawn.at = points.get(node.id);
      const { element } = drawn;
      element.setAttribute('transform', `translate(${drawn.at.x},${drawn.at.y})`);
      element.dataset.kind = node.kind;
      element.dataset.grade = gradeOf(node);
      element.classList.toggle('centre', node.id === middle);
      element.classList.toggle('found', found.some((one) => one.id === node.id));
      const rate = byteRate(weight(node) / seconds);
      setText(drawn.name, shorten(node.label, 24));
      setText(drawn.rate, node.failed > 0 ? `${rate} · ${count(node.failed)} failed` : node.active > 0 ? `${rate} · ${count(node.active)} open` : rate);
      setText(drawn.title, [node.label, node.detail].filter(Boolean).join('\n'));
      element.setAttribute('aria-label', `${node.kind} ${node.label}, ${rate}${node.failed > 0 ? `, ${node.failed} failed` : ''}`);
      if (node.id === middle) element.setAttribute('aria-current', 'true');
      else element.removeAttribute('aria-current');
    }
    for (const [id, drawn] of nodes) {
      if (!graph.nodes.has(id)) {
        drawn.element.remove();
        nodes.delete(id);
      }
    }
    if (!nodes.has(focused)) focused = middle && nodes.has(middle) ? middle : (order[0]?.[0] ?? '');
    for (const [id, drawn] of nodes) drawn.element.setAttribute('tabindex', id === focused ? '0' : '-1');
  }

  function describe(graph, node, seconds) {
    const fact = (name, value) => [h('dt', {}, name), h('dd', {}, value)];
    const joined = graph.edges.filter((edge) => edge.from === node.id || edge.to === node.id).sort((a, b) => weight(b) - weight(a));
    const line = (edge) => {
      const other = graph.nodes.get(edge.from === node.id ? edge.to : edge.from);
      return h('li', {}, h('button', { type: 'button', class: 'link', title: edgeText(edge, graph, seconds), onclick: () => centre(other.id) }, `${edge.from === node.id ? '→' : '←'} ${other.label}`), h('b', {}, byteRate(weight(edge) / seconds)));
    };
    const filter = node.kind === 'remote'
      ? () => context.filter('remote', node.label)
      : node.kind === 'inbound' ? () => context.filter('port', String(node.facets.portNumber)) : () => context.filter('binary', node.facets.binary[0] ?? node.label);
    side.replaceChildren(
      h('header', {}, h('h3', {}, node.label)),
      node.detail && node.detail !== node.label ? h('p', { class: 'path' }, node.detail) : '',
      h('dl', {},
        fact('Received', byteRate(node.rx / seconds)), fact('Sent', byteRate(node.tx / seconds)),
        fact('Open', count(node.active)),
        fact('Retransmitted', node.packets > 0 ? `${percent(node.retransmits / node.packets)} (${count(node.retransmits)})` : '–'),
        fact('Failed', count(node.failed))),
      h('h4', {}, 'Joined with'),
      h('ul', { class: 'plainlist' }, joined.slice(0, 20).map(line)),
      h('button', { type: 'button', onclick: filter }, 'Filter by this'));
  }

  function update({ store, bins, accept, state }) {
    hops = state.hops;
    if (document.activeElement !== find && find.value !== state.find) find.value = state.find;
    if (document.activeElement === find && state.find === '' && find.value !== '') find.value = '';
    const seconds = covered(bins) || 1;
    const each = grouping(store.flows, accept, (_, identity) => identity.id);
    const facets = new Map(store.flows.list.filter(Boolean).map((identity) => [identity.id, identity.facets]));
    const flows = flowTotals(bins, each, store.bounds)
      .filter((group) => SEEN.some((column) => group.values[column] > 0))
      .map((group) => ({ facets: facets.get(group.key), values: group.values }));
    const full = buildGraph(flows);
    const middle = full.nodes.has(state.centre) ? state.centre : '';
    svg.dataset.centre = state.centre;
    found = search(full, state.find);
    const graph = largest(middle ? neighbourhood(full, middle, hops) : full, most, middle);
    arrange(graph, middle);
    drawNodes(graph, middle, seconds);
    drawEdges(graph, seconds);
    const next = `${middle} ${[...graph.nodes.keys()].sort().join()}`;
    if (next !== shape) {
      shape = next;
      fit();
    }
    svg.classList.toggle('searched', found.length > 0);
    results.replaceChildren(...(state.find ? found.slice(0, 8) : []).map((node) => h('li', {}, h('button', { type: 'button', onclick: () => centre(node.id) }, h('i', { class: `kind ${node.kind}` }), h('span', {}, node.label), h('b', {}, byteRate(weight(node) / seconds))))));
    if (state.find && found.length === 0) results.replaceChildren(h('li', { class: 'none' }, 'Nobody of that name'));
    steps.hidden = !middle;
    whole.hidden = !state.centre;
    setText(hopsText, hops === 1 ? '1 hop' : `${hops} hops`);
    fewer.disabled = hops === 1;
    further.disabled = hops === MOST_HOPS;
    more.hidden = graph.hidden === 0;
    setText(note, `${graph.nodes.size} of ${full.nodes.size} shown${state.centre && !middle ? '; what was in the centre is not in this time' : ''}`);
    blank.hidden = graph.nodes.size > 0;
    side.hidden = !middle;
    if (middle) describe(full, full.nodes.get(middle), seconds);
  }

  return { element, update };
}
