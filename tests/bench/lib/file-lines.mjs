// A growing file, read a line at a time.

import { closeSync, openSync, readSync } from 'node:fs';

const CHUNK = 1 << 20;

export class FileLines {
  #path;
  #offset = 0;
  #rest = Buffer.alloc(0);

  /** @param {string} path */
  constructor(path) {
    this.#path = path;
  }

  /** What was written since the last call, without a last line that is not whole yet. @returns {string[]} */
  read() {
    const parts = [this.#rest];
    const file = openSync(this.#path, 'r');
    try {
      for (;;) {
        const chunk = Buffer.alloc(CHUNK);
        const length = readSync(file, chunk, 0, CHUNK, this.#offset);
        if (length === 0) break;
        this.#offset += length;
        parts.push(chunk.subarray(0, length));
      }
    } finally {
      closeSync(file);
    }
    const bytes = Buffer.concat(parts);
    const end = bytes.lastIndexOf(10) + 1;
    this.#rest = bytes.subarray(end);
    return bytes.toString('utf8', 0, end).split('\n').filter(Boolean);
  }
}
