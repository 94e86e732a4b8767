// The secrets of this machine, in `.local/dev.vars`: made once, never shared, never printed.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const text = () => randomBytes(32).toString('base64url');

/** How each secret is made. Those of outside services (paging, chat) are good for the ones that this machine plays (receivers.mjs). */
const GENERATED = {
  WEBHOOK_SECRET: text,
  SIGNING_KEY: text,
  JWT_SECRET: text,
  EMQX_API_KEY: () => `rs1-local:${text()}`,
  // An AES-256 key: 32 bytes as 64 hex digits.
  DEVICE_KEK: () => randomBytes(32).toString('hex'),
  PAGERDUTY_ROUTING_KEY: () => randomBytes(16).toString('hex'),
  SLACK_WEBHOOK_URL: () => `http://slack.localhost/services/T0/B0/${text()}`,
  NOTICE_WEBHOOK_SECRET: text,
  METRICS_TOKEN: text,
};

/** A full set that lives nowhere but in memory. @returns {Record<string, string>} */
export function generateSecrets() {
  return Object.fromEntries(Object.entries(GENERATED).map(([name, make]) => [name, make()]));
}

/**
 * Reads the file and makes what is missing. Lines that people added or changed stay.
 *
 * @param {string} path
 * @returns {{ secrets: Record<string, string>, made: string[] }}
 */
export function ensureSecrets(path) {
  const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const secrets = parseSecrets(before);
  const made = Object.keys(GENERATED).filter((name) => secrets[name] === undefined);
  if (made.length === 0) return { secrets, made };
  for (const name of made) secrets[name] = GENERATED[name]();
  const head = before || '# Secrets of the local stack, made on this machine. Delete a line to have a new one made.\n';
  const added = made.map((name) => `${name}=${secrets[name]}\n`).join('');
  mkdirSync(dirname(path), { recursive: true });
  writeAside(path, head.replace(/\n?$/, '\n') + added);
  return { secrets, made };
}

/**
 * Replaces secrets in the file; `null` takes one out.
 * @param {string} path
 * @param {Record<string, string | null>} changes
 * @returns {Record<string, string>} all, as they are now
 */
export function changeSecrets(path, changes) {
  const isChanged = (line) => Object.hasOwn(changes, LINE.exec(line)?.[1] ?? '');
  const kept = readFileSync(path, 'utf8').split(/\r?\n/).filter((line) => !isChanged(line));
  const added = Object.entries(changes).flatMap(([name, value]) => (value === null ? [] : [`${name}=${value}`]));
  const text = `${[...kept.join('\n').trimEnd().split('\n'), ...added].join('\n')}\n`;
  writeAside(path, text);
  return parseSecrets(text);
}

/** Written aside and renamed: whoever is interrupted leaves the old file or the new one. */
function writeAside(path, text) {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

const LINE = /^\s*([A-Z][A-Z0-9_]*)\s*=\s*(.*?)\s*$/;

/** The secrets in a text of `KEY=value` lines. @param {string} file @returns {Record<string, string>} */
export function parseSecrets(file) {
  const secrets = {};
  for (const line of file.split(/\r?\n/)) {
    const match = LINE.exec(line);
    if (match) secrets[match[1]] = match[2].replace(/^(["'])(.*)\1$/, '$2');
  }
  return secrets;
}
