// `npm run -s firmware -- make | key | upload`: signed test images for the local stack. What a program may want of the
// outcome stands alone on stdout; the rest goes to stderr.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { LEAST_SIZE, makeImage, makeKey, publicKeyOf, readKey } from './lib/firmware-image.mjs';
import { httpClient } from './lib/http.mjs';
import { misuse, readOptions, wholeNumber } from './lib/options.mjs';
import { STATE, runningStack } from './lib/stack-file.mjs';
import { Trouble, command } from './lib/trouble.mjs';

const HELP = `npm run -s firmware -- make --sku SKU --version VERSION: makes a signed test image, and prints its path
npm run -s firmware -- key: prints the public key, as POST /admin/firmware-keys takes it
npm run -s firmware -- upload --sku SKU --version VERSION: registers the key with the running stack and uploads the image

  --sku SKU         rs1_lite or rs1_pro
  --version V       like 1.2.0 or 1.2.0-rc.1
  --key FILE        a P-256 private key in PEM; made if there is none (.local/firmware-key.pem)
  --fw-version N    the anti-rollback counter (1)
  --size N          of the whole file in bytes (65536)
  --out FILE        where the image is put (.local/firmware/SKU-VERSION.bin)
  --file FILE       upload: this image instead of a new one
  --state DIR       the state of the stack that is meant (.local/)
  --help            this

An image made twice is two builds: the same version with other bytes, which the cloud refuses. Keep the file to upload it again.
`;

const string = { type: 'string' };
const USAGE = {
  text: HELP,
  positionals: true,
  options: {
    ...{ sku: string, version: string, key: string, out: string, file: string, state: string },
    'fw-version': { ...string, default: '1' },
    size: { ...string, default: '65536' },
  },
};

/** What the contract allows; the image has room for 31 characters. */
const VERSION = /^(?=.{1,31}$)\d+\.\d+\.\d+(-[a-zA-Z0-9.]+)?$/;
const MOST = 16 * 1024 * 1024;

await command(async () => {
  const { values, positionals, help } = readOptions(USAGE);
  if (help) return;
  const [verb, ...rest] = positionals;
  const run = { make, key: printKey, upload }[verb];
  if (!run || rest.length > 0) throw misuse(`say make, key or upload, not "${positionals.join(' ')}"`, HELP);
  await run(values);
});

function make(values) {
  process.stdout.write(`${shown(makeFile(values))}\n`);
}

function printKey(values) {
  process.stdout.write(`${publicKeyOf(keyOf(values))}\n`);
}

async function upload(values) {
  const { sku, version } = nameOf(values);
  const state = values.state ? resolve(values.state) : STATE;
  const { ports } = await runningStack(state);
  const [api, idp] = [httpClient({ port: ports.http }), httpClient({ port: ports.idp })];
  try {
    const { json } = await idp('POST', '/token', { host: 'identity.localhost', body: { email: 'firmware@localhost', ttl: 600 } });
    const ask = async (method, path, options) => {
      const answer = await api(method, path, { host: 'ota.localhost', token: json.token, ...options });
      if (answer.status >= 300) throw new Trouble(`${method} ${path} answers ${answer.status}: ${answer.text}`);
      return answer;
    };
    await ask('POST', '/admin/firmware-keys', { body: { name: 'local', public_key: publicKeyOf(keyOf(values)) } });
    const file = values.file === undefined ? makeFile(values) : resolve(values.file);
    const headers = { 'content-type': 'application/octet-stream' };
    const { text } = await ask('PUT', `/admin/firmware/${sku}/${version}`, { body: readFileSync(file), headers });
    process.stdout.write(`${text}\n`);
  } finally {
    api.close();
    idp.close();
  }
}

/** Makes the image that is asked for. @returns {string} its path */
function makeFile(values) {
  const { sku, version } = nameOf(values);
  const counter = wholeNumber(values, 'fw-version', HELP, 0, 0xffff_ffff);
  const size = wholeNumber(values, 'size', HELP, LEAST_SIZE, MOST);
  const state = values.state ? resolve(values.state) : STATE;
  const path = values.out === undefined ? join(state, 'firmware', `${sku}-${version}.bin`) : resolve(values.out);
  const image = makeImage({ version, key: keyOf(values), project: `opticworks-${sku}`, counter, size });
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, image);
  const hash = createHash('sha256').update(image).digest('hex');
  process.stderr.write(`${sku} ${version}, ${size} bytes, sha256 ${hash}, signed by ${publicKeyOf(keyOf(values)).slice(0, 16)}…\n`);
  return path;
}

function nameOf({ sku, version }) {
  if (!['rs1_lite', 'rs1_pro'].includes(sku)) throw misuse('--sku wants rs1_lite or rs1_pro', HELP);
  if (!VERSION.test(version ?? '')) throw misuse('--version wants one like 1.2.0 or 1.2.0-rc.1', HELP);
  return { sku, version };
}

/** The signing key, made the first time. */
function keyOf(values) {
  const path = values.key ? resolve(values.key) : join(values.state ? resolve(values.state) : STATE, 'firmware-key.pem');
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, makeKey().export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    process.stderr.write(`made a signing key: ${shown(path)}\n`);
  }
  try {
    return readKey(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Trouble(`${shown(path)} holds no private key: ${error.message}`);
  }
}

/** A path as a person here would type it. */
function shown(path) {
  const short = relative(process.cwd(), path);
  return short.startsWith('..') ? path : short;
}
