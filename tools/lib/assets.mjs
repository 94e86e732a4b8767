// The files that a worker serves beside its routes: those in workers/<worker>/assets, and for a page that draws an
// OpenAPI document what draws it. Put together where the worker's configuration says.

import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { NODE_MODULES, ROOT } from './paths.mjs';
import { configPath, readConfig } from './wrangler-config.mjs';

/** What draws the document; the rest of that package is maps and other builds. */
const DRAWN_BY = { from: 'swagger-ui-dist', files: ['swagger-ui.css', 'swagger-ui-bundle.js', 'swagger-ui-bundle.js.LICENSE.txt', 'LICENSE'] };
const PAGE = join('api', 'docs');
const DOCUMENT = join('api', 'openapi.json');

/** Where a worker's files are served from; null for a worker that has none. @param {string} worker @param {string} [root] */
export function assetsDir(worker, root = ROOT) {
  const { assets } = readConfig(worker, root);
  return assets ? resolve(dirname(configPath(worker, root)), assets.directory) : null;
}

/** Every file below a directory, by its path in it, in order. @param {string} directory */
export function filesBelow(directory) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

/** Puts the files of `workers` together, those that have any. @param {string[]} workers */
export function assembleAssets(workers) {
  for (const worker of workers) {
    const directory = assetsDir(worker);
    if (!directory) continue;
    rmSync(directory, { recursive: true, force: true });
    cpSync(join(ROOT, 'workers', worker, 'assets'), directory, { recursive: true });
    // Kept with line breaks, so that changes can be read; served without.
    const document = join(directory, DOCUMENT);
    writeFileSync(document, JSON.stringify(JSON.parse(readFileSync(document, 'utf8'))));
    mkdirSync(join(directory, PAGE), { recursive: true });
    for (const file of DRAWN_BY.files) copyFileSync(join(NODE_MODULES, DRAWN_BY.from, file), join(directory, PAGE, file));
  }
}
