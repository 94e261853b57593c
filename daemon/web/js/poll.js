// When to ask for what: intervals as they end, the rest every few seconds, each by itself, and nothing while hidden.

/**
 * Calls `ask` again and again, `pause()` milliseconds after its last end, at once when the page comes back into view or
 * `now()` is called. A pause grows while `ask` fails.
 */
export function repeatedly(ask, pause) {
  let timer = 0;
  let running = false;
  let failures = 0;
  let again = false;
  const run = async () => {
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    running = true;
    const fine = await ask();
    running = false;
    failures = fine ? 0 : failures + 1;
    if (again) {
      again = false;
      run();
      return;
    }
    const wait = pause() * Math.min(8, 2 ** failures);
    if (!document.hidden) timer = setTimeout(run, Math.max(500, Math.min(wait, 30_000)));
  };
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) run();
  });
  run();
  return { now: run };
}
