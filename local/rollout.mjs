// `npm run -s rollout -- watch ID` and the other verbs: rollouts of the running stack, from a terminal.

import { resolve } from 'node:path';
import { httpClient } from './lib/http.mjs';
import { misuse, readOptions, span, wholeNumber } from './lib/options.mjs';
import { isOver, row, view } from './lib/rollout-view.mjs';
import { STATE, runningStack } from './lib/stack-file.mjs';
import { Trouble, command } from './lib/trouble.mjs';

const HELP = `npm run -s rollout -- watch ID: draws a rollout as it goes: its stages, its devices, what it waits for
npm run -s rollout -- list: all rollouts, newest first
npm run -s rollout -- create --sku SKU --version VERSION: makes one, and prints its id
npm run -s rollout -- start|pause|resume|abort|advance ID: tells one what to do

ID may be "latest".

  --once            watch: prints it once
  --every LENGTH    watch: how often to ask, as 1s, 1m (1s)
  --stages LIST     create: PERCENT:LENGTH of each stage, the last without a length: 1:1h,10:4h,100 (the usual four)
  --rate N          create: triggers a minute
  --tag TAG         create: only devices with that tag
  --force           create: also to devices of a higher version; needs a reason
  --dry-run         create: only says who would be reached, and who is held back and why
  --reason TEXT     why, for the audit log; pause, resume, abort and advance need one
  --as EMAIL        who asks (rollout@localhost)
  --state DIR       the state of the stack that is meant (.local/)
  --help            this

Into a file or a pipe, watch writes what there is to see whenever that changes. It ends when nothing will change any more, with
status 0 if the rollout completed and 1 if it was aborted.
`;

const string = { type: 'string' };
const boolean = { type: 'boolean' };
const USAGE = {
  text: HELP,
  positionals: true,
  options: {
    ...{ sku: string, version: string, stages: string, rate: string, tag: string, reason: string, state: string },
    ...{ once: boolean, force: boolean, 'dry-run': boolean },
    every: { ...string, default: '1s' },
    as: { ...string, default: 'rollout@localhost' },
  },
};
const TOKEN_SECONDS = 3600;

await command(async () => {
  const { values, positionals, help } = readOptions(USAGE);
  if (help) return undefined;
  const [verb, ...rest] = positionals;
  const isCommand = ['start', 'pause', 'resume', 'abort', 'advance'].includes(verb);
  const run = isCommand ? tell : { watch, list, create }[verb];
  const wanted = isCommand || verb === 'watch' ? 1 : 0;
  if (!run) throw misuse(`say watch, list, create, start, pause, resume, abort or advance, not "${verb ?? ''}"`, HELP);
  if (rest.length !== wanted) throw misuse(wanted === 1 ? `${verb} wants the id of one rollout` : `${verb} wants no id`, HELP);
  const { ports } = await runningStack(values.state ? resolve(values.state) : STATE);
  const clients = { api: httpClient({ port: ports.http }), idp: httpClient({ port: ports.idp }) };
  try {
    return await run(asker(clients, values.as), values, { verb, id: rest[0] });
  } finally {
    clients.api.close();
    clients.idp.close();
  }
});

/** Asks the API as an operator, whose token is renewed when it has run out; a refusal is told in the API's words. */
function asker({ api, idp }, email) {
  let token;
  return async (method, path, body) => {
    for (let fresh = token === undefined; ; fresh = true) {
      if (fresh) {
        const answer = await idp('POST', '/token', { host: 'identity.localhost', body: { email, ttl: TOKEN_SECONDS } });
        if (answer.status !== 200) throw new Trouble(`the identity provider answers ${answer.status}: ${answer.text}`);
        token = answer.json.token;
      }
      const answer = await api(method, path, { host: 'ota.localhost', token, body });
      if (answer.status === 401 && !fresh) continue;
      if (answer.status >= 300) throw refusal(answer);
      return answer.json;
    }
  };
}

/** An answer that is a problem document, as a trouble with its status. */
function refusal({ status, json, text }) {
  const faults = (json?.errors ?? []).map(({ pointer, detail }) => `${pointer}: ${detail}`);
  const said = `${status} ${json?.title ?? text}${json?.detail ? `: ${json.detail}` : ''}`;
  return Object.assign(new Trouble(said, faults), { status });
}

async function idOf(ask, id) {
  if (id !== 'latest') return encodeURIComponent(id);
  const { items } = await ask('GET', '/admin/rollouts?limit=1');
  if (items.length === 0) throw new Trouble('there are no rollouts', ['npm run -s rollout -- create --help']);
  return items[0].rollout_id;
}

async function list(ask) {
  for (let cursor; ; ) {
    const query = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const { items, next_cursor } = await ask('GET', `/admin/rollouts?limit=200${query}`);
    process.stdout.write(items.map((item) => `${row(item)}\n`).join(''));
    if (next_cursor === null || next_cursor === undefined) return;
    cursor = next_cursor;
  }
}

async function create(ask, values) {
  const { sku, version, reason, force, tag } = values;
  if (sku === undefined || version === undefined) throw misuse('create wants --sku and --version', HELP);
  const rate = values.rate === undefined ? undefined : wholeNumber(values, 'rate', HELP, 1, 10_000);
  const selector = tag === undefined ? undefined : { tags: [tag] };
  const body = { sku, version, stages: stagesOf(values.stages), rate_per_minute: rate, force, reason, selector };
  if (!values['dry-run']) {
    process.stdout.write(`${(await ask('POST', '/admin/rollouts', body)).rollout_id}\n`);
    return;
  }
  const { stages, held_back } = await ask('POST', '/admin/rollouts?dry_run=true', body);
  const lines = stages.map(({ percent, devices }, index) => `stage ${index + 1}, ${percent} %: ${devices} devices`);
  lines.push(...Object.entries(held_back).map(([why, { devices }]) => `held back, ${why.replaceAll('_', ' ')}: ${devices}`));
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** `1:1h,10:4h,100` as the API takes it. */
function stagesOf(text) {
  return text?.split(',').map((stage) => {
    const [, percent, length] = /^(\d{1,3})(?::(\w+))?$/.exec(stage) ?? [];
    if (percent === undefined) throw misuse(`--stages wants PERCENT:LENGTH,…, not "${stage}"`, HELP);
    return { percent: Number(percent), duration_sec: length && span({ stages: length }, 'stages', HELP) };
  });
}

async function tell(ask, { reason }, { verb, id }) {
  const body = verb === 'start' && reason === undefined ? undefined : { reason };
  process.stdout.write(`${row(await ask('POST', `/admin/rollouts/${await idOf(ask, id)}/${verb}`, body))}\n`);
}

async function watch(ask, values, { id }) {
  const every = span(values, 'every', HELP) * 1000;
  const path = `/admin/rollouts/${await idOf(ask, id)}`;
  const stop = interrupted();
  const screen = process.stdout.isTTY && !values.once ? terminal(process.stdout) : paper(process.stdout);
  try {
    for (;;) {
      const rollout = await patiently(() => ask('GET', path), screen);
      if (rollout) screen.show(rollout);
      if (values.once) return undefined;
      if (rollout && isOver(rollout)) return rollout.status === 'COMPLETED' ? 0 : 1;
      if (await stop.within(every)) return 130;
    }
  } finally {
    screen.leave();
    stop.forget();
  }
}

/** What `ask` answers; nothing while the stack is not to be reached, which may pass. A refusal will not. */
async function patiently(ask, screen) {
  try {
    return await ask();
  } catch (error) {
    // A connection that failed is the cause of such an error (local/lib/http.mjs).
    if (error.status !== 503 && error.cause === undefined) throw error;
    screen.note(error.message);
    return undefined;
  }
}

/** Ctrl-C and `kill`, as something to wait for. */
function interrupted() {
  let tell;
  const asked = new Promise((done) => {
    tell = () => done(true);
  });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.once(signal, tell);
  return {
    /** Whether it came within so many milliseconds. */
    within(millis) {
      let timer;
      const time = new Promise((done) => {
        timer = setTimeout(() => done(false), millis);
      });
      return Promise.race([asked, time]).finally(() => clearTimeout(timer));
    },
    forget() {
      for (const signal of signals) process.off(signal, tell);
    },
  };
}

/** A terminal, on which each view replaces the one before. */
function terminal(out) {
  let height = 0;
  const draw = (lines) => {
    const fit = lines.slice(0, Math.max(1, (out.rows ?? 24) - 1));
    const up = height > 0 ? `\x1b[${height}A` : '';
    // Each line ends by clearing what is right of it, the last one what is below; none is wrapped, which would make two of it.
    out.write(`\x1b[?25l\x1b[?7l${up}\r${fit.map((line) => `${line}\x1b[K\n`).join('')}\x1b[J`);
    height = fit.length;
  };
  let latest = [];
  return {
    show(rollout) {
      const color = !process.env.NO_COLOR;
      latest = view(rollout, { now: Date.now(), width: Math.min(out.columns ?? 80, 120), color });
      draw(latest);
    },
    note: (text) => draw([...latest, text.slice(0, (out.columns ?? 80) - 1)]),
    leave: () => out.write('\x1b[?7h\x1b[?25h'),
  };
}

/** Anything else: a view whenever something has changed, under the time. */
function paper(out) {
  let before;
  const write = (text) => {
    if (text === before) return;
    before = text;
    out.write(`${new Date().toISOString()}\n${text}\n\n`);
  };
  return {
    show: (rollout) => write(view(rollout, { now: Date.now(), clock: false }).join('\n')),
    note: write,
    leave() {},
  };
}
