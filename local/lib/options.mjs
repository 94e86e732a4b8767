// Command lines: a small table of options a command, refused with its help when it does not fit.

import { parseArgs } from 'node:util';
import { Trouble } from './trouble.mjs';

/**
 * @param {object} usage
 * @param {string} usage.text the whole help text
 * @param {Record<string, { type: 'string' | 'boolean', default?: unknown }>} usage.options
 * @param {boolean} [usage.positionals]
 * @param {string[]} [argv]
 * @returns {{ values: Record<string, any>, positionals: string[], help: boolean }}
 */
export function readOptions({ text, options, positionals = false }, argv = process.argv.slice(2)) {
  try {
    const read = parseArgs({
      args: argv,
      options: { ...options, help: { type: 'boolean', short: 'h' } },
      allowPositionals: positionals,
      strict: true,
    });
    if (read.values.help) process.stdout.write(text);
    return { ...read, help: Boolean(read.values.help) };
  } catch (error) {
    throw misuse(error.message.split('. ')[0], text);
  }
}

/** A command line that cannot be meant: exit status 2, with the help. */
export function misuse(message, text) {
  const trouble = new Trouble(`${message}\n\n${text.trimEnd()}`);
  trouble.exitCode = 2;
  return trouble;
}

/** @returns {number} a port, or a refusal that names the option */
export function port(values, name, text) {
  return wholeNumber(values, name, text, 1, 65_535);
}

/** @returns {number} */
export function wholeNumber(values, name, text, least, most) {
  const number = Number(values[name]);
  if (!/^\d+$/.test(values[name]) || number < least || number > most) {
    throw misuse(`--${name} wants a whole number from ${least} to ${most}, not "${values[name]}"`, text);
  }
  return number;
}

/** `90s`, `15m`, `1h`, `2d` or plain seconds, in seconds */
export function span(values, name, text) {
  const match = /^(\d+)([smhd]?)$/.exec(values[name]);
  if (!match) throw misuse(`--${name} wants a length of time like 90s, 15m or 1h, not "${values[name]}"`, text);
  return Number(match[1]) * { '': 1, s: 1, m: 60, h: 3600, d: 86_400 }[match[2]];
}
