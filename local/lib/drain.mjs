// Passes on what it reads, and never makes the writer wait: `workerd | this | the launcher`.
//
// Miniflare's handles on D1, R2 and workers block the launcher's main thread until workerd has answered. Meanwhile nobody reads
// what workerd logs; were its pipe to fill, workerd would wait in write(2), never answer, and both would stand still for ever.

import { createWriteStream } from 'node:fs';

// process.stdout writes to a pipe at once, and so waits; a file stream keeps in memory what cannot go out yet.
const out = createWriteStream('', { fd: 1, autoClose: false });
out.on('error', () => process.exit(0));
process.stdin.on('data', (chunk) => out.write(chunk));
process.stdin.on('end', () => out.end());
