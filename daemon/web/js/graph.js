// The service map as a graph: programs of this host, and whom they talk to. Pure: built from sums, laid out in columns.

import { COLUMN } from './store.js';

const LOOPBACK = /^(127\.|::1$|localhost$)/;

/** Where a server may be found: loopback is another place in each network namespace. */
const placeOf = (address, port, transport, namespace) =>
  `${transport} ${address}:${port}${LOOPBACK.test(address) ? ` ${namespace}` : ''}`;

const ANY = new Set(['0.0.0.0', '::', '']);

/**
 * Nodes and edges from flows with sums ({ facets, values }). An edge goes from client to server. A client and a server
 * that are both of this host are joined; what else a server moved comes from `in:` its port.
 */
export function buildGraph(flows) {
  const nodes = new Map();
  const edges = new Map();
  const node = (id, kind, label, detail, facets) => {
    if (!nodes.has(id)) {
      nodes.set(id, { id, kind, label, detail, facets, tx: 0, rx: 0, retransmits: 0, packets: 0, failed: 0, active: 0 });
    }
    return nodes.get(id);
  };
  const program = (facets) => node(`p:${facets.program}`, 'program', facets.name, facets.program, facets);
  const edge = (from, to, port) => {
    const id = `${from.id}\n${to.id}`;
    if (!edges.has(id)) {
      edges.set(id, { id, from: from.id, to: to.id, tx: 0, rx: 0, retransmits: 0, packets: 0, failed: 0, active: 0, ports: new Set() });
    }
    const found = edges.get(id);
    if (port !== undefined) found.ports.add(port);
    return found;
  };
  const add = (into, values, mirrored = false) => {
    into.tx += values[mirrored ? COLUMN.rx : COLUMN.tx];
    into.rx += values[mirrored ? COLUMN.tx : COLUMN.rx];
    into.retransmits += values[COLUMN.retransmits];
    into.packets += values[COLUMN.tx_packets];
    into.failed += values[COLUMN.failed];
    into.active += values[COLUMN.active];
  };

  const servers = new Map();
  for (const flow of flows) {
    if (flow.facets.role !== 'server') continue;
    const { address, portNumber, transport, namespace } = flow.facets;
    const place = ANY.has(address) ? `any ${transport}:${portNumber} ${namespace}` : placeOf(address, portNumber, transport, namespace);
    servers.set(place, flow);
  }
  const serverOf = ({ address, peer, portNumber, transport, namespace }) => {
    for (const one of [peer, address]) {
      const found = one && servers.get(placeOf(one, portNumber, transport, namespace));
      if (found) return found;
    }
    const isHere = LOOPBACK.test(peer || address);
    return isHere ? servers.get(`any ${transport}:${portNumber} ${namespace}`) : undefined;
  };

  // What of each server's bytes this host's own clients explain.
  const explained = new Map();
  for (const flow of flows) {
    const { facets, values } = flow;
    if (facets.role === 'server') continue;
    const from = program(facets);
    add(from, values);
    const server = serverOf(facets);
    let to;
    if (server) {
      to = program(server.facets);
      explained.set(server, (explained.get(server) ?? 0) + values[COLUMN.tx] + values[COLUMN.rx]);
    } else {
      const name = facets.remoteName || 'unknown remote';
      to = node(`r:${name}`, 'remote', name, facets.peer && facets.peer !== name ? facets.peer : '', facets);
      add(to, values, true);
    }
    add(edge(from, to, facets.portNumber), values);
  }
  for (const flow of flows) {
    const { facets, values } = flow;
    if (facets.role !== 'server') continue;
    const to = program(facets);
    add(to, values);
    const moved = values[COLUMN.tx] + values[COLUMN.rx];
    const local = explained.get(flow) ?? 0;
    // Intervals cut both ends at different moments: a twentieth may be on its way.
    if (local > 0 && moved <= local * 1.05) continue;
    if (moved === 0 && values[COLUMN.active] === 0 && values[COLUMN.accepted] === 0) continue;
    const name = facets.remoteName;
    const from = name
      ? node(`r:${name}`, 'remote', name, '', facets)
      : node(`in:${facets.transport}:${facets.portNumber}`, 'inbound', `clients of :${facets.portNumber}`, facets.transport, facets);
    add(from, values, true);
    add(edge(from, to, facets.portNumber), values, true);
  }
  return { nodes, edges: [...edges.values()] };
}

/** Who is joined with whom, whichever way the edges point. */
function neighbours({ nodes, edges }) {
  const of = new Map([...nodes.keys()].map((id) => [id, []]));
  for (const edge of edges) {
    of.get(edge.from).push({ id: edge.to, step: 1 });
    of.get(edge.to).push({ id: edge.from, step: -1 });
  }
  return of;
}

/** The part of a graph within `hops` steps of a node. */
export function neighbourhood(graph, centre, hops) {
  if (!graph.nodes.has(centre)) return { nodes: new Map(), edges: [] };
  const of = neighbours(graph);
  const distance = new Map([[centre, 0]]);
  const queue = [centre];
  while (queue.length > 0) {
    const id = queue.shift();
    if (distance.get(id) === hops) continue;
    for (const next of of.get(id)) {
      if (!distance.has(next.id)) {
        distance.set(next.id, distance.get(id) + 1);
        queue.push(next.id);
      }
    }
  }
  const nodes = new Map([...graph.nodes].filter(([id]) => distance.has(id)));
  // Beyond its programs, the last step joins nothing among its own.
  const edges = graph.edges.filter(
    (edge) =>
      distance.has(edge.from) && distance.has(edge.to) && Math.min(distance.get(edge.from), distance.get(edge.to)) < hops,
  );
  return { nodes, edges };
}

/** Bytes both ways. */
export const weight = (one) => one.tx + one.rx;

/** The largest nodes with their edges, at most `most`; `pinned` is always among them. */
export function largest(graph, most, pinned = '') {
  if (graph.nodes.size <= most) return { ...graph, hidden: 0 };
  const order = [...graph.nodes.values()].sort(
    (a, b) => (b.id === pinned) - (a.id === pinned) || weight(b) - weight(a) || b.active - a.active || (a.id < b.id ? -1 : 1),
  );
  const nodes = new Map(order.slice(0, most).map((node) => [node.id, node]));
  const edges = graph.edges.filter((edge) => nodes.has(edge.from) && nodes.has(edge.to));
  return { nodes, edges, hidden: graph.nodes.size - most };
}

/** The nodes that a text is found in, the best first: those that it begins, then the largest. */
export function search(graph, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const begins = (node) => node.label.toLowerCase().startsWith(wanted);
  return [...graph.nodes.values()]
    .filter((node) => node.label.toLowerCase().includes(wanted) || node.detail.toLowerCase().includes(wanted))
    .sort((a, b) => begins(b) - begins(a) || weight(b) - weight(a));
}

/** The column of each node: clients left of servers; with a centre, by steps from it. */
function columns(graph, centre) {
  const column = new Map();
  if (graph.nodes.has(centre)) {
    const of = neighbours(graph);
    column.set(centre, 0);
    const queue = [centre];
    while (queue.length > 0) {
      const id = queue.shift();
      for (const next of of.get(id)) {
        if (!column.has(next.id)) {
          // Away from the centre: a neighbour of what is right of it lies farther right, whoever is the client.
          const side = Math.sign(column.get(id));
          column.set(next.id, column.get(id) + (side === 0 ? next.step : side));
          queue.push(next.id);
        }
      }
    }
  } else {
    for (const [id, node] of graph.nodes) column.set(id, node.kind === 'inbound' ? 0 : 1);
    // The longest way from a client; a circle ends the search by its length.
    for (let turn = 0; turn < 6; turn += 1) {
      for (const edge of graph.edges) {
        const to = graph.nodes.get(edge.to);
        if (edge.from !== edge.to && to.kind === 'program') {
          column.set(edge.to, Math.min(5, Math.max(column.get(edge.to), column.get(edge.from) + 1)));
        }
      }
    }
    for (const edge of graph.edges) {
      if (graph.nodes.get(edge.from).kind === 'inbound') column.set(edge.from, column.get(edge.to) - 1);
    }
    // A remote is right of all that ask it; one that only asks is among the clients.
    const asks = new Set(graph.edges.map((edge) => edge.from));
    for (const [id, node] of graph.nodes) if (node.kind === 'remote') column.set(id, asks.has(id) ? 0 : 1);
    for (const { from, to } of graph.edges) {
      const node = graph.nodes.get(to);
      if (node.kind === 'remote') column.set(to, Math.max(column.get(to), column.get(from) + 1));
    }
  }
  return column;
}

/**
 * A place for each node: its column and its position in it, both from 0; nodes are near the middle of those that they
 * are joined with. `slots` has columns with the places that longer edges pass through besides, and `ways` these places
 * for each such edge, from its start on, so that it passes between nodes and not behind them.
 */
export function layout(graph, centre = '') {
  const column = columns(graph, centre);
  const numbers = [...new Set(column.values())].sort((a, b) => a - b);
  const index = new Map(numbers.map((number, at) => [number, at]));
  const at = (id) => index.get(column.get(id));
  const heavy = (a, b) => weight(b) - weight(a) || (a.id < b.id ? -1 : 1);
  const lists = numbers.map((number) => [...graph.nodes.values()].filter((node) => column.get(node.id) === number).sort(heavy).map((node) => node.id));

  const joined = new Map([...graph.nodes.keys()].map((id) => [id, []]));
  const ways = new Map();
  for (const edge of graph.edges) {
    const [from, to] = [at(edge.from), at(edge.to)];
    const step = Math.sign(to - from);
    const way = [];
    for (let between = from + step; step !== 0 && between !== to; between += step) {
      const id = `way\n${edge.id}\n${between}`;
      lists[between].push(id);
      joined.set(id, []);
      way.push(id);
    }
    if (way.length > 0) ways.set(edge.id, way);
    const chain = [edge.from, ...way, edge.to];
    for (let link = 1; link < chain.length; link += 1) {
      joined.get(chain[link - 1]).push(chain[link]);
      joined.get(chain[link]).push(chain[link - 1]);
    }
  }

  const position = new Map();
  const place = (list) => list.forEach((id, row) => position.set(id, row - (list.length - 1) / 2));
  lists.forEach(place);
  for (let turn = 0; turn < 8; turn += 1) {
    for (const list of turn % 2 ? [...lists].reverse() : lists) {
      const middle = new Map(
        list.map((id) => {
          const near = joined.get(id).map((next) => position.get(next));
          return [id, near.length > 0 ? near.reduce((all, one) => all + one, 0) / near.length : position.get(id)];
        }),
      );
      list.sort((a, b) => middle.get(a) - middle.get(b));
      place(list);
    }
  }
  const nodes = lists.map((list) => list.filter((id) => graph.nodes.has(id)));
  const places = new Map();
  nodes.forEach((list, number) => list.forEach((id, row) => places.set(id, { column: number, row, rows: list.length })));
  return { places, columns: nodes, slots: lists, ways };
}
