// Filters: how they are written, and what passes them.
//
// A filter is a field and a text: alternatives parted by commas, each of which may begin with "!" (none of these) and
// hold "*". Without "*" a text matches anywhere, in any case. Ports are numbers and ranges.

/** The fields, in the order in which they are shown. */
export const FIELDS = ['binary', 'unit', 'container', 'user', 'remote', 'port'];

const PORT = /^(\d{1,5})(?:-(\d{1,5}))?$/;

function portTest(text) {
  const found = PORT.exec(text);
  if (!found) return () => false;
  const low = Number(found[1]);
  const high = found[2] === undefined ? low : Number(found[2]);
  return (value) => Number(value) >= low && Number(value) <= high;
}

function textTest(text) {
  const wanted = text.toLowerCase();
  if (!wanted.includes('*')) return (value) => value.toLowerCase().includes(wanted);
  const escaped = wanted.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const pattern = new RegExp(`^${escaped.join('.*')}$`, 's');
  return (value) => pattern.test(value.toLowerCase());
}

function fieldTest(field, text) {
  const parts = text.split(',').map((part) => part.trim()).filter((part) => part !== '' && part !== '!');
  const make = field === 'port' ? portTest : textTest;
  const wanted = parts.filter((part) => !part.startsWith('!')).map(make);
  const unwanted = parts.filter((part) => part.startsWith('!')).map((part) => make(part.slice(1)));
  return (values) =>
    !unwanted.some((test) => values.some(test)) && (wanted.length === 0 || wanted.some((test) => values.some(test)));
}

/**
 * A test of facets. A field that a kind of thing cannot have is `null` in its facets, and is left aside; one that it
 * has no value of does not pass.
 */
export function compile(filters) {
  const tests = FIELDS.filter((field) => filters[field]).map((field) => [field, fieldTest(field, filters[field])]);
  if (tests.length === 0) return () => true;
  return (facets) => tests.every(([field, test]) => facets[field] === null || test(facets[field]));
}

/** Whether anything is filtered. */
export const isEmpty = (filters) => FIELDS.every((field) => !filters[field]);

/** What was typed, such as `port:443`; a text without a field is a binary's. */
export function parseTyped(typed) {
  const text = typed.trim();
  const found = /^([a-z]+):\s*(.*)$/s.exec(text);
  if (found && FIELDS.includes(found[1])) return found[2] ? { field: found[1], value: found[2] } : null;
  return text ? { field: 'binary', value: text } : null;
}

/**
 * What could be meant: values that hold the text, those that come first in `values` first.
 * `values` has an array of texts for each field.
 */
export function suggest(typed, values, most = 9) {
  const found = /^([a-z]+):\s*(.*)$/s.exec(typed.trim());
  const fields = found && FIELDS.includes(found[1]) ? [found[1]] : FIELDS;
  const text = (fields.length === 1 ? found[2] : typed.trim()).toLowerCase();
  const matches = fields.map((field) =>
    (values[field] ?? []).filter((value) => value.toLowerCase().includes(text)).map((value) => ({ field, value })),
  );
  // In turn, so that one field with many values leaves room for others.
  const all = [];
  for (let turn = 0; all.length < most && matches.some((list) => list.length > turn); turn += 1) {
    for (const list of matches) if (list.length > turn && all.length < most) all.push(list[turn]);
  }
  return all.sort((a, b) => FIELDS.indexOf(a.field) - FIELDS.indexOf(b.field));
}
