// A table that is sorted by its headings and walked through by arrow keys. Rows keep their elements while they are
// there, so that focus and selection outlive an update; the page never has more than a bound of them.

import { h, setText } from './dom.js';

const STEP = 100;

const compareValues = (a, b) => {
  if (typeof a === 'string' || typeof b === 'string') return String(a).localeCompare(String(b));
  return (a ?? -Infinity) - (b ?? -Infinity);
};

/**
 * Columns: `key`, `label`, `number` (right-aligned, sorted downwards first), `value(row)` to sort by, `text(row)`, and
 * optionally `share(row)` (0 to 1, drawn as a bar behind the text), `title(row)`, `node(row)` instead of a text.
 */
export function table({ label, columns, key, sort, onactivate, empty, rowClass }) {
  let order = { key: sort, down: columns.find((column) => column.key === sort)?.number ?? false };
  let rows = [];
  let most = STEP;
  const kept = new Map();

  const headings = columns.map((column) => {
    const button = h('button', { type: 'button', onclick: () => sortBy(column) }, column.label);
    return h('th', { scope: 'col', class: column.number ? 'number' : undefined, title: column.hint }, button);
  });
  const body = h('tbody', { onkeydown: walk });
  const more = h('button', { type: 'button', class: 'quiet', onclick: () => { most += STEP; draw(); } });
  const blank = h('div', { class: 'nothing small' }, h('p', {}, empty ?? 'Nothing here.'));
  const element = h(
    'div',
    { class: 'table' },
    h('div', { class: 'scroll' }, h('table', { 'aria-label': label }, h('thead', {}, h('tr', {}, headings)), body)),
    blank,
    more,
  );

  function sortBy(column) {
    order = { key: column.key, down: order.key === column.key ? !order.down : Boolean(column.number) };
    draw();
  }

  function walk(event) {
    const row = event.target.closest('tr');
    if (!row || event.target !== row) return;
    const move = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: body.firstElementChild, End: body.lastElementChild }[event.key];
    if (move) {
      event.preventDefault();
      focus(move);
    } else if (onactivate && (event.key === 'Enter' || event.key === ' ')) {
      event.preventDefault();
      onactivate(row.data);
    }
  }

  function focus(row) {
    for (const one of body.children) one.tabIndex = -1;
    row.tabIndex = 0;
    row.focus();
  }

  function makeRow() {
    const cells = columns.map((column) => h('td', { class: column.number ? 'number' : column.wide ? 'wide' : undefined }));
    const row = h('tr', { tabindex: '-1' }, cells);
    if (onactivate) row.addEventListener('click', (event) => { if (!event.target.closest('button, a')) onactivate(row.data); });
    return row;
  }

  function fill(row, data) {
    row.data = data;
    row.className = [rowClass?.(data), onactivate ? 'active' : ''].filter(Boolean).join(' ');
    columns.forEach((column, at) => {
      const cell = row.cells[at];
      if (column.node) {
        // Made anew only when it says something else.
        const stamp = String(column.stamp ? column.stamp(data) : column.value(data));
        if (cell.dataset.stamp !== stamp) {
          cell.dataset.stamp = stamp;
          cell.replaceChildren(column.node(data));
        }
      } else setText(cell, column.text ? column.text(data) : String(column.value(data) ?? ''));
      const title = column.title?.(data);
      if (title && cell.title !== title) cell.title = title;
      if (column.share) cell.style.setProperty('--share', `${Math.round(100 * Math.max(0, Math.min(1, column.share(data) || 0)))}%`);
    });
  }

  function draw() {
    headings.forEach((heading, at) => {
      const sorted = columns[at].key === order.key;
      heading.setAttribute('aria-sort', sorted ? (order.down ? 'descending' : 'ascending') : 'none');
    });
    const column = columns.find((one) => one.key === order.key) ?? columns[0];
    const sign = order.down ? -1 : 1;
    const valued = rows.map((row) => ({ row, value: column.value(row), id: String(key(row)) }));
    valued.sort((a, b) => sign * compareValues(a.value, b.value) || (a.id < b.id ? -1 : 1));
    const drawn = valued.slice(0, most);
    const ids = new Set(drawn.map((one) => one.id));
    for (const [id, row] of kept) {
      if (!ids.has(id)) {
        row.remove();
        kept.delete(id);
      }
    }
    let previous = null;
    for (const { row: data, id } of drawn) {
      let row = kept.get(id);
      if (!row) {
        row = makeRow();
        kept.set(id, row);
      }
      fill(row, data);
      const place = previous ? previous.nextElementSibling : body.firstElementChild;
      // Moving an element takes its focus away: only what stands elsewhere is moved.
      if (place !== row) body.insertBefore(row, place);
      previous = row;
    }
    if (body.firstElementChild && !body.querySelector('tr[tabindex="0"]')) body.firstElementChild.tabIndex = 0;
    blank.hidden = rows.length > 0;
    element.firstElementChild.hidden = rows.length === 0;
    more.hidden = rows.length <= most;
    setText(more, `Show more of ${rows.length}`);
  }

  return {
    element,
    update(next) {
      rows = next;
      draw();
    },
  };
}
