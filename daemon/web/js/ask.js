// Asking the daemon, and what can come of it. The token is kept for this tab only, and goes in a header, never in a URL.

const KEPT = 'netsonde.token';
/** Milliseconds for an answer; an hour of many flows, through a slow tunnel, is given more. */
const PATIENCE = 15_000;

/** `kind`: `unauthorized`, `unreachable` or `refused` (with the status). */
export class ApiError extends Error {
  constructor(kind, message, status = 0) {
    super(message);
    this.kind = kind;
    this.status = status;
  }
}

/** Keeps the token for this tab, or lets go of it. */
export function keepToken(token) {
  if (token) sessionStorage.setItem(KEPT, token);
  else sessionStorage.removeItem(KEPT);
}

/** Whether there is one. */
export const hasToken = () => sessionStorage.getItem(KEPT) !== null;

/** The JSON that a path answers with. */
export async function get(path, patience = PATIENCE) {
  const token = sessionStorage.getItem(KEPT);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { headers, cache: 'no-store', signal: AbortSignal.timeout(patience) });
  } catch {
    throw new ApiError('unreachable', 'The daemon does not answer.');
  }
  if (response.status === 401) throw new ApiError('unauthorized', 'A token is needed.', 401);
  if (!response.ok) {
    const text = (await response.text().catch(() => '')).trim().slice(0, 300);
    throw new ApiError('refused', text || `The daemon answered ${response.status}.`, response.status);
  }
  try {
    return await response.json();
  } catch {
    throw new ApiError('unreachable', 'The answer of the daemon broke off.');
  }
}
