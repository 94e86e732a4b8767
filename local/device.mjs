// `npm run -s device -- --mac MAC [--enroll]`: one simulated RS-1 for the running stack. The device itself is
// `rs1-fleet device`, which gets whatever is not said here.

import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { setUp } from '../tools/toolchain.mjs';
import { FLEET, buildPrograms, cloudOptions } from './lib/parts.mjs';
import { STATE, runningStack } from './lib/stack-file.mjs';
import { command } from './lib/trouble.mjs';

await command(async () => {
  const args = process.argv.slice(2);
  const at = args.indexOf('--state');
  const state = at === -1 ? STATE : resolve(args.splice(at, 2)[1] ?? '');
  // Its help is worth reading before there is a stack.
  const isHelp = args.includes('--help') || args.includes('-h');
  const cloud = isHelp ? [] : cloudOptions((await runningStack(state)).ports, state);
  await buildPrograms((await setUp('native')).env);
  return new Promise((done, fail) => {
    const child = spawn(FLEET, ['device', ...cloud, ...args], { stdio: 'inherit' });
    // The terminal sends Ctrl-C to the device too; it says goodbye to the broker, and we end with it.
    process.on('SIGINT', () => {});
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    child.on('error', fail);
    child.on('close', (status, signal) => done(status ?? (signal === 'SIGINT' ? 130 : 143)));
  });
});
