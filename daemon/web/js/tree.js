// Processes as the tree that their parents make. Pure.

import { baseName } from './format.js';

const startOf = (attributes) => {
  const time = Date.parse(attributes['process.creation.time'] ?? '');
  return Number.isFinite(time) ? time : 0;
};

const keyOf = (pid, started) => `${pid}-${started}`;

const SUMS = ['tx', 'rx', 'connections', 'active', 'failures'];

/**
 * The roots of the tree of some processes and all their ancestors. A node has `process` when it has sockets itself, and
 * in `sum` what it and all below it did.
 */
export function buildTree(processes) {
  const nodes = new Map();
  const roots = [];
  const node = (pid, started, path) => {
    const key = keyOf(pid, started);
    if (!nodes.has(key)) nodes.set(key, { key, pid, started, name: path ? baseName(path) : `pid ${pid}`, path, children: [], parent: null, process: null, sum: null });
    return nodes.get(key);
  };
  for (const process of processes) {
    const { attributes } = process;
    const own = node(attributes['process.pid'], startOf(attributes), attributes['process.executable.path'] ?? '');
    own.process = process;
    // Its own path is newer than what a child knew of it.
    if (attributes['process.executable.path']) {
      own.path = attributes['process.executable.path'];
      own.name = baseName(own.path);
    }
    const script = attributes['netsonde.process.script.path'];
    if (script) own.name = `${own.name} ${baseName(script)}`;
    let child = own;
    for (const ancestor of attributes['netsonde.process.ancestors'] ?? []) {
      const parent = node(ancestor['process.pid'], startOf(ancestor), ancestor['process.executable.path'] ?? '');
      if (child.parent || child === parent) break;
      child.parent = parent;
      parent.children.push(child);
      child = parent;
    }
  }
  for (const one of nodes.values()) if (!one.parent) roots.push(one);
  const finish = (one) => {
    one.children.sort((a, b) => a.pid - b.pid);
    one.sum = Object.fromEntries(SUMS.map((name) => [name, one.process?.[name] ?? 0]));
    for (const child of one.children) {
      finish(child);
      for (const name of SUMS) one.sum[name] += child.sum[name];
    }
  };
  roots.sort((a, b) => a.pid - b.pid);
  roots.forEach(finish);
  return roots;
}

/** The nodes that are seen, from the top, with how deep each is; `closed` has the keys of those that are shut. */
export function visible(roots, closed) {
  const lines = [];
  const walk = (node, depth, last) => {
    lines.push({ node, depth, last });
    if (!closed.has(node.key)) node.children.forEach((child, at) => walk(child, depth + 1, at === node.children.length - 1));
  };
  roots.forEach((root, at) => walk(root, 0, at === roots.length - 1));
  return lines;
}
