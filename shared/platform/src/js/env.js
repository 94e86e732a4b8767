// The JavaScript half of env.rs.

export function variables(env) {
  const found = {};
  for (const [name, value] of Object.entries(env)) {
    if (typeof value === "string") found[name] = value;
    else if (typeof value === "number" || typeof value === "boolean") found[name] = String(value);
    // A variable that is JSON. No binding is an array.
    else if (Array.isArray(value)) found[name] = JSON.stringify(value);
  }
  return JSON.stringify(found);
}
