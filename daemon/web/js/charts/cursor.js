// One moment, pointed at in one chart and marked in all.

const followers = new Set();

/** Calls with a time in milliseconds, or `null`; returns how to stop. */
export function follow(follower) {
  followers.add(follower);
  return () => followers.delete(follower);
}

/** Points at a time. */
export function point(time) {
  for (const follower of followers) follower(time);
}

/**
 * Lets a chart be pointed at by mouse and by arrow keys. `at(x)` gives the index of a place, `count()` how many there
 * are, `show(index)` and `hide()` draw.
 */
export function pointing(element, { at, count, show, hide }) {
  let index = -1;
  const move = (next) => {
    index = Math.max(0, Math.min(count() - 1, next));
    if (count() > 0) show(index);
  };
  const leave = () => {
    index = -1;
    hide();
  };
  element.addEventListener('pointermove', (event) => {
    const { left } = element.getBoundingClientRect();
    const next = at(event.clientX - left);
    if (next === null) leave();
    else move(next);
  });
  element.addEventListener('pointerleave', leave);
  element.addEventListener('blur', leave);
  element.addEventListener('keydown', (event) => {
    const from = index < 0 ? count() : index;
    const next = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: count() - 1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      move(next);
    } else if (event.key === 'Escape' && index >= 0) {
      event.stopPropagation();
      leave();
    }
  });
}
