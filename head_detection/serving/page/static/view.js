// A picture with its boxes on a canvas, which can be zoomed and moved.

const CLOSEST = 40; // canvas pixels per picture pixel at the highest zoom
const TAP = 6; // canvas pixels that a finger may move in a tap
const STEP = 60; // canvas pixels that an arrow key moves the picture

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.pointers = new Map();
    this.reset();
    new ResizeObserver(() => this.paint()).observe(canvas);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
      this.held = this.pointers.size === 1 ? this.grabbed?.(event.offsetX, event.offsetY) : null;
      this.way = this.pointers.size === 1 ? 0 : TAP; // two fingers never tap
    });
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.release(event));
    }
    canvas.addEventListener("keydown", (event) => this.press(event));
  }

  draw(bitmap, record, threshold) {
    Object.assign(this, { bitmap, record, threshold });
    this.canvas.dataset.shape = record && record.width > 1.1 * record.height ? "wide" : "tall";
    this.paint();
  }

  reset() {
    Object.assign(this, { factor: 1, left: 0, top: 0 });
    this.paint();
  }

  /** Canvas pixels per picture pixel when the whole picture is shown. */
  get fit() {
    const { clientWidth, clientHeight } = this.canvas;
    return this.record ? Math.min(clientWidth / this.record.width, clientHeight / this.record.height) : 1;
  }

  /** Zoom about a point of the canvas, which stays where it is. */
  zoom(by, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const factor = Math.min(Math.max(this.factor * by, 1), Math.max(1, CLOSEST / this.fit));
    const change = factor / this.factor;
    const [atX, atY] = [x - this.canvas.clientWidth / 2, y - this.canvas.clientHeight / 2];
    this.left = atX - (atX - this.left) * change;
    this.top = atY - (atY - this.top) * change;
    this.factor = factor;
    this.paint();
  }

  move(x, y) {
    this.left += x;
    this.top += y;
    this.paint();
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.pointers.values()].filter((each) => each.pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.way += Math.hypot(event.offsetX - before.offsetX, event.offsetY - before.offsetY);
    if (this.held) {
      this.held(this.pointAt(event.offsetX, event.offsetY), false);
    } else if (others.length) {
      const distance = (each) => Math.hypot(each.offsetX - others[0].offsetX, each.offsetY - others[0].offsetY);
      this.zoom(distance(event) / Math.max(1, distance(before)), event.offsetX, event.offsetY);
    } else {
      this.move(event.offsetX - before.offsetX, event.offsetY - before.offsetY);
    }
  }

  release(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const point = this.pointAt(event.offsetX, event.offsetY);
    if (this.held) this.held(point, true);
    else if (event.type === "pointerup" && this.way < TAP) this.tapped?.(point);
    this.held = null;
  }

  /** The place on the canvas of a point in shares of the picture. */
  placeOf([x, y]) {
    const { width, height } = this.record ?? { width: 1, height: 1 };
    return [this.x0 + x * width * this.scale, this.y0 + y * height * this.scale];
  }

  /** The point in shares of the picture at a place on the canvas. */
  pointAt(x, y) {
    const { width, height } = this.record ?? { width: 1, height: 1 };
    return [(x - this.x0) / (width * this.scale), (y - this.y0) / (height * this.scale)];
  }

  press(event) {
    if (this.pressed?.(event)) {
      event.preventDefault();
      return;
    }
    const actions = {
      "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8), 0: () => this.reset(),
      ArrowLeft: () => this.move(STEP, 0), ArrowRight: () => this.move(-STEP, 0),
      ArrowUp: () => this.move(0, STEP), ArrowDown: () => this.move(0, -STEP),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  }

  paint() {
    const { canvas, pen, record } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    if (!record || !width) return;
    const scale = this.fit * this.factor;
    const [shownWidth, shownHeight] = [record.width * scale, record.height * scale];
    const limit = (value, room) => Math.min(Math.max(value, -room), room);
    this.left = limit(this.left, Math.max(0, (shownWidth - width) / 2));
    this.top = limit(this.top, Math.max(0, (shownHeight - height) / 2));
    const x0 = (width - shownWidth) / 2 + this.left;
    const y0 = (height - shownHeight) / 2 + this.top;
    Object.assign(this, { scale, x0, y0 });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.imageSmoothingEnabled = scale < 4;
    if (this.bitmap) pen.drawImage(this.bitmap, x0, y0, shownWidth, shownHeight);
    for (const [color, line] of [["#000", 4], ["#39ff14", 2]]) {
      pen.strokeStyle = color;
      pen.lineWidth = line;
      record.boxes.forEach(([x1, y1, x2, y2], index) => {
        if (record.scores[index] < this.threshold) return;
        pen.strokeRect(x0 + x1 * scale, y0 + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale);
      });
    }
    this.overlay?.(pen, (point) => this.placeOf(point));
  }
}
