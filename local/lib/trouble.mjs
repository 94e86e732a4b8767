// A failure that is the person's to mend: shown without a stack trace, with advice.

export class Trouble extends Error {
  /**
   * @param {string} message
   * @param {string[]} [advice] what to do now, a line each
   */
  constructor(message, advice = []) {
    super(message);
    this.name = 'Trouble';
    this.advice = advice;
  }
}

/**
 * Tells about any failure on stderr: a [`Trouble`] (or the set-up's own error) in words, anything else with its stack.
 * @param {unknown} error
 */
export function report(error) {
  if (error instanceof Trouble) {
    process.stderr.write(`error: ${error.message}\n${error.advice.map((line) => `  -> ${line}\n`).join('')}`);
  } else if (typeof error?.report === 'function') {
    process.stderr.write(`${error.report()}\n`);
  } else {
    process.stderr.write(`${error?.stack ?? error}\n`);
  }
}

/**
 * Runs a command's main function and ends the process with its exit status.
 * @param {() => Promise<number | void>} main
 */
export async function command(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    report(error);
    process.exitCode = error.exitCode ?? 1;
  }
}
