// Elements, made in one call. Texts go in as texts: nothing of what the daemon tells is ever read as HTML.

const SVG = 'http://www.w3.org/2000/svg';

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    // By the object model: the page's policy forbids style attributes.
    else if (name === 'style') for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element with attributes, listeners (`onclick`) and children. */
export const h = (name, attributes, ...children) => build(document.createElement(name), attributes, children);

/** An SVG element likewise. */
export const s = (name, attributes, ...children) => build(document.createElementNS(SVG, name), attributes, children);

/** Sets a text where it differs: what is selected stays selected. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A card: a titled part of a view. `note` stands at its right. */
export function card(title, { note = null, wide = false, id = undefined } = {}, ...children) {
  const heading = h('h2', {}, title);
  return h('section', { class: wide ? 'card wide' : 'card', 'aria-label': title, id }, h('header', {}, heading, note), ...children);
}

/** What stands where there is nothing to show: what is missing, and what would bring it. */
export const nothing = (title, text) => h('div', { class: 'nothing' }, h('strong', {}, title), h('p', {}, text));

/** A row of choices of which one holds. */
export function choice(label, options, onchoose) {
  const buttons = options.map(([value, text, hint]) =>
    h('button', { type: 'button', 'data-value': value, title: hint, onclick: () => onchoose(value) }, text),
  );
  const element = h('div', { class: 'choice', role: 'group', 'aria-label': label }, buttons);
  return {
    element,
    update(chosen) {
      for (const button of buttons) button.setAttribute('aria-pressed', String(button.dataset.value === String(chosen)));
    },
  };
}

/** Calls with the width of an element whenever it changes. */
export function onWidth(element, change) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    const next = Math.floor(entry.contentRect.width);
    if (next !== width) {
      width = next;
      if (width > 0) change(width);
    }
  }).observe(element);
}
