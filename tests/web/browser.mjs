// A Chromium for the page: a browser that asks nobody but the daemon, and an ear for everything that goes wrong in it.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const EXECUTABLE = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--disable-default-apps', '--disable-dev-shm-usage', '--hide-scrollbars', '--font-render-hinting=none',
];

/** Opens an empty profile; `close` takes it away. `options` are those of a Playwright context. */
export async function open(options = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'netsonde-chromium-'));
  const context = await chromium.launchPersistentContext(profile, { executablePath: EXECUTABLE, headless: true, args: FLAGS, viewport: { width: 1440, height: 900 }, ...options });
  const page = context.pages()[0] ?? (await context.newPage());
  return {
    context,
    page,
    close: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/**
 * Hears of console errors, exceptions, requests that failed and requests to anybody but `origin`. `problems()` gives
 * what was heard; answers with one of the codes in `expected` are no problem.
 */
export function listen(page, origin, expected = []) {
  const heard = [];
  let asked = 0;
  page.on('console', (message) => {
    const isExpected = expected.some((code) => message.text().includes(`status of ${code}`));
    if (['error', 'warning'].includes(message.type()) && !isExpected) heard.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => heard.push(`exception: ${error.stack}`));
  page.on('request', (request) => {
    asked += 1;
    if (new URL(request.url()).origin !== origin) heard.push(`asks another host: ${request.url()}`);
  });
  page.on('requestfailed', (request) => heard.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on('response', (response) => {
    if (response.status() >= 400 && !expected.includes(response.status())) heard.push(`${response.status()}: ${response.url()}`);
  });
  return { problems: () => heard, asked: () => asked };
}
