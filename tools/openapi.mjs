// `npm run openapi`: writes the OpenAPI document where it is kept, from what the workers' code says.

import { ROOT } from './lib/paths.mjs';
import { crateCounter, runLong } from './lib/proc.mjs';
import { SetupError, say } from './lib/say.mjs';
import { setUp } from './toolchain.mjs';

async function main() {
  const { env } = await setUp('native');
  const result = await runLong('describing the API', 'cargo', ['run', '--quiet', '--package', 'rs1-tool-openapi'], { cwd: ROOT, env, ...crateCounter() });
  if (!result.ok) throw new SetupError('the document was not written', { output: result.tail });
  console.log(result.tail.trim());
}

main().catch((error) => {
  say(error instanceof SetupError ? error.report() : error.stack);
  process.exit(1);
});
