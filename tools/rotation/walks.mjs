// How each secret is replaced: the steps, in their order, and what each of them checks. A step may be done a second time: who is
// cut off does not know whether the last one was.
//
// What is always so: whoever verifies is given both secrets before anyone uses the new one; the old one is dropped when nobody
// uses it any more; and that it is refused from then on is tried.

import { createHmac, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SetupError } from '../lib/say.mjs';
import { recordId } from '../lib/ulid.mjs';
import { rewrap } from './device-keys.mjs';
import { statement } from './sql.mjs';

/** What a step throws when somebody has to do something first. */
export class Waits extends Error {
  /** @param {string[]} lines what */
  constructor(lines) {
    super(lines.join('\n'));
    this.lines = lines;
  }
}

/**
 * @typedef {object} Walk what the steps work with
 * @property {string} name
 * @property {import('./journal.mjs').Journal} journal
 * @property {import('./local.mjs').Place} place
 * @property {{ present?: string, value?: string, done: boolean, wait?: number, quiet?: number }} options
 * @property {(line: string) => void} say
 * @property {(ms: number) => Promise<void>} sleep
 *
 * @typedef {object} Step
 * @property {string} id
 * @property {string} says what it does
 * @property {(walk: Walk) => Promise<void>} run
 *
 * @typedef {object} Rotation
 * @property {string} interrupts what people or devices notice
 * @property {Step[]} steps
 */

const text = () => randomBytes(32).toString('base64url');
const b64 = (value) => Buffer.from(value).toString('base64url');
const hmac = (key, message) => createHmac('sha256', key).update(message).digest();

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

// -- What is common to the walks -----------------------------------------------------------------------------------------

/** Looks until it is so; `what` is for the person who waits. */
async function until({ sleep }, what, look, { within = MINUTE, every = SECOND } = {}) {
  const deadline = Date.now() + within;
  let last;
  for (;;) {
    last = await look();
    if (last === true) return;
    if (Date.now() >= deadline) throw new SetupError(`waited ${within / SECOND} s for ${what}; ${last}`, { advice: ['run the same command again to go on'] });
    await sleep(every);
  }
}

/** The secret in a file: one line, whatever is around it. @param {string} path */
export function fromFile(path) {
  const lines = readFileSync(path, 'utf8').trim();
  // The broker's own file may be given as it is.
  return /^connectors\.http\.optic\.headers\.x-webhook-secret\s*=\s*"(.*)"$/.exec(lines)?.[1] ?? lines;
}

/** The present value is found and tried, and a new one made. */
const begin = (make, isGood) => ({
  id: 'begin',
  says: 'the present secret is tried, and a new one made',
  async run({ name, journal, place, options }) {
    const old = options.present ? fromFile(options.present) : await place.present(name);
    if (!old) {
      throw new SetupError(`the present ${name} is not known here, and Cloudflare tells no secret back`, {
        advice: ['--present FILE is a file with it, of mode 0600: the broker has WEBHOOK_SECRET, the secret store the others'],
      });
    }
    await place.ready();
    if (isGood && !(await isGood(place, old))) {
      throw new SetupError(`the ${name} that was given is not the present one: the worker refuses it`, { advice: ['nothing was changed'] });
    }
    journal.entry.values = { old, new: make(old) };
  },
});

/** Workers get both. `workers` in the order in which they need it: those that verify before those that sign. */
const both = (workers) => ({
  id: 'both',
  says: `NAME_PREVIOUS := the present one, NAME := the new one: ${workers.join(', then ')}`,
  run: ({ name, journal, place }) => place.put(workers, { [`${name}_PREVIOUS`]: journal.entry.values.old, [name]: journal.entry.values.new }),
});

/** Each is tried at the real thing. */
const accepted = (isGood) => ({
  id: 'accepted',
  says: 'the new one and the old one are tried: both are accepted',
  async run(walk) {
    const { journal, place } = walk;
    for (const which of ['new', 'old']) {
      await until(walk, `the ${which} one to be accepted`, async () => (await isGood(place, journal.entry.values[which])) || 'it is refused');
    }
  },
});

/** Rows of the log about this secret since the rotation began. */
const loggedActs = async ({ name, journal, place }) => {
  const rows = await place.query(statement('secret_acts'), [name, Date.parse(journal.entry.begun)]);
  return rows.map(({ detail }) => JSON.parse(detail).act);
};

const noted = (act) => ({
  id: act,
  says: `it is noted that it was ${act}, in the table that the check reads and in the security log`,
  async run(walk) {
    if (!(await loggedActs(walk)).includes(act)) await note(walk.place.query, walk.name, act);
    await until(walk, `secret_rotated ${act} in the security log`, async () => (await loggedActs(walk)).includes(act) || 'it is not there');
  },
});

/** Until whatever was made with the old one has expired of itself. */
const expires = (ms, what) => ({
  id: 'expired',
  says: `${what} expire: ${ms / MINUTE} minutes after the new one was accepted`,
  async run({ journal, options, say, sleep }) {
    const left = journal.doneAt('accepted') + (options.wait ?? ms) - Date.now();
    if (left <= 0) return;
    say(`until ${new Date(Date.now() + left).toISOString().slice(11, 19)} UTC, ${Math.ceil(left / SECOND)} s`);
    await sleep(left);
  },
});

const drop = (workers) => ({
  id: 'drop-previous',
  says: `NAME_PREVIOUS is deleted: ${workers.join(', ')}`,
  run: ({ name, place }) => place.put(workers, { [`${name}_PREVIOUS`]: null }),
});

const refused = (isGood) => ({
  id: 'refused',
  says: 'the old one is tried: it is refused, and the new one is not',
  async run(walk) {
    const { journal, place } = walk;
    await until(walk, 'the old one to be refused', async () => !(await isGood(place, journal.entry.values.old)) || 'it is accepted');
    await until(walk, 'the new one to be accepted', async () => (await isGood(place, journal.entry.values.new)) || 'it is refused');
  },
});

/**
 * Writes down what was done with a secret: in the log first, so that nothing is noted without a trace.
 * @param {(sql: string, params: unknown[]) => Promise<object[]>} query
 */
export async function note(query, name, act) {
  const at = Date.now();
  await query(statement('secret_rotation_log'), [recordId('sec', at), 'secret_rotated', 'info', name, JSON.stringify({ act }), at]);
  await query(statement('secret_rotation_note'), [name, act, at]);
  return at;
}

// -- The webhook's secret ------------------------------------------------------------------------------------------------

/** A list is no question, but who asks is looked at first. */
async function isWebhook(place, secret) {
  const { status } = await place.ask('telemetry', 'POST', '/webhook/mqtt-acl', { headers: { 'x-webhook-secret': secret }, body: [] });
  if (![400, 401].includes(status)) throw new SetupError(`POST /webhook/mqtt-acl answered ${status}, where 400 or 401 is expected`);
  return status === 400;
}

/** Whoever calls with the old one is in the security log, by address; silence shows something only while somebody calls. */
async function brokerHasIt(walk) {
  const { journal, place, options, say } = walk;
  const since = journal.doneAt('broker');
  const quiet = options.quiet ?? place.quietMs;
  let told;
  await until(
    walk,
    'the broker to use the new one',
    async () => {
      const from = Math.max(since, Date.now() - quiet);
      const old = await place.query(statement('secret_outdated'), [from]);
      const [{ online, heard }] = await place.query(statement('devices_heard'), [since]);
      const state =
        old.length > 0
          ? `the old one came from ${old.map(({ subject }) => subject).join(', ')}`
          : Date.now() - since < quiet
            ? `nobody used the old one so far; ${Math.ceil((since + quiet - Date.now()) / SECOND)} s to go`
            : online > 0 && heard === 0
              ? 'no device has been heard of since'
              : true;
      if (state !== true && state.replace(/\d+ s/, '') !== told?.replace(/\d+ s/, '')) say((told = state));
      if (state === true) say(`${heard} devices were heard of, and nobody used the old one`);
      return state;
    },
    { within: Math.max(60 * MINUTE, 2 * quiet), every: Math.min(place.pollMs, quiet || SECOND) },
  );
}

const WEBHOOK_SECRET = {
  interrupts: 'nothing. The broker, in production, is restarted or reloaded node by node',
  steps: [
    begin(text, isWebhook),
    both(['telemetry']),
    accepted(isWebhook),
    noted('replaced'),
    {
      id: 'broker',
      says: 'the broker is given the new one: webhook-secret.hocon, node by node',
      async run({ journal, place, options }) {
        const line = `connectors.http.optic.headers.x-webhook-secret = "${journal.entry.values.new}"\n`;
        if (place.tellBroker) return place.tellBroker();
        if (options.done) return undefined;
        const path = journal.leave('webhook-secret.hocon', line);
        throw new Waits([
          `put ${path} on every node of the broker, as webhook-secret.hocon beside emqx.conf, mode 0600`,
          'and restart the nodes one after the other, or `emqx ctl conf reload --merge` on each (emqx/README.md, Rotation)',
        ]);
      },
    },
    { id: 'arrives', says: 'requests come, and none of them with the old one', run: brokerHasIt },
    drop(['telemetry']),
    refused(isWebhook),
    {
      id: 'logged',
      says: 'that refusal is in the security log, and people are told of it: it is the drill of that alarm',
      run: (walk) =>
        until(walk, 'bad_webhook_secret in the security log', async () => {
          const [{ n }] = await walk.place.query(statement('secret_refused'), [walk.journal.doneAt('drop-previous')]);
          return n > 0 || 'it is not there';
        }),
    },
    noted('dropped'),
  ],
};

// -- What signs links and people's tokens --------------------------------------------------------------------------------

/** A link that expired long ago: who made it is looked at before that. */
async function isSigning(place, key) {
  const path = '/firmware/rs1_pro/0.0.0.bin';
  const fields = [`device=${'0'.repeat(32)}`, 'expires=1', 'kid=00000000', 'rollout=rol-none'];
  const signature = b64(hmac(key, ['GET', path, ...fields].join('\n')));
  const { status, json } = await place.ask('ota', 'GET', `${path}?${fields.join('&')}&sig=${signature}`);
  const said = String(json?.type).split(/[/:]/).at(-1);
  if (status !== 403 || !['bad-signature', 'url-expired'].includes(said)) {
    throw new SetupError(`a link that expired long ago was answered ${status} ${said}, where 403 is expected`);
  }
  return said === 'url-expired';
}

const SIGNING_KEY = {
  interrupts: 'nothing: links made with the old key stay good for the quarter of an hour that they last',
  steps: [begin(text, isSigning), both(['ota']), accepted(isSigning), noted('replaced'), expires(15 * MINUTE, 'links of the old key'), drop(['ota']), refused(isSigning), noted('dropped')],
};

/** A token of somebody who does not exist, good for a minute: they have no devices, and their token is as good as anybody's. */
async function isToken(place, secret) {
  const now = Math.floor(Date.now() / SECOND);
  const nobody = '00000000000000000000000000';
  const claims = { aud: 'rs1-api', sub: `usr-${nobody}`, sid: `ses-${nobody}`, iat: now, exp: now + 60 };
  const signed = `${b64('{"alg":"HS256","typ":"JWT"}')}.${b64(JSON.stringify(claims))}`;
  const headers = { authorization: `Bearer ${signed}.${b64(hmac(secret, signed))}` };
  const verdicts = [];
  // The first is judged by device-api, the second, which it passes on, by history.
  for (const [path, good] of [
    ['/api/devices', 200],
    [`/api/devices/${'0'.repeat(32)}/alerts`, 404],
  ]) {
    const { status } = await place.ask('device-api', 'GET', path, { headers });
    if (![good, 401].includes(status)) throw new SetupError(`GET ${path} answered ${status}, where ${good} or 401 is expected`);
    verdicts.push(status === good);
  }
  return verdicts.every(Boolean) ? true : verdicts.some(Boolean) ? 'by one of the two workers only' : false;
}
const isAnyToken = async (place, secret) => (await isToken(place, secret)) !== false;
const isWholeToken = async (place, secret) => (await isToken(place, secret)) === true;

const JWT_SECRET = {
  interrupts: 'nothing: access tokens of the old secret stay good for the five minutes that they last, and sessions have nothing to do with it',
  steps: [
    begin(text, isWholeToken),
    // History first: it would refuse what device-api signs with a secret that it has not got yet.
    both(['history', 'device-api']),
    accepted(isWholeToken),
    noted('replaced'),
    expires(5 * MINUTE, 'access tokens of the old secret'),
    drop(['device-api', 'history']),
    refused(isAnyToken),
    noted('dropped'),
  ],
};

// -- What seals device keys ----------------------------------------------------------------------------------------------

const DEVICE_KEK = {
  interrupts: 'nothing: every sealed key is opened and sealed anew, row by row, while the workers open both',
  steps: [
    begin(
      () => randomBytes(32).toString('hex'),
      // One row tells whether it is the right one; there is nobody who could be asked.
      async (place, old) => (await rewrap(place.query, { from: old, to: old, most: 1, dry: true })).strange === 0,
    ),
    // Telemetry first: it could not open what device-api has sealed with a key that it has not got yet.
    both(['telemetry', 'device-api']),
    {
      id: 'accepted',
      says: 'the workers are well with both',
      run: async ({ place }) => {
        for (const worker of ['telemetry', 'device-api']) await place.isWell(worker);
      },
    },
    noted('replaced'),
    {
      id: 'rewrap',
      says: 'the key of every device is opened with the old one and sealed with the new one',
      async run({ journal, place, say }) {
        const { old, new: fresh } = journal.entry.values;
        const { sealed, already, strange } = await rewrap(place.query, { from: old, to: fresh });
        say(`${sealed} sealed anew, ${already} were already`);
        if (strange > 0) throw new SetupError(`${strange} keys open with neither`, { advice: ['nothing was dropped: look at those rows before you go on'] });
      },
    },
    {
      id: 'rewrapped',
      says: 'no key is left that needs the old one',
      async run({ journal, place }) {
        const { old, new: fresh } = journal.entry.values;
        const { sealed } = await rewrap(place.query, { from: old, to: fresh, dry: true });
        if (sealed > 0) throw new SetupError(`${sealed} keys are still sealed with the old one`, { advice: ['run the same command again'] });
      },
    },
    drop(['device-api', 'telemetry']),
    {
      id: 'kept',
      says: 'the old one is kept where the backups are read: their keys are sealed with it for 30 days more',
      async run({ journal, place, options }) {
        if (options.done || place.environment === 'local') return;
        const path = journal.leave('kek-of-backups', `${journal.entry.values.old}\n`);
        throw new Waits([`put what is in ${path} into the secret store, as the key of backups made until today; docs/runbook.md, "A secret", says what for`]);
      },
    },
    noted('dropped'),
  ],
};

// -- What others have given us, or are given -----------------------------------------------------------------------------

/** Calls the broker's API with a key; what it says of itself needs one. */
const isBrokerKey = async (place, pair) => (await place.emqx('/stats', pair)) === 200;

const EMQX_CALLERS = ['telemetry', 'device-api', 'ota', 'health'];
const EMQX_API_KEY = {
  interrupts: 'nothing: the broker knows both keys meanwhile',
  steps: [
    // Under a name of its own: the broker knows one secret a key.
    begin((old) => `${old.split(':')[0].replace(/-\d+$/, '')}-${Date.now()}:${text()}`, isBrokerKey),
    {
      id: 'broker',
      says: 'the broker is given the new key beside the old one',
      async run({ name, journal, place, options }) {
        const { new: fresh } = journal.entry.values;
        if (place.tellBroker) return place.tellBroker({ [`${name}_PREVIOUS`]: fresh });
        if (options.done) return undefined;
        const path = journal.leave('api-keys', `${fresh}:administrator\n`);
        throw new Waits([`add the line of ${path} to api-keys on every node of the broker, and restart the nodes one after the other`]);
      },
    },
    {
      id: 'accepted',
      says: 'the broker is called with the new key and with the old one: both are accepted',
      run: accepted(isBrokerKey).run,
    },
    {
      id: 'workers',
      says: `NAME := the new one: ${EMQX_CALLERS.join(', ')}`,
      run: ({ name, journal, place }) => place.put(EMQX_CALLERS, { [name]: journal.entry.values.new, ...(place.tellBroker && { [`${name}_PREVIOUS`]: journal.entry.values.old }) }),
    },
    noted('replaced'),
    {
      id: 'used',
      says: 'the health worker asks the broker with the new key, and is answered',
      async run(walk) {
        const { journal, place } = walk;
        await place.round?.();
        await until(
          walk,
          'a round of checks',
          async () => {
            const [check] = await place.query(statement('check_of_broker'), []);
            if (!check || check.checked_at < journal.doneAt('workers')) return 'there was none since';
            return check.fault === null || `it found: ${check.fault}`;
          },
          { within: 12 * MINUTE, every: place.pollMs },
        );
      },
    },
    {
      id: 'drop-previous',
      says: 'the old key is deleted at the broker',
      async run({ name, place, options }) {
        if (place.tellBroker) return place.tellBroker({ [`${name}_PREVIOUS`]: null });
        if (options.done) return undefined;
        throw new Waits(['delete the old line of api-keys on every node, and the key on the dashboard (System, API Key)']);
      },
    },
    { id: 'refused', says: 'the broker is called with the old key: it is refused, and the new one is not', run: refused(isBrokerKey).run },
    noted('dropped'),
  ],
};

/** What somebody else makes: the new value is theirs. */
const given = (worker, whose, isValue) => ({
  interrupts: 'nothing: a notice that cannot be delivered meanwhile is sent again',
  steps: [
    {
      id: 'begin',
      says: `a new one is made at ${whose}, and given with --value FILE`,
      async run({ name, journal, options, place }) {
        if (!options.value) throw new SetupError(`${name} is made at ${whose}: give the new one with --value FILE`);
        const value = fromFile(options.value);
        if (!isValue.test(value)) throw new SetupError(`${options.value} has no ${name} in it`);
        await place.ready();
        journal.entry.values = { new: value };
      },
    },
    { id: 'put', says: `NAME := the new one: ${worker}`, run: ({ name, journal, place }) => place.put([worker], { [name]: journal.entry.values.new }) },
    { id: 'accepted', says: `${worker} is well with it`, run: ({ place }) => place.isWell(worker) },
    noted('replaced'),
    {
      id: 'drop-previous',
      says: `a notice is tried, and the old one is deleted at ${whose}`,
      async run({ options }) {
        if (options.done) return;
        throw new Waits(['try it: POST https://status.optic.works/admin/notices/test, and see that it comes', `then delete the old one at ${whose}`]);
      },
    },
    noted('dropped'),
  ],
});

const NOTICE_WEBHOOK_SECRET = {
  interrupts: 'nothing: while it rotates every notice carries both signatures',
  steps: [
    begin(text),
    both(['health']),
    { id: 'accepted', says: 'health is well with both', run: ({ place }) => place.isWell('health') },
    noted('replaced'),
    {
      id: 'receiver',
      says: 'whoever receives the notices is given the new one',
      async run({ journal, place, options }) {
        if (options.done || place.environment === 'local') return;
        const path = journal.leave('notice-secret', `${journal.entry.values.new}\n`);
        throw new Waits([`give the receiver of NOTICE_WEBHOOK_URL what is in ${path}; it may forget the old one at once`]);
      },
    },
    drop(['health']),
    { id: 'dropped-well', says: 'health is well without the old one', run: ({ place }) => place.isWell('health') },
    noted('dropped'),
  ],
};

/** Whoever may read the metrics reads them; there is nothing smaller to ask for. */
async function isMetrics(place, token) {
  const { status } = await place.ask('health', 'GET', '/metrics', { headers: { authorization: `Bearer ${token}` } });
  if (![200, 401].includes(status)) throw new SetupError(`GET /metrics answered ${status}, where 200 or 401 is expected`);
  return status === 200;
}

const METRICS_TOKEN = {
  interrupts: 'nothing: Prometheus reads with either until the old one is dropped',
  steps: [
    begin(text, isMetrics),
    both(['status']),
    accepted(isMetrics),
    noted('replaced'),
    {
      id: 'prometheus',
      says: 'Prometheus is given the new one',
      async run({ journal, place, options }) {
        if (options.done || place.environment === 'local') return;
        const path = journal.leave('metrics-token', `${journal.entry.values.new}\n`);
        throw new Waits([`give Prometheus ${path} as the credentials_file of the job that reads status.optic.works/metrics, and see that its target is up`]);
      },
    },
    drop(['status']),
    refused(isMetrics),
    noted('dropped'),
  ],
};

const FIRMWARE_KEY = {
  interrupts: 'nothing, if images that are rolled out are signed anew before the old key is revoked',
  steps: [
    {
      id: 'begin',
      says: 'where images are signed a key pair is made, and its public half registered',
      async run(walk) {
        const { journal, place, options } = walk;
        await place.ready();
        if (!options.done) {
          throw new Waits(['make the pair where images are signed (the private half leaves it never), and POST https://ota.optic.works/admin/firmware-keys {name, public_key}']);
        }
        const [key] = await place.query(statement('firmware_key_latest'), []);
        if (!key || key.created_at < Date.parse(journal.entry.begun) - 30 * MINUTE) throw new SetupError('no key was registered lately', { advice: ['GET https://ota.optic.works/admin/firmware-keys'] });
        journal.entry.values = { new: key.key_id };
      },
    },
    {
      id: 'accepted',
      says: 'an image that is signed with it was uploaded, and accepted',
      async run({ journal, place }) {
        const [{ n }] = await place.query(statement('firmware_signed'), [journal.entry.values.new]);
        if (n === 0) throw new Waits(['sign the next image with it, and upload that: PUT https://ota.optic.works/admin/firmware/{sku}/{version}']);
      },
    },
    noted('replaced'),
    {
      id: 'unneeded',
      says: 'no rollout is under way of an image that another key signed',
      async run({ journal, place }) {
        const rows = await place.query(statement('firmware_needed'), [journal.entry.values.new]);
        if (rows.length > 0) throw new Waits([`these are still rolled out: ${rows.map(({ sku, version }) => `${sku} ${version}`).join(', ')}; let them end, or sign them anew`]);
      },
    },
    {
      id: 'drop-previous',
      says: 'the keys before it are revoked: what they signed is handed out no more, for good',
      async run({ journal, place }) {
        const rows = await place.query(statement('firmware_keys_before'), [journal.entry.values.new]);
        if (rows.length > 0) throw new Waits(rows.map(({ key_id: id, name }) => `DELETE https://ota.optic.works/admin/firmware-keys/${id} (${name})`));
      },
    },
    noted('dropped'),
  ],
};

/** @type {Record<string, Rotation>} */
export const ROTATIONS = {
  WEBHOOK_SECRET,
  SIGNING_KEY,
  JWT_SECRET,
  DEVICE_KEK,
  EMQX_API_KEY,
  NOTICE_WEBHOOK_SECRET,
  METRICS_TOKEN,
  PAGERDUTY_ROUTING_KEY: given('health', 'PagerDuty', /^[0-9A-Za-z]{32}$/),
  SLACK_WEBHOOK_URL: given('health', 'Slack', /^https?:\/\/\S+$/),
  FIRMWARE_KEY,
};

/**
 * Goes from where it stands as far as it can.
 * @param {Walk} walk
 * @returns {Promise<boolean>} whether all is done; if not, `say` was told what is to be done first
 */
export async function walkOn(walk) {
  const { name, journal, say, options } = walk;
  // What somebody says is done is what the last run waited for, and nothing after it.
  const { waiting } = journal.entry;
  const { steps } = ROTATIONS[name];
  for (const step of steps) {
    if (journal.isDone(step.id)) continue;
    say(`${step.id}: ${step.says.replaceAll('NAME', name)}`);
    try {
      await step.run({ ...walk, options: { ...options, done: options.done && step.id === waiting } });
    } catch (error) {
      if (!(error instanceof Waits)) throw error;
      journal.entry.waiting = step.id;
      journal.save();
      for (const line of error.lines) say(`  -> ${line}`);
      say('  -> then run the same command again, with --done');
      return false;
    }
    delete journal.entry.waiting;
    journal.note(step.id);
  }
  journal.forget();
  return true;
}
