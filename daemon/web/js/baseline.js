// What listened when the reader said so, and how that differs from what listens. Pure, but for who keeps it.

/** What makes a listener the same one: not its process, which may be started anew. */
export function listenerKey(row) {
  const automatic = row['netsonde.listen.port_automatic'] === true;
  return [
    row['network.transport'],
    row['server.address'] ?? '',
    // A port that the kernel chose is another one every time.
    automatic ? 'automatic' : (row['server.port'] ?? row['netsonde.socket.protocol'] ?? ''),
    row['network.interface.name'] ?? '',
    row['netsonde.namespace.initial'] ? 'initial' : (row['netsonde.namespace.name'] ?? row['netsonde.network.namespace'] ?? ''),
    row['process.executable.path'] ?? '',
    row['netsonde.process.script.path'] ?? '',
  ].join(' ');
}

const REMEMBERED = [
  'network.transport', 'network.type', 'server.address', 'server.port', 'netsonde.address.class', 'netsonde.socket.protocol',
  'network.interface.name', 'netsonde.listen.port_automatic', 'netsonde.network.namespace', 'netsonde.namespace.initial',
  'netsonde.namespace.name', 'process.executable.path', 'netsonde.process.script.path', 'process.user.name', 'systemd.unit',
  'container.id', 'netsonde.listen.opened', 'netsonde.process.ancestry',
];

/** A baseline of these rows, small enough to keep. */
export function baselineOf(rows, time) {
  const remembered = rows.map((row) =>
    Object.fromEntries(REMEMBERED.filter((key) => row[key] !== undefined).map((key) => [key, row[key]])),
  );
  return { version: 1, time, rows: remembered };
}

/** A baseline as it was kept, or `null` when that is none. */
export function readBaseline(text) {
  try {
    const read = JSON.parse(text);
    return read?.version === 1 && Array.isArray(read.rows) && Number.isFinite(read.time) ? read : null;
  } catch {
    return null;
  }
}

/**
 * Each row with its mark: `same`, `new`, or `gone` for what the baseline has and nobody listens on; without a baseline
 * there are no marks. Several sockets of one key are as good as one.
 */
export function compare(rows, baseline) {
  if (!baseline) return rows.map((row) => ({ row, key: listenerKey(row), mark: '' }));
  const known = new Set(baseline.rows.map(listenerKey));
  const here = new Set(rows.map(listenerKey));
  const gone = new Map(baseline.rows.filter((row) => !here.has(listenerKey(row))).map((row) => [listenerKey(row), row]));
  return [
    ...rows.map((row) => ({ row, key: listenerKey(row), mark: known.has(listenerKey(row)) ? 'same' : 'new' })),
    ...[...gone].map(([key, row]) => ({ row, key, mark: 'gone' })),
  ];
}

/** When each key was last closed, of the changes that the daemon's history tells: milliseconds. */
export function closings(changes) {
  const times = new Map();
  for (const change of changes) {
    const closed = Date.parse(change['netsonde.listen.closed'] ?? '');
    const key = listenerKey(change);
    if (Number.isFinite(closed) && closed > (times.get(key) ?? 0)) times.set(key, closed);
  }
  return times;
}
