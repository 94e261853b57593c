// Light or dark: as the system prefers, unless the reader has chosen.

const KEPT = 'netsonde.theme';
const prefersDark = matchMedia('(prefers-color-scheme: dark)');
const listeners = [];

const chosen = () => {
  const theme = localStorage.getItem(KEPT);
  return theme === 'light' || theme === 'dark' ? theme : null;
};

const apply = () => {
  document.documentElement.dataset.theme = chosen() ?? (prefersDark.matches ? 'dark' : 'light');
  for (const listener of listeners) listener();
};

/** Calls whenever it changes: canvases have to be drawn anew. */
export const onTheme = (listener) => listeners.push(listener);

/** Whether it is dark by now. */
export const isDark = () => document.documentElement.dataset.theme === 'dark';

/** The other one. What the system prefers needs no memory. */
export function switchTheme() {
  const next = isDark() ? 'light' : 'dark';
  if (next === (prefersDark.matches ? 'dark' : 'light')) localStorage.removeItem(KEPT);
  else localStorage.setItem(KEPT, next);
  apply();
}

prefersDark.addEventListener('change', apply);
apply();
