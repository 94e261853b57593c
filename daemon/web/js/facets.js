// What filters and groups know of a flow, a lookup, a listener or a process: a few texts, read once from its attributes.

import { baseName, shortId } from './format.js';

/** What there was no room to tell apart. */
const FOLDED = 'all others (folded)';

const text = (value) => (value === undefined || value === null ? '' : String(value));

const runsScript = (attributes) => text(attributes['netsonde.process.script.path']);

/** Which program something belongs to: its path, with the script that an interpreter runs. */
export function programOf(attributes) {
  if (attributes['otel.metric.overflow']) return { key: FOLDED, path: '', script: '', name: FOLDED };
  const path = text(attributes['process.executable.path']) || text(attributes['process.executable.name']);
  const script = runsScript(attributes);
  const short = path ? baseName(path) : 'unknown program';
  return {
    key: script ? `${path} ${script}` : path,
    path,
    script,
    name: script ? `${short} ${baseName(script)}` : short,
  };
}

const common = (attributes) => {
  const program = programOf(attributes);
  return {
    program: program.key,
    name: program.name,
    binary: [program.path, program.script, program.name].filter(Boolean),
    unit: [text(attributes['systemd.unit']), text(attributes['systemd.user_unit'])].filter(Boolean),
    container: [text(attributes['container.id'])].filter(Boolean),
    user: [text(attributes['process.user.name'])].filter(Boolean),
  };
};

/** Of a flow. Only a client has a remote: a server's address is this host's own. */
export function flowFacets(attributes) {
  const role = text(attributes['netsonde.socket.role']);
  const address = text(attributes['server.address']);
  const peer = text(attributes['network.peer.address']);
  const port = attributes['server.port'];
  const client = text(attributes['client.address']);
  const isServer = role === 'server';
  return {
    ...common(attributes),
    role,
    transport: text(attributes['network.transport']),
    protocol: text(attributes['network.protocol.name']),
    namespace: text(attributes['netsonde.network.namespace']),
    address,
    peer,
    portNumber: port,
    remoteName: isServer ? client : address || peer,
    remote: (isServer ? [client] : [address, peer]).filter(Boolean),
    port: port === undefined ? [] : [text(port)],
  };
}

/** Of a series of lookups: its names are the question and the resolver. It has no port. */
export function lookupFacets(attributes) {
  const question = text(attributes['dns.question.name']);
  const resolver = text(attributes['server.address']);
  return {
    ...common(attributes),
    role: text(attributes['netsonde.socket.role']),
    question,
    type: text(attributes['dns.question.type']),
    code: text(attributes['dns.response_code']),
    error: text(attributes['error.type']),
    suffix: Boolean(attributes['netsonde.dns.search_suffix']),
    resolver,
    remote: [question, resolver].filter(Boolean),
    port: null,
  };
}

/** Of a listener; everybody who holds it counts, and the networks that its clients came from. */
export function listenerFacets(row) {
  const holders = (row['netsonde.socket.holders'] ?? []).map(common);
  const own = common(row);
  const all = (field) => [...new Set([own, ...holders].flatMap((one) => one[field]))];
  return {
    ...own,
    binary: all('binary'),
    unit: all('unit'),
    container: all('container'),
    user: all('user'),
    remote: row['netsonde.listen.client_networks'] ?? [],
    port: row['server.port'] === undefined ? [] : [text(row['server.port'])],
  };
}

/** Of a process; remotes and ports are those of its flows. */
export function processFacets(attributes, flows) {
  return {
    ...common(attributes),
    remote: [...new Set(flows.flatMap((flow) => flow.remote))],
    port: [...new Set(flows.flatMap((flow) => flow.port))],
  };
}

/** How a value of a field is shown. */
export function shown(field, value) {
  if (field === 'container') return shortId(value);
  return field === 'binary' && value.startsWith('/') ? baseName(value) : value;
}
