// What a device's hour costs at the platform, by each door: rows of D1, operations of R2 and of the queue, CPU, bytes kept. Counted
// on the release bundles while they do it, from the broker's request or object to the hour that is packed, sealed and deleted.

import { setTimeout as sleep } from 'node:timers/promises';
import { startCloud } from '../../../local/lib/cloud.mjs';
import { httpClient } from '../../../local/lib/http.mjs';
import { freePorts } from '../../../local/lib/ports.mjs';
import { workersRuntime } from '../../../local/lib/stack-file.mjs';
import { readWorkers } from '../../../local/lib/workers.mjs';
import { MINUTE, offset, record, records, withFeeder } from '../../load/collected.mjs';
import { INTERVAL, put, settled, tell } from '../../load/objects.mjs';
import { enrol, makeDevices } from './devices.mjs';
import { Meter } from './meter.mjs';
import { cpuSeconds } from './systems.mjs';

const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** The clock that looks after alerts, and reads no telemetry. */
const EVERY_MINUTE = '* * * * *';
/** So many that a minute's messages are whole batches of the queue's greatest size, as they are where ten thousand devices send. */
const BY_MESSAGE = 500;
const BATCH = 100;
/** Long enough that a batch is always full. */
const BATCH_TIMEOUT = 5;
/** Requests that the broker has under way. */
const CONNECTIONS = 32;
const BY_OBJECT = 2_000;
/** Intervals begin when a node does, so an object's messages are of two hours. */
const BEGINS_AFTER = 7 * MINUTE;
/** Three hours: the registry is written every third time. */
const OBJECTS = 6;
/** Bytes of the parts in which EMQX uploads an object at the least (`min_part_size`); it begins and completes it, too. */
const PART = 5_000_000;
/** Hours are sealed five days after they were, and deleted after thirty; a run of the clock for each of them. */
const AGES = [5 * DAY, 30 * DAY];
const RUNS = [1, 2, 3, 4, 5];

/**
 * @typedef {object} Usage of one door
 * @property {number} devices
 * @property {number} messages
 * @property {number} requests by the broker
 * @property {number} batches that the queue delivered
 * @property {number} queued messages of the queue
 * @property {number} rowsWritten a device-hour, until it is counted
 * @property {number} rowsRead
 * @property {number} upkeepWritten a device-hour: sealed, deleted
 * @property {number} upkeepRead
 * @property {Record<string, number>} written a device-hour, by statement
 * @property {{ classA: number, classB: number, deletes: number }} archived operations of R2 a message, until it is archived and verified
 * @property {{ classA: number, classB: number, deletes: number }} packed a message, to compact its hour and seal it
 * @property {number} listed operations of class A that a run of the clock costs with nothing to do
 * @property {number} cpu microseconds a message of the whole runtime, until it is counted
 * @property {number} packingCpu microseconds a message
 * @property {number} bytes a message in the packed archive
 */

/** @param {{ secrets: Record<string, string>, workshop: import('./systems.mjs').Workshop, say: (line: string) => void }} options */
export async function measureUsage({ secrets, workshop, say }) {
  const usage = {};
  for (const [door, devices, send] of [['by the message', BY_MESSAGE, byMessage], ['by the object', BY_OBJECT, byObject]]) {
    const stage = await Stage.start({ secrets, devices, persist: workshop.fresh('usage') });
    try {
      usage[door] = await stage.measure(send);
    } finally {
      await stage.stop();
    }
    const { messages, rowsWritten } = usage[door];
    say(`usage ${door}: ${messages} messages, ${rowsWritten.toFixed(2)} rows written a device-hour`);
  }
  return usage;
}

/**
 * @typedef {object} Sent
 * @property {number} messages
 * @property {number} hours of each device
 * @property {number} requests
 * @property {number} queued
 * @property {number} uploads operations of class A by the broker
 */

/** A webhook a message, an hour long. @param {Stage} stage @param {number} hour its beginning @returns {Promise<Sent>} */
async function byMessage(stage, hour) {
  const api = httpClient({ port: stage.ports.http });
  const headers = { 'x-webhook-secret': stage.secrets.WEBHOOK_SECRET };
  const deliver = async (messages) => {
    const left = [...messages];
    const worker = async () => {
      for (let message = left.pop(); message; message = left.pop()) {
        const body = { ...message, payload_b64: Buffer.from(message.payload).toString('base64') };
        const { status, text } = await api('POST', '/webhook/telemetry', { headers, body });
        if (status !== 202) throw new Error(`/webhook/telemetry answered ${status}: ${text}`);
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, worker));
    await stage.delivered(messages.length);
  };
  const minute = (from) => stage.ids.map((id, index) => record(id, index, from + offset(index), messageId()));
  try {
    // The registry knows each device before: what is measured is an hour like every other.
    await deliver(minute(hour - 2 * DAY));
    stage.begin();
    for (let number = 0; number < 60; number += 1) await deliver(minute(hour + number * MINUTE));
  } finally {
    api.close();
  }
  const messages = 60 * stage.ids.length;
  return { messages, hours: 1, requests: messages, queued: messages, uploads: 0 };
}

/** An object every half hour. @param {Stage} stage @param {number} hour @returns {Promise<Sent>} */
async function byObject(stage, hour) {
  const { ids, ports, cloud, troubles } = stage;
  let sent = 0;
  const deliver = async (index) => {
    const object = await put(ports.http, hour + BEGINS_AFTER + index * INTERVAL * MINUTE, (from) => records(ids, from, INTERVAL));
    sent += object.lines;
    await tell(cloud, [object]);
    await settled(cloud, sent, troubles);
    return object;
  };
  await deliver(-1);
  await stage.delivered(1);
  stage.begin();
  let [messages, uploads] = [0, 0];
  for (let index = 0; index < OBJECTS; index += 1) {
    const { lines, bytes } = await deliver(index);
    [messages, uploads] = [messages + lines, uploads + Math.ceil(bytes / PART) + 2];
  }
  await stage.delivered(OBJECTS);
  return { messages, hours: (OBJECTS * INTERVAL) / 60, requests: 0, queued: OBJECTS, uploads };
}

let number = 0;
const messageId = () => (number += 1).toString(16).toUpperCase().padStart(32, '0');

/** Both workers that telemetry passes through, metered. */
class Stage {
  secrets;
  ports;
  cloud;
  /** @type {string[]} */
  ids;
  troubles = [];
  #meter = new Meter();
  #batches = 0;
  #delivered = 0;
  #taken = 0;
  #begun = { batches: 0, cpu: 0 };

  static async start({ secrets, devices: count, persist }) {
    const stage = new Stage();
    stage.secrets = secrets;
    stage.ports = await freePorts();
    stage.cloud = await startCloud({
      workers: readWorkers(['telemetry', 'archive']).map((table) => ({ ...table, services: [] })),
      secrets,
      ports: stage.ports,
      persist,
      batchTimeout: BATCH_TIMEOUT,
      adapt: (workers) => withFeeder(stage.#meter.adapt(workers)),
      onLine: (line) => stage.#meter.takeLine(line) || stage.#read(line),
      onDeadLetter: (letter) => stage.troubles.push(`given up: ${JSON.stringify(letter).slice(0, 300)}`),
      onCrash: () => stage.troubles.push('the Workers runtime crashed'),
    });
    await stage.cloud.migrate();
    const devices = makeDevices(count);
    stage.ids = devices.map(({ id }) => id);
    await enrol(await stage.cloud.database(), devices, secrets.DEVICE_KEK, 'ours');
    return stage;
  }

  #read(line) {
    const [, batch] = /"event":"queue [^"]+","outcome":"(\d+) delivered, 0 to be retried"/.exec(line) ?? [];
    if (batch) [this.#batches, this.#delivered] = [this.#batches + 1, this.#delivered + Number(batch)];
    else if (!/^\{.*"level":"info"/.test(line)) this.troubles.push(line);
  }

  /** Waits until the queue has delivered so many more messages. */
  async delivered(count) {
    this.#taken += count;
    const deadline = Date.now() + 60_000;
    while (this.#delivered < this.#taken) {
      if (this.troubles.length > 0 || Date.now() > deadline) throw new Error(`${this.#delivered} of ${this.#taken} delivered: ${this.troubles.slice(0, 3).join('\n')}`);
      await sleep(5);
    }
  }

  /** From now on it counts. */
  begin() {
    this.#meter.take();
    this.#begun = { batches: this.#batches, cpu: cpuSeconds(workersRuntime()) };
  }

  /** @param {typeof byMessage} send @returns {Promise<Usage>} */
  async measure(send) {
    const hour = Math.floor(Date.now() / HOUR) * HOUR - 7 * HOUR;
    const sent = await send(this, hour);
    const cpu = cpuSeconds(workersRuntime()) - this.#begun.cpu;
    const ingest = this.#meter.take();
    const batches = this.#batches - this.#begun.batches;

    const before = cpuSeconds(workersRuntime());
    const ages = Array.from({ length: 6 }, (_, age) => hour + (age + 2) * HOUR);
    for (const at of ages) await this.#tick(at + 1);
    const compaction = this.#meter.take();
    const packingCpu = cpuSeconds(workersRuntime()) - before;
    const archive = await this.#archive(hour);
    // What every run does, whatever there is, is told by itself: before hours are sealed, and when they are.
    await this.#tick(hour + (ages.length + 2) * HOUR + 1);
    const early = this.#meter.take();
    const upkeep = [];
    let idle = early;
    for (const age of AGES) {
      // The clock was put forward: this run makes up for those that never were.
      await this.#tick(hour + age);
      this.#meter.take();
      for (const later of RUNS) await this.#tick(hour + age + later * HOUR);
      upkeep.push(this.#meter.take());
      await this.#tick(hour + age + (RUNS.length + 1) * HOUR);
      idle = this.#meter.take();
    }
    if (this.troubles.length > 0) throw new Error(`complaints: ${this.troubles.slice(0, 3).join('\n')}`);

    const deviceHours = this.ids.length * sent.hours;
    const a = (use, messages, more = 0) => ({ classA: (use.classA + more) / messages, classB: use.classB / messages, deletes: (use.ops.delete ?? 0) / messages });
    const done = (key) => Math.max(0, compaction[key] - ages.length * early[key]);
    const kept = (key) => upkeep.reduce((sum, use) => sum + Math.max(0, use[key] - RUNS.length * idle[key]), 0);
    const packing = { classA: done('classA') + kept('classA'), classB: done('classB') + kept('classB'), ops: compaction.ops };
    const written = Object.entries(ingest.statements).map(([name, its]) => [name, its.written / deviceHours]);
    return {
      devices: this.ids.length,
      messages: sent.messages,
      requests: sent.requests,
      queued: sent.queued,
      batches,
      rowsWritten: ingest.written / deviceHours,
      rowsRead: ingest.read / deviceHours,
      written: Object.fromEntries(written.filter(([, rows]) => rows >= 0.01)),
      upkeepWritten: (done('written') + kept('written')) / archive.deviceHours,
      upkeepRead: (done('read') + kept('read')) / archive.deviceHours,
      archived: a(ingest, sent.messages, sent.uploads),
      packed: a(packing, archive.messages),
      listed: idle.classA,
      cpu: (cpu / sent.messages) * 1e6,
      packingCpu: (packingCpu / archive.messages) * 1e6,
      bytes: archive.bytes / archive.messages,
    };
  }

  /** A run of the hourly clocks. */
  async #tick(at) {
    const clocks = this.cloud.workers.flatMap(({ worker, crons }) => crons.filter((cron) => cron !== EVERY_MINUTE).map((cron) => ({ worker, cron })));
    for (const { worker, cron } of clocks) {
      await this.cloud.scheduled(worker, cron, new Date(at));
      const run = await (await this.cloud.database()).prepare('SELECT outcome, detail FROM cron_runs WHERE worker = ?1 AND cron = ?2').bind(worker, cron).first();
      if (run?.outcome !== 'ok') throw new Error(`${worker} "${cron}": ${JSON.stringify(run)}`);
    }
  }

  /** What the packed hours hold; and the rollups from an hour on, which are sealed and deleted while it counts. */
  async #archive(hour) {
    const bucket = await this.cloud.bucket('ARCHIVES');
    const found = { bytes: 0, messages: 0 };
    let cursor;
    do {
      const page = await bucket.list({ prefix: 'telemetry/2', cursor });
      for (const { key, size } of page.objects.filter((object) => /\/(packed|index|manifest)-[^/]+$/.test(object.key))) {
        found.bytes += size;
        if (key.includes('/manifest-')) found.messages += (await (await bucket.get(key)).json()).lines;
      }
      cursor = page.truncated ? page.cursor : undefined;
    } while (cursor);
    if (found.messages === 0) throw new Error('no hour was packed');
    const row = await (await this.cloud.database()).prepare('SELECT count(*) AS hours FROM telemetry_rollups WHERE hour >= ?1').bind(hour / HOUR).first();
    return { ...found, deviceHours: row.hours };
  }

  stop() {
    return this.cloud.stop();
  }
}
