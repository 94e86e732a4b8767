// What set-up tells the person who waits. Everything goes to stderr, so that commands whose output
// is read by programs (`npm run -s token`) keep their stdout to themselves.

// run.mjs has said what there was to say before it started the script that asks again.
let quiet = process.env.RS1_SETUP_DONE === '1';

/** In quiet mode only work that takes noticeable time is reported. */
export function setQuiet(value) {
  quiet = value;
}

/** A line that is always shown: something is being installed, or went wrong. */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/** A line for the person who runs a command by hand; machine-read commands leave it out. */
export function note(line) {
  if (!quiet) say(line);
}

/** `0.4 s`, `12 s`, `3 min 05 s` */
export function duration(ms) {
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}

/** A failure that the person can do something about: what was tried, and what to do now. */
export class SetupError extends Error {
  /**
   * @param {string} message what failed
   * @param {{ advice?: string[], output?: string }} [more]
   */
  constructor(message, { advice = [], output = '' } = {}) {
    super(message);
    this.name = 'SetupError';
    this.advice = advice;
    this.output = output;
  }

  /** The whole report, for a terminal. */
  report() {
    const lines = [`error: ${this.message}`];
    if (this.output.trim()) lines.push('', ...this.output.trimEnd().split('\n').map((line) => `    ${line}`), '');
    for (const line of this.advice) lines.push(`  -> ${line}`);
    return lines.join('\n');
  }
}
