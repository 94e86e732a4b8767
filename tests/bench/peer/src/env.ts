// What the worker is bound to: the telemetry worker's bindings, under the same names. Only what is used is declared.

export interface D1PreparedStatement {
  bind(...values: (string | number | null)[]): D1PreparedStatement;
  first<Row>(): Promise<Row | null>;
  all<Row>(): Promise<{ results: Row[] }>;
  run(): Promise<{ meta: { changes: number } }>;
}

export interface Env {
  ENVIRONMENT: string;
  WEBHOOK_SECRET: string;
  WEBHOOK_SECRET_PREVIOUS?: string;
  /** 64 hex digits. */
  DEVICE_KEK: string;
  DB: { prepare(sql: string): D1PreparedStatement };
  ARCHIVES: { put(key: string, body: string, options?: { httpMetadata?: { contentType?: string } }): Promise<unknown> };
  ANALYTICS?: { writeDataPoint(point: { indexes: string[]; blobs: string[]; doubles: number[] }): void };
}

/** What the middleware leaves for the handlers and for the log line. */
export interface Variables {
  requestId: string;
  /** What the log line says besides the usual. */
  note?: string;
}

export type App = { Bindings: Env; Variables: Variables };

/** What the device API is bound to. */
export interface ApiEnv extends Env {
  JWT_SECRET: string;
  APP_ORIGINS: string;
  EMQX_API_URL: string;
  EMQX_API_KEY: string;
  RATE_LIMIT: { limit(request: { key: string }): Promise<{ success: boolean }> };
}

export type ApiApp = { Bindings: ApiEnv; Variables: Variables & { user: string } };
