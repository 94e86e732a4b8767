// What the launcher shows: a line a step while it starts, then a line an event, each with the part it is about.

import { duration } from '../../tools/lib/say.mjs';

const WIDTH = 11;
const KEPT = 100;
const COLOURS = { dim: '2', bold: '1', red: '31', green: '32', yellow: '33', cyan: '36' };

/**
 * @param {object} [options]
 * @param {NodeJS.WriteStream} [options.to]
 * @param {'all' | 'serious' | 'none'} [options.lines] which lines of parts are shown: all, warnings and errors, none
 */
export function printer({ to = process.stdout, lines = 'all' } = {}) {
  const coloured = to.isTTY && !process.env.NO_COLOR;
  const kept = [];
  const paint = (colour, text) => (coloured && colour ? `\u001b[${COLOURS[colour]}m${text}\u001b[0m` : text);
  const write = (line) => to.write(`${line}\n`);

  return {
    paint,
    write,
    /** A step of the start that is done. */
    step(part, text, ms) {
      const time = ms === undefined ? '' : paint('dim', `  ${duration(ms)}`);
      write(`  ${paint('cyan', part.padEnd(WIDTH))}${text}${time}`);
    },

    /** Runs a step and tells what it did and how long it took; `work` returns the text. */
    async during(part, work) {
      const started = Date.now();
      const { text, ...rest } = await work();
      this.step(part, text, Date.now() - started);
      return rest;
    },

    /**
     * A line of a running part.
     * @param {string} part
     * @param {string} text
     * @param {'info' | 'warn' | 'error'} [level]
     */
    line(part, text, level = 'info') {
      if (lines === 'serious' && level === 'info') return;
      const time = new Date().toISOString().slice(11, 19);
      const colour = { info: undefined, warn: 'yellow', error: 'red' }[level];
      const line = `${paint('dim', time)} ${paint('cyan', part.padEnd(WIDTH))}${paint(colour, text)}`;
      if (lines !== 'none') return void write(line);
      kept.push(line);
      if (kept.length > KEPT) kept.shift();
    },

    /** Takes the lines that were not shown: they may tell why something failed. */
    takeKept: () => kept.splice(0),
  };
}
