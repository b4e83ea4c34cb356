// Draws zones and lines on the canvas: by mouse, by touch, or with the arrow keys and Enter.
import { problemOf } from "./regions.js";

const STEP = 0.01; // share of the picture that an arrow key moves the cross
const FINE_STEP = 0.002; // the same, with Shift
const REACH = 14; // distance in canvas pixels within which a corner can be dragged
const COLORS = { zone: "#ffd400", line: "#00e5ff" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const limited = (value) => Math.min(Math.max(value, 0), 1);

export class Editor {
  constructor(view, regions, { say, changed }) {
    Object.assign(this, { view, regions, say, changed, kind: null, points: [], cursor: null });
    view.overlay = (pen, place) => this.paint(pen, place);
    view.tapped = (point) => this.add(point);
    view.grabbed = (x, y) => this.grab(x, y);
    view.pressed = (event) => this.press(event);
  }

  begin(kind) {
    Object.assign(this, { kind, points: [], cursor: [0.5, 0.5] });
    this.view.canvas.focus();
    this.tell(kind === "zone" ? "Corners of the zone, then Finish" : "Two ends of the line");
  }

  cancel() {
    Object.assign(this, { kind: null, points: [], cursor: null });
    this.view.canvas.focus({ preventScroll: true }); // the button that had the focus is disabled now
    this.tell("");
  }

  undo() {
    this.points.pop();
    this.tell(`${this.points.length} points`);
  }

  add(point) {
    if (!this.kind) return;
    const [x, y] = point.map(limited);
    this.points.push([x, y]);
    if (this.cursor) this.cursor = [x, y];
    this.tell(`Point ${this.points.length} at ${this.words([x, y])}`);
    if (this.kind === "line" && this.points.length === 2) this.finish();
  }

  finish() {
    const problem = problemOf(this.kind, this.points);
    if (problem) {
      this.tell(problem);
      if (this.kind === "line") this.points.pop();
      return;
    }
    const { name } = this.regions.add(this.kind, this.points);
    this.cancel();
    this.tell(`${name} added`);
  }

  /** Return a function that moves the corner at a place of the canvas; null if there is no corner. */
  grab(x, y) {
    const near = ([px, py]) => Math.hypot(px - x, py - y) <= REACH;
    for (const region of this.kind ? [] : this.regions.all) {
      const index = region.points.findIndex((point) => near(this.view.placeOf(point)));
      if (index >= 0) return (point, isLast) => this.move(region, index, point, isLast);
    }
    return null;
  }

  move(region, index, point, isLast) {
    this.before ??= region.points;
    region.points = region.points.map((old, i) => (i === index ? point.map((v) => Number(limited(v).toFixed(4))) : old));
    if (isLast) {
      const problem = problemOf(region.kind, region.points);
      if (problem) region.points = this.before;
      this.before = undefined;
      this.tell(problem ?? "");
    } else {
      this.view.paint();
    }
  }

  /** Handle a key while something is drawn; return whether it was one of ours. */
  press(event) {
    if (!this.kind || event.ctrlKey || event.metaKey || event.altKey) return false;
    const actions = { Enter: () => this.add(this.cursor), " ": () => this.add(this.cursor), Backspace: () => this.undo(), Escape: () => this.cancel(), f: () => this.finish() };
    const arrow = ARROWS[event.key];
    if (arrow) {
      const step = event.shiftKey ? FINE_STEP : STEP;
      this.cursor = this.cursor.map((value, i) => limited(value + arrow[i] * step));
      this.tell(this.words(this.cursor));
    } else if (actions[event.key]) {
      actions[event.key]();
    } else {
      return false;
    }
    return true;
  }

  words([x, y]) {
    return `${(100 * x).toFixed(1)} % across, ${(100 * y).toFixed(1)} % down`;
  }

  tell(text) {
    this.say(text);
    this.changed();
    this.view.paint();
  }

  paint(pen, place) {
    for (const region of this.regions.all) this.stroke(pen, region.points.map(place), region.kind, region.name);
    if (!this.kind) return;
    this.stroke(pen, this.points.map(place), this.kind, "", true);
    const [x, y] = place(this.cursor);
    for (const [color, width] of [["#000", 4], ["#fff", 2]]) {
      Object.assign(pen, { strokeStyle: color, lineWidth: width });
      pen.beginPath();
      pen.moveTo(x - 10, y); pen.lineTo(x + 10, y); pen.moveTo(x, y - 10); pen.lineTo(x, y + 10);
      pen.stroke();
    }
  }

  stroke(pen, places, kind, name, isOpen = false) {
    if (!places.length) return;
    for (const [color, width] of [["#000", 5], [COLORS[kind], 3]]) {
      Object.assign(pen, { strokeStyle: color, lineWidth: width, fillStyle: color });
      pen.beginPath();
      places.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      if (kind === "zone" && !isOpen) pen.closePath();
      if (kind === "line" && places.length === 2) this.arrow(pen, ...places);
      pen.stroke();
      for (const [x, y] of places) pen.fillRect(x - width, y - width, 2 * width, 2 * width);
    }
    const [x, y] = places[0];
    Object.assign(pen, { font: "600 14px system-ui, sans-serif", strokeStyle: "#000", lineWidth: 4, fillStyle: COLORS[kind] });
    pen.strokeText(name, x + 8, y + 18);
    pen.fillText(name, x + 8, y + 18);
  }

  /** Draw an arrow from the middle of a line to its *in* side: the left, walking along it (y points down). */
  arrow(pen, [x1, y1], [x2, y2]) {
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    const [nx, ny] = [(y2 - y1) / length, (x1 - x2) / length];
    const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
    const [tx, ty] = [mx + 28 * nx, my + 28 * ny];
    pen.moveTo(mx, my); pen.lineTo(tx, ty);
    pen.moveTo(tx - 9 * nx - 7 * ny, ty - 9 * ny + 7 * nx); pen.lineTo(tx, ty);
    pen.lineTo(tx - 9 * nx + 7 * ny, ty - 9 * ny - 7 * nx);
  }
}
