// The JavaScript half of env.rs.

export function variables(env) {
  const found = {};
  for (const [name, value] of Object.entries(env)) {
    if (typeof value === "string") found[name] = value;
    else if (typeof value === "number" || typeof value === "boolean") found[name] = String(value);
  }
  return JSON.stringify(found);
}
