// Telemetry is acknowledged before it is archived and counted. What was acknowledged is remembered here, and looked for.

import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';

/** Seconds without progress after which messages are taken for lost. */
const PATIENCE = 30;
const EVERY_MS = 50;

export class Ledger {
  #system;
  #cloud;
  /** By prefix of the ids: how many were acknowledged, how many may have arrived. @type {Map<string, { acknowledged: number, most: number }>} */
  #rounds = new Map();

  /** @param {import('./systems.mjs').System} system @param {any} cloud */
  constructor(system, cloud) {
    this.#system = system;
    this.#cloud = cloud;
  }

  /**
   * Notes a round and waits until all of it is counted.
   * @returns {Promise<number>} seconds that it took
   */
  async settle({ prefix, good, made }) {
    this.#rounds.set(prefix, { acknowledged: good, most: made });
    const wanted = [...this.#rounds.values()].reduce((sum, { acknowledged }) => sum + acknowledged, 0);
    const began = performance.now();
    let [before, progress] = [-1, began];
    for (;;) {
      const counted = await this.#counted();
      const now = performance.now();
      // The connections that wrk cut at the end may have brought a few more than it saw acknowledged.
      if (counted >= wanted) {
        await this.#stragglers(counted);
        return (now - began) / 1000;
      }
      if (counted > before) [before, progress] = [counted, now];
      if (now - progress > PATIENCE * 1000) throw new Error(`${this.#system.name}: ${wanted} messages acknowledged, ${counted} counted, and no more for ${PATIENCE} s`);
      await sleep(EVERY_MS);
    }
  }

  /** Lets the next round begin on an idle system: a last, incomplete batch waits for its time-out. */
  async #stragglers(counted) {
    const timeout = Math.max(...this.#system.table.queues.consumers.map(({ max_batch_timeout }) => max_batch_timeout));
    let last = counted;
    for (;;) {
      await sleep(timeout * 1000 + 300);
      const now = await this.#counted();
      if (now === last) return;
      last = now;
    }
  }

  async #counted() {
    const sql =
      this.#system.kind === 'ours'
        ? 'SELECT coalesce(sum(messages), 0) AS counted FROM telemetry_rollups'
        : 'SELECT count(*) AS counted FROM telemetry_messages';
    return (await (await this.#cloud.database()).prepare(sql).first()).counted;
  }

  /**
   * Looks through the whole archive.
   * @returns {Promise<{ acknowledged: number, archived: number, counted: number, objects: number }>}
   * @throws when a message is missing or there twice, in the archive or in the counts
   */
  async verify() {
    const { ids, objects } = await this.#archive();
    const distinct = new Set(ids);
    const byRound = new Map([...this.#rounds.keys()].map((prefix) => [prefix, 0]));
    for (const id of distinct) byRound.set(id.slice(0, 16), (byRound.get(id.slice(0, 16)) ?? 0) + 1);
    const faults = [];
    if (distinct.size !== ids.length) faults.push(`${ids.length - distinct.size} messages are archived twice`);
    for (const [prefix, { acknowledged, most }] of this.#rounds) {
      const archived = byRound.get(prefix);
      if (archived < acknowledged) faults.push(`of ${acknowledged} acknowledged messages ${archived} are archived`);
      if (archived > most) faults.push(`${archived} messages are archived of at most ${most} sent`);
    }
    if (byRound.size !== this.#rounds.size) faults.push('the archive holds messages that nobody sent');
    const counted = await this.#counted();
    if (counted !== distinct.size) faults.push(`${distinct.size} messages are archived, ${counted} counted`);
    if (faults.length > 0) throw new Error(`${this.#system.name}: ${faults.join('; ')}`);
    const acknowledged = [...this.#rounds.values()].reduce((sum, round) => sum + round.acknowledged, 0);
    return { acknowledged, archived: distinct.size, counted, objects };
  }

  async #archive() {
    const bucket = await this.#cloud.bucket('ARCHIVES');
    const ids = [];
    let [objects, cursor] = [0, undefined];
    do {
      const page = await bucket.list({ prefix: 'telemetry/', cursor });
      objects += page.objects.length;
      for (const { key } of page.objects) {
        if (this.#system.kind === 'peer') {
          ids.push(key.split('/').pop().replace('.json', ''));
          continue;
        }
        const bytes = Buffer.from(await (await bucket.get(key)).arrayBuffer());
        for (const line of gunzipSync(bytes).toString('utf8').split('\n')) if (line) ids.push(JSON.parse(line).id);
      }
      cursor = page.truncated ? page.cursor : undefined;
    } while (cursor);
    return { ids, objects };
  }
}
