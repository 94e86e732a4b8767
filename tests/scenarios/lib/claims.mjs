// What a scenario claims, and whether it is so. A claim that is not true does not end the scenario: the others may tell why.

import { isDeepStrictEqual } from 'node:util';

export class Claims {
  /** @type {{ what: string, is: unknown, wanted: string, holds: boolean }[]} */
  all = [];

  equal(what, is, wanted) {
    this.#add(what, is, show(wanted), isDeepStrictEqual(sorted(is), sorted(wanted)));
  }

  atMost(what, is, most, wanted = `at most ${most}`) {
    this.#add(what, is, wanted, is <= most);
  }

  atLeast(what, is, least) {
    this.#add(what, is, `at least ${least}`, is >= least);
  }

  match(what, is, pattern) {
    this.#add(what, is, String(pattern), pattern.test(String(is)));
  }

  #add(what, is, wanted, holds) {
    this.all.push({ what, is, wanted, holds });
  }

  get hold() {
    return this.all.length > 0 && this.all.every(({ holds }) => holds);
  }

  /** @param {(colour: string, text: string) => string} paint @returns {string[]} a line a claim */
  table(paint) {
    const width = Math.max(...this.all.map(({ what }) => what.length));
    return this.all.map(({ what, is, wanted, holds }) => {
      const found = holds && show(is) === wanted ? show(is) : `${show(is)}  (${wanted})`;
      return `  ${holds ? paint('green', '✓') : paint('red', '✗')} ${what.padEnd(width)}  ${holds ? found : paint('red', found)}`;
    });
  }
}

const show = (value) => (typeof value === 'number' ? value.toLocaleString('en') : typeof value === 'string' ? value : JSON.stringify(sorted(value)));

/** Members in an order that does not depend on who wrote them. */
const sorted = (value) =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).sort()) : value;
