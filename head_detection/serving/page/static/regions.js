// Zones and lines, in shares of the picture: their checks, what is inside, and their file.

const MOST_CORNERS = 200;
const LONGEST_NAME = 60;
const DECIMALS = 4;

const turn = ([ax, ay], [bx, by], [cx, cy]) => Math.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax));
const isBetween = ([ax, ay], [bx, by], [x, y]) => Math.min(ax, bx) <= x && x <= Math.max(ax, bx) && Math.min(ay, by) <= y && y <= Math.max(ay, by);
const rounded = (value) => Number(Math.min(Math.max(value, 0), 1).toFixed(DECIMALS));

function meet([a, b], [c, d]) {
  const turns = [turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b)];
  if (turns[0] !== turns[1] && turns[2] !== turns[3] && !turns.includes(0)) return true;
  return [[a, b, c], [a, b, d], [c, d, a], [c, d, b]].some((each, i) => turns[i] === 0 && isBetween(...each));
}

/** Return why the points do not make a zone or a line; null if they do. */
export function problemOf(kind, points) {
  if (kind === "line") return points.length === 2 && String(points[0]) !== String(points[1]) ? null : "A line has two ends.";
  if (points.length < 3) return "A zone has three corners or more.";
  if (points.length > MOST_CORNERS) return `A zone has ${MOST_CORNERS} corners at most.`;
  const sides = points.map((point, i) => [point, points[(i + 1) % points.length]]);
  if (sides.some(([start, end]) => String(start) === String(end))) return "Two corners of the zone are the same.";
  const crosses = sides.some((side, i) => sides.some((other, j) => {
    const isNext = j === i + 1 || (i === 0 && j === sides.length - 1);
    if (j <= i) return false;
    if (!isNext) return meet(side, other);
    const [corner, near, far] = j === i + 1 ? [side[1], side[0], other[1]] : [side[0], side[1], other[0]];
    const isBack = (near[0] - corner[0]) * (far[0] - corner[0]) + (near[1] - corner[1]) * (far[1] - corner[1]) > 0;
    return turn(near, corner, far) === 0 && isBack;
  }));
  return crosses ? "The sides of the zone cross: go around it in order." : null;
}

/** Return whether a point is in a zone; if two zones share a side, a point is in only one of them. */
export function isInside(corners, [x, y]) {
  return corners.filter((start, i) => {
    const [[x1, y1], [x2, y2]] = [start, corners[(i + 1) % corners.length]].sort((a, b) => a[1] - b[1]);
    return y1 <= y && y < y2 && (x2 - x1) * (y - y1) > (x - x1) * (y2 - y1);
  }).length % 2 === 1;
}

export class Regions {
  constructor() {
    this.all = []; // { kind: "zone" or "line", name, points: [[x, y], ...] }
  }

  /** Add a region under a free name; the caller has checked it with `problemOf`. */
  add(kind, points) {
    const names = this.all.map((region) => region.name);
    let number = 1;
    while (names.includes(`${kind} ${number}`)) number += 1;
    const region = { kind, name: `${kind} ${number}`, points: points.map((point) => point.map(rounded)) };
    this.all.push(region);
    return region;
  }

  remove(region) {
    this.all = this.all.filter((other) => other !== region);
  }

  /** Rename a region; return why that is not possible, or null. */
  rename(region, text) {
    const name = text.trim();
    if (!name || [...name].length > LONGEST_NAME || /[\p{C}\p{Zl}\p{Zp}]/u.test(name)) return `A name has 1 to ${LONGEST_NAME} letters.`;
    if (this.all.some((other) => other !== region && other.name === name)) return `The name ${name} is taken already.`;
    region.name = name;
    return null;
  }

  /** Return the file that `test --zones` and POST /track read; names are quoted as JSON, which is valid YAML. */
  toYaml() {
    const lines = ["# Shares of the picture, from its top left corner."];
    for (const kind of ["zone", "line"]) {
      const own = this.all.filter((region) => region.kind === kind);
      if (own.length) lines.push(`${kind}s:`);
      for (const { name, points } of own) lines.push(`  ${JSON.stringify(name)}: ${JSON.stringify(points)}`);
    }
    return `${lines.join("\n")}\n`;
  }
}
