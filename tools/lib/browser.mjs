// Chromium, which the status page is looked at with.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ensureDebianPackages } from './debian.mjs';
import { SetupError } from './say.mjs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

function find() {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    for (const name of NAMES) {
      const path = join(directory, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not there.
      }
    }
  }
  return null;
}

/**
 * A browser of that kind; Debian's, where there is none yet.
 * @returns {Promise<string>} the program's path
 */
export async function ensureBrowser() {
  const there = find();
  if (there) return there;
  await ensureDebianPackages(['chromium'], 'looking at the status page');
  const installed = find();
  if (installed) return installed;
  throw new SetupError('chromium is installed, and there is none in PATH', { advice: [`put one of ${NAMES.join(', ')} into PATH`] });
}
