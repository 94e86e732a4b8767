// A real browser, without a screen: Debian's Chromium, or whichever of its kind is there, by its own protocol over a pipe.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureBrowser } from '../../../tools/lib/browser.mjs';

/** What takes longer hangs. */
const PATIENCE_MS = 30_000;

/** Starts it. */
export async function startBrowser() {
  const program = await ensureBrowser();
  const profile = mkdtempSync(join(tmpdir(), 'rs1-browser-'));
  const args = [
    ...['--headless=new', '--remote-debugging-pipe', `--user-data-dir=${profile}`, '--no-first-run', '--disable-gpu', '--hide-scrollbars'],
    ...['--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage', '--force-color-profile=srgb'],
    // Its sandbox wants what containers and root do not have; it looks at nothing but our own page.
    '--no-sandbox',
    'about:blank',
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (said = (said + text).slice(-4_000)));
  const [, , , input, output] = child.stdio;
  const waiting = new Map();
  const listeners = new Set();
  const ended = new Promise((done) => child.once('exit', done));
  ended.then((code) => {
    for (const { fail } of waiting.values()) fail(new Error(`the browser ended with ${code}: ${said}`));
    waiting.clear();
  });
  input.on('error', () => {});
  let rest = '';
  output.setEncoding('utf8').on('data', (text) => {
    const messages = (rest + text).split('\0');
    rest = messages.pop();
    for (const message of messages.map((each) => JSON.parse(each))) {
      if (message.id === undefined) {
        for (const listener of listeners) listener(message);
        continue;
      }
      const { done, fail, timer } = waiting.get(message.id) ?? {};
      waiting.delete(message.id);
      clearTimeout(timer);
      if (message.error) fail?.(new Error(message.error.message));
      else done?.(message.result);
    }
  });
  let last = 0;
  const send = (method, params = {}, sessionId = undefined) =>
    new Promise((done, fail) => {
      const id = (last += 1);
      const timer = setTimeout(() => fail(new Error(`the browser does not answer ${method}: ${said}`)), PATIENCE_MS);
      waiting.set(id, { done, fail, timer });
      input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });

  return {
    /**
     * Opens a page in a window of that size, and waits until it is there.
     * @param {string} url
     * @param {{ width: number, height: number, scheme: 'light' | 'dark', scripts?: boolean }} window
     */
    async open(url, { width, height, scheme, scripts = true }) {
      const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
      const call = (method, params) => send(method, params, sessionId);
      const [errors, requests] = [[], []];
      let loaded;
      const there = new Promise((done) => (loaded = done));
      const listener = ({ method, params, sessionId: from }) => {
        if (from !== sessionId) return;
        if (method === 'Runtime.exceptionThrown') errors.push(params.exceptionDetails.text);
        if (method === 'Runtime.consoleAPICalled' && ['error', 'warning'].includes(params.type)) errors.push(JSON.stringify(params.args));
        if (method === 'Log.entryAdded') errors.push(`${params.entry.text} ${params.entry.url ?? ''}`);
        if (method === 'Network.requestWillBeSent') requests.push(params.request.url);
        if (method === 'Page.loadEventFired') loaded();
      };
      listeners.add(listener);
      for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await call(`${domain}.enable`);
      await call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 600 });
      await call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
      if (!scripts) await call('Emulation.setScriptExecutionDisabled', { value: true });
      await call('Page.navigate', { url });
      await there;
      return {
        /** What it complained of, and what it asked the network for. */
        errors,
        requests,
        /** The value of an expression, or of what it promises. @param {string} expression */
        async evaluate(expression) {
          const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
          if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
          return result.value;
        },
        /** A PNG of all of it. */
        async screenshot() {
          const { data } = await call('Page.captureScreenshot', { captureBeyondViewport: true });
          return Buffer.from(data, 'base64');
        },
        async close() {
          listeners.delete(listener);
          await send('Target.closeTarget', { targetId });
        },
      };
    },
    async stop() {
      // Asked, it waits for its own children; killed, it leaves them behind, and they go on writing into what is to be removed.
      send('Browser.close').catch(() => {});
      const enough = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
      await ended;
      clearTimeout(enough);
      rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}
