// The statements of `npm run secrets`: files of the library that has all SQL, where they are proved.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../lib/paths.mjs';

/** @param {string} name */
export const statement = (name) => readFileSync(join(ROOT, 'shared', 'store', 'sql', `${name}.sql`), 'utf8');
