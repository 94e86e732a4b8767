// A device's end of MQTT, with the codes that the broker answers.

import mqtt from 'mqtt';
import { HOST } from '../lib/ports.mjs';

/**
 * What the broker means by its codes, in the words of the specification.
 * @param {number} code
 */
export function codeName(code) {
  const names = { 0: 'granted', 4: 'bad user name or password', 5: 'not authorized', 16: 'no subscribers', 0x80: 'refused' };
  names[0x86] = 'bad user name or password';
  names[0x87] = 'not authorized';
  return `${code < 0x80 ? code : `0x${code.toString(16)}`}${names[code] ? ` (${names[code]})` : ''}`;
}

/**
 * Connects, or learns why not.
 *
 * @param {object} options
 * @param {number} options.port
 * @param {4 | 5} options.version 4 is 3.1.1
 * @param {string} options.username
 * @param {string} options.password
 * @param {string} [options.clientId] the user name, unless given
 * @param {{ topic: string, payload: string }} [options.will] QoS 1, retained
 * @returns {Promise<{ code: number, client: Client | null }>} the CONNACK's code: 0, or why it was refused
 */
export function connect({ port, version, username, password, clientId = username, will }) {
  return new Promise((done, fail) => {
    const client = mqtt.connect(`mqtt://${HOST}:${port}`, {
      protocolVersion: version,
      clientId,
      username,
      password,
      clean: true,
      keepalive: 30,
      // One attempt: the journey is about what the broker answers to it.
      reconnectPeriod: 0,
      connectTimeout: 10_000,
      ...(will ? { will: { ...will, payload: Buffer.from(will.payload), qos: 1, retain: true } } : {}),
    });
    client.once('connect', () => done({ code: 0, client: new Client(client) }));
    client.on('error', (error) => {
      client.end(true);
      if (typeof error.code === 'number') done({ code: error.code, client: null });
      else fail(new Error(`MQTT: ${error.message}`));
    });
    client.once('close', () => fail(new Error('MQTT: the connection was closed before an answer')));
  });
}

class Client {
  #client;

  constructor(client) {
    this.#client = client;
    client.on('error', () => {});
  }

  /** @returns {Promise<number>} the PUBACK's code; 3.1.1 has none, and so is always 0 */
  publish(topic, payload, { retain = false } = {}) {
    return new Promise((done, fail) => {
      const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
      this.#client.publish(topic, text, { qos: 1, retain }, (error, packet) => {
        if (!error) done(packet?.reasonCode ?? 0);
        else if (typeof error.code === 'number') done(error.code);
        else fail(new Error(`MQTT: ${error.message}`));
      });
    });
  }

  /** @returns {Promise<number>} the SUBACK's code: the granted QoS, or why it was refused */
  subscribe(filter) {
    return new Promise((done, fail) => {
      this.#client.subscribe(filter, { qos: 1 }, (error, granted) => {
        // A refusal comes as an error that carries the SUBACK.
        const refused = error?.packet?.granted?.[0];
        if (refused !== undefined) done(refused);
        else if (error) fail(new Error(`MQTT: ${error.message}`));
        else done(granted[0].qos);
      });
    });
  }

  /**
   * The next message on a topic, read as JSON. Ask before what brings it is done.
   * @param {string} topic @param {number} [within] milliseconds
   */
  next(topic, within = 10_000) {
    return new Promise((done, fail) => {
      const tooLate = setTimeout(() => fail(new Error(`MQTT: nothing came on ${topic} within ${within / 1000} s`)), within);
      const listen = (given, payload) => {
        if (given !== topic) return;
        clearTimeout(tooLate);
        this.#client.off('message', listen);
        done(JSON.parse(payload.toString('utf8')));
      };
      this.#client.on('message', listen);
    });
  }

  /** Says goodbye: the broker forgets the will. */
  disconnect() {
    return this.#client.endAsync();
  }

  /** Is gone without a word, as a device without power: the broker publishes the will. */
  vanish() {
    this.#client.stream.destroy();
    this.#client.end(true);
  }
}
