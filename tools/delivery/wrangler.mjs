// wrangler, for the three things that only it knows how to do.

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capture } from '../lib/proc.mjs';
import { SetupError } from '../lib/say.mjs';
import { configPath } from '../lib/wrangler-config.mjs';

const TIMEOUT_MS = 300_000;

/**
 * @param {import('../toolchain.mjs').Toolchain} toolchain
 * @param {import('./project.mjs').Project} project
 */
export function wranglerFor(toolchain, project) {
  async function run(what, args) {
    const scratch = mkdtempSync(join(tmpdir(), 'rs1-deploy-'));
    const report = join(scratch, 'report.ndjson');
    try {
      const result = await capture(toolchain.node22, [toolchain.wranglerBin, ...args], {
        cwd: project.root,
        env: { ...toolchain.env, CI: 'true', NO_COLOR: '1', WRANGLER_OUTPUT_FILE_PATH: report },
        timeout: TIMEOUT_MS,
      });
      if (!result.ok) throw new SetupError(`${what}: wrangler failed`, { output: `${result.stdout}\n${result.stderr}` });
      return readFileSync(report, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
  const of = (worker) => ['--config', configPath(worker, project.root), '--env', project.environment];

  return {
    /** Uploads a version that nothing reaches yet. Resolves to its id. */
    async upload(worker, { tag, message }) {
      const report = await run(`uploading ${worker}`, ['versions', 'upload', ...of(worker), '--tag', tag, '--message', message]);
      return report.find(({ type }) => type === 'version-upload').version_id;
    },

    /** The first deployment of a worker, secrets and triggers included. Resolves to its version's id. */
    async create(worker, { tag, message, secretsFile }) {
      const secrets = secretsFile ? ['--secrets-file', secretsFile] : [];
      const report = await run(`creating ${worker}`, ['deploy', ...of(worker), '--tag', tag, '--message', message, ...secrets]);
      return report.find(({ type }) => type === 'deploy').version_id;
    },

    /** Routes, custom domains, crons and queue consumers. */
    async triggers(worker) {
      await run(`the triggers of ${worker}`, ['triggers', 'deploy', ...of(worker)]);
    },

    /**
     * Applies migrations up to `last`: wrangler takes all of a directory, so it is given one that ends there.
     * @param {{ directory: string, database: { binding: string, database_name: string, database_id: string } }} of
     * @param {string[]} files in order, those that are applied already included
     */
    async migrate({ directory, database }, files) {
      const scratch = mkdtempSync(join(tmpdir(), 'rs1-migrate-'));
      try {
        mkdirSync(join(scratch, 'migrations'));
        for (const file of files) copyFileSync(join(directory, file), join(scratch, 'migrations', file));
        const { binding, database_name, database_id } = database;
        const config = { name: 'rs1-migrations', compatibility_date: '2026-07-30', d1_databases: [{ binding, database_name, database_id, migrations_dir: 'migrations' }] };
        writeFileSync(join(scratch, 'wrangler.json'), JSON.stringify(config));
        await run('migrations', ['d1', 'migrations', 'apply', binding, '--remote', '--config', join(scratch, 'wrangler.json')]);
      } finally {
        rmSync(scratch, { recursive: true, force: true });
      }
    },
  };
}
