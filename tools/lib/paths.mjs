// Where things are. Nothing outside the repository and the user's own cache directory is written,
// except Debian packages, which `debian.mjs` asks apt for.

import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository. */
export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Tools that are too slow to build for every clone; shared by all clones of one user. */
export const CACHE = process.env.RS1_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'rs1-cloud');

/** Programs that cargo built, one directory a version: `<name>-<version>/bin/<name>`. */
export const TOOLS = join(CACHE, 'tools');

/** Tells clones apart in the cache: the locks on node_modules and on the build are a clone's, not the user's. */
export const CLONE = createHash('sha256').update(ROOT).digest('hex').slice(0, 8);

/** What long steps printed, for when one fails. */
export const LOGS = join(ROOT, 'target', 'logs');

export const NODE_MODULES = join(ROOT, 'node_modules');

/** The deployables, in the order that tables print them. */
export const WORKERS = ['device-api', 'telemetry', 'history', 'archive', 'ota', 'status', 'health'];

/** The bundle of one worker, as `worker-build` leaves it. */
export const bundleDir = (worker) => join(ROOT, 'dist', worker);

/** The module that wrangler and Miniflare load; `index_bg.wasm` lies beside it. */
export const bundleMain = (worker) => join(bundleDir(worker), 'index.js');

/** Wasm builds have their own target directory: their compiler may be another version than the native one. */
export const WASM_TARGET_DIR = join(ROOT, 'target', 'wasm');
