// Whether a polygon crosses or touches itself. Coordinates are small integers: doubles hold every product exactly.

export type Vertex = [number, number];

const cross = (a: Vertex, b: Vertex, p: Vertex) => Math.sign((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]));
const within = (a: Vertex, b: Vertex, p: Vertex) =>
  Math.min(a[0], b[0]) <= p[0] && p[0] <= Math.max(a[0], b[0]) && Math.min(a[1], b[1]) <= p[1] && p[1] <= Math.max(a[1], b[1]);

function meet(a: Vertex, b: Vertex, c: Vertex, d: Vertex): boolean {
  const [abc, abd, cda, cdb] = [cross(a, b, c), cross(a, b, d), cross(c, d, a), cross(c, d, b)];
  if (abc * abd < 0 && cda * cdb < 0) return true;
  return (abc === 0 && within(a, b, c)) || (abd === 0 && within(a, b, d)) || (cda === 0 && within(c, d, a)) || (cdb === 0 && within(c, d, b));
}

export function crossings(vertices: Vertex[]): { vertex: number; message: string }[] {
  const count = vertices.length;
  const at = (index: number) => vertices[index % count]!;
  const faults: { vertex: number; message: string }[] = [];
  for (let i = 0; i < count; i++) {
    const [a, b] = [at(i), at(i + 1)];
    if (a[0] === b[0] && a[1] === b[1]) faults.push({ vertex: (i + 1) % count, message: 'repeats its neighbour' });
    const next = at(i + 2);
    const dot = (b[0] - a[0]) * (next[0] - b[0]) + (b[1] - a[1]) * (next[1] - b[1]);
    if (cross(a, b, next) === 0 && dot < 0) faults.push({ vertex: (i + 1) % count, message: 'folds back' });
    for (let j = i + 2; j < count; j++) {
      if ((j + 1) % count === i) continue;
      if (meet(a, b, at(j), at(j + 1))) faults.push({ vertex: j, message: `meets the edge from vertex ${i}` });
    }
  }
  return faults;
}
