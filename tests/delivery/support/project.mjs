// A copy of the project to deliver: its own wrangler files and migrations, with bundles of a few lines in place of the
// real ones, in a git repository of its own.

import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withValue } from '../../../tools/delivery/jsonc-edit.mjs';
import { DEPLOYED } from '../../../tools/delivery/project.mjs';
import { ROOT, WORKERS } from '../../../tools/lib/paths.mjs';
import { configPath, readConfig } from '../../../tools/lib/wrangler-config.mjs';

/** A worker that is well, and says which version it is. `edit` makes another upload of it; `health` makes it unwell. */
export const bundle = ({ edit = '', health = '{ status: 200, report: "ok" }' } = {}) => `
const health = ${health};
export default {
  async fetch(request, env) {
    const body = { status: health.report, version: '1.0.0', checks: { config: { status: health.report, detail: 'as the specification wants it' } } };
    return Response.json(body, { status: health.status, headers: { 'x-version': env.VERSION.id } });
  },
  async queue() {},
  async scheduled() {},
};
// ${edit}
`;

export function copyProject() {
  const root = mkdtempSync(join(tmpdir(), 'rs1-delivery-'));
  for (const directory of ['wrangler', 'migrations']) cpSync(join(ROOT, directory), join(root, directory), { recursive: true });
  for (const worker of WORKERS) forgetIds(worker, root);
  const git = (...args) => {
    const author = ['-c', 'user.name=Specification', '-c', 'user.email=specification@optic.works', '-c', 'commit.gpgsign=false'];
    const { status, stdout, stderr } = spawnSync('git', [...author, ...args], { cwd: root, encoding: 'utf8' });
    if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  const write = (path, text) => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  for (const worker of WORKERS) write(join('dist', worker, 'index.js'), bundle());
  write(join('dist', 'device-api-assets', 'api', 'openapi.json'), '{"openapi":"3.1.1"}');
  write('.gitignore', '/dist\n.wrangler\n');
  git('init', '--quiet');
  const commit = (message) => {
    git('add', '--all');
    git('commit', '--quiet', '--allow-empty', '--message', message);
    return git('rev-parse', 'HEAD');
  };
  commit('As it is');
  return { root, git, write, commit, remove: () => rmSync(root, { recursive: true, force: true }) };
}

/** A copy has placeholders again where the project has an account's ids. */
function forgetIds(worker, root) {
  const path = configPath(worker, root);
  for (const [number, environment] of DEPLOYED.entries()) {
    const { d1_databases: databases = [], kv_namespaces: namespaces = [] } = readConfig(worker, root).env[environment];
    let text = readFileSync(path, 'utf8');
    for (const index of databases.keys()) text = withValue(text, ['env', environment, 'd1_databases', index, 'database_id'], `00000000-0000-0000-0000-00000000000${number}`);
    for (const index of namespaces.keys()) text = withValue(text, ['env', environment, 'kv_namespaces', index, 'id'], `${index}${number}`.padStart(32, '0'));
    writeFileSync(path, text);
  }
}

/**
 * One of our commands, as a person would run it.
 * @param {string} script below tools/
 * @param {string[]} args
 * @param {{ env?: Record<string, string>, onLine?: (line: string, child: import('node:child_process').ChildProcess) => void }} [options]
 * @returns {Promise<{ status: number | null, signal: string | null, output: string }>}
 */
export function command(script, args, { env = {}, onLine } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, 'tools', script), ...args], {
      cwd: ROOT,
      env: { ...process.env, RS1_SETUP_DONE: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A process group of its own, so that a specification can cut off what it has started as well.
      detached: true,
    });
    let output = '';
    let rest = '';
    const take = (text) => {
      output += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) onLine?.(line, child);
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status, signal, output }));
  });
}
