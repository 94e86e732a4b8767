// How far a rotation is, on the machine that walks it: so that one that was cut off is taken up where it stood. While it goes
// on, and no longer, the file also has the values that are still to be used: nobody else can be asked for them, because
// Cloudflare tells no secret back. It is its owner's alone, and gone when the rotation is done.

import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where journals are, unless told otherwise. */
export const configDirectory = (env = process.env) => join(env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config'), 'rs1-cloud', 'rotations');

/**
 * @typedef {object} Entry
 * @property {string} name of the secret
 * @property {string} environment
 * @property {string} begun when, RFC 3339
 * @property {Record<string, string>} done when each step was done, by its id
 * @property {string} [waiting] the step at which somebody has to do something first
 * @property {{ old?: string, new?: string }} values
 */

export class Journal {
  /** @param {string} directory @param {string} environment @param {string} name */
  constructor(directory, environment, name) {
    this.directory = directory;
    this.path = join(directory, `${environment}-${name}.json`);
    /** @type {Entry} */
    this.entry = existsSync(this.path) ? JSON.parse(readFileSync(this.path, 'utf8')) : { name, environment, begun: new Date().toISOString(), done: {}, values: {} };
  }

  /** Whether there is one that was begun and not ended. */
  get isOpen() {
    return Object.keys(this.entry.done).length > 0;
  }

  /** When a step was done, in Unix milliseconds. @param {string} step */
  doneAt(step) {
    return Date.parse(this.entry.done[step]);
  }

  /** @param {string} step */
  isDone(step) {
    return this.entry.done[step] !== undefined;
  }

  /** Notes a step, with what is to be known after it. @param {string} step */
  note(step) {
    this.entry.done[step] = new Date().toISOString();
    this.save();
  }

  save() {
    this.writeBeside(this.path, `${JSON.stringify(this.entry, null, 2)}\n`);
  }

  /** A file of this rotation, for somebody to take from here; it goes with the journal. Resolves to its path. @param {string} name @param {string} text */
  leave(name, text) {
    const path = this.path.replace(/json$/, name);
    this.writeBeside(path, text);
    return path;
  }

  writeBeside(path, text) {
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    // Whoever is interrupted leaves the old file or the new one.
    writeFileSync(`${path}.new`, text, { mode: 0o600 });
    chmodSync(`${path}.new`, 0o600);
    renameSync(`${path}.new`, path);
  }

  forget() {
    const own = this.path.replace(/json$/, '');
    for (const file of readdirSync(this.directory)) {
      const path = join(this.directory, file);
      if (path.startsWith(own)) rmSync(path);
    }
  }
}

/** The rotations of an environment that are under way on this machine: name and the latest step. @param {string} directory @param {string} environment */
export function underWay(directory, environment) {
  if (!existsSync(directory)) return new Map();
  const files = readdirSync(directory).filter((file) => file.startsWith(`${environment}-`) && file.endsWith('.json'));
  return new Map(
    files.map((file) => {
      const { name, done } = JSON.parse(readFileSync(join(directory, file), 'utf8'));
      return [name, Object.keys(done).at(-1)];
    }),
  );
}
