// The line of filters: what holds, as chips, and a field that suggests what is there.

import { h, setText } from './dom.js';
import { shown } from './facets.js';
import { FIELDS, parseTyped, suggest } from './filters.js';

/** `values()` gives what can be suggested, by field; `change(field, text)` sets a filter or, with '', takes it away. */
export function filterBar({ values, change, clear }) {
  const chips = h('ul', { class: 'chips', 'aria-label': 'Filters that hold' });
  const list = h('ul', { id: 'suggestions', role: 'listbox', 'aria-label': 'Suggestions', hidden: true });
  const input = h('input', {
    type: 'text', id: 'filter', role: 'combobox', 'aria-expanded': 'false', 'aria-controls': 'suggestions', 'aria-autocomplete': 'list',
    'aria-label': 'Filter by binary, unit, container, user, remote or port', placeholder: 'Filter: name, or port:443, remote:*.example', autocomplete: 'off', spellcheck: 'false',
  });
  const all = h('button', { type: 'button', class: 'quiet', onclick: clear }, 'Clear');
  const element = h('div', { class: 'filterbar', role: 'search' }, chips, h('div', { class: 'combo' }, input, h('kbd', { 'aria-hidden': 'true' }, '/'), list), all);
  let options = [];
  let active = -1;

  function open() {
    const typed = input.value;
    const field = FIELDS.find((one) => typed.trim() === `${one}:`);
    options = suggest(typed, values()).map((one) => ({ ...one, text: one.value }));
    const parsed = parseTyped(typed);
    // As it was typed, last: it may hold more than one suggestion does.
    if (parsed && !field && !options.some((one) => one.field === parsed.field && one.value === parsed.value)) options.push({ ...parsed, typed: true });
    if (!typed.trim()) options = options.slice(0, 9);
    active = -1;
    draw();
  }

  function draw() {
    list.hidden = options.length === 0;
    input.setAttribute('aria-expanded', String(options.length > 0));
    list.replaceChildren(...options.map((one, at) => h('li', {
      role: 'option', id: `suggestion-${at}`, 'aria-selected': String(at === active), title: one.value,
      onpointerdown: (event) => { event.preventDefault(); take(one); },
    }, h('em', {}, one.field), h('span', {}, one.typed ? `contains “${one.value}”` : shown(one.field, one.value)), one.field === 'binary' && one.value.startsWith('/') ? h('small', {}, one.value) : null)));
    if (active >= 0) input.setAttribute('aria-activedescendant', `suggestion-${active}`);
    else input.removeAttribute('aria-activedescendant');
  }

  function close() {
    options = [];
    draw();
  }

  function take({ field, value }) {
    input.value = '';
    // So that the next key is a view's again.
    input.blur();
    change(field, value);
  }

  input.addEventListener('focus', open);
  input.addEventListener('input', open);
  input.addEventListener('blur', close);
  input.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (options.length === 0) open();
      const step = event.key === 'ArrowDown' ? 1 : -1;
      active = options.length === 0 ? -1 : (active + step + options.length + (active < 0 && step < 0 ? 1 : 0)) % options.length;
      draw();
    } else if (event.key === 'Enter') {
      event.preventDefault();
      const chosen = options[active] ?? parseTyped(input.value);
      if (chosen) take(chosen);
      else input.blur();
    } else if (event.key === 'Escape') {
      event.stopPropagation();
      if (options.length > 0) close();
      else input.blur();
    } else if (event.key === 'Backspace' && input.value === '') {
      const last = chips.lastElementChild?.dataset.field;
      if (last) change(last, '');
    }
  });

  return {
    element,
    focus: () => input.focus(),
    update(filters) {
      const held = FIELDS.filter((field) => filters[field]);
      const stamp = JSON.stringify(held.map((field) => [field, filters[field]]));
      if (chips.dataset.stamp !== stamp) {
        chips.dataset.stamp = stamp;
        chips.replaceChildren(...held.map((field) => h('li', { 'data-field': field, title: filters[field] },
          h('em', {}, field), h('span', {}, shown(field, filters[field])),
          h('button', { type: 'button', 'aria-label': `Remove the filter of ${field}`, onclick: () => change(field, '') }, '×'))));
      }
      all.hidden = held.length < 2;
      setText(all, 'Clear');
    },
  };
}
