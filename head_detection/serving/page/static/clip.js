// A video of the page, shown on the canvas with the heads of the current frame.

const EPSILON = 0.0005; // seconds by which the browser's time may lie before a frame's

export class Clip {
  constructor(file, element, shown) {
    Object.assign(this, { file, element, shown, answer: null, isPlaying: false });
    this.url = URL.createObjectURL(file);
  }

  /** Load the first frame; false if the browser cannot show it. */
  async load() {
    const { element } = this;
    Object.assign(element, { srcObject: null, muted: true, preload: "auto" });
    const isShown = await new Promise((done) => {
      element.onloadeddata = () => done(true);
      element.onerror = () => done(false);
      element.src = this.url;
    });
    element.ontimeupdate = () => this.shown();
    element.onseeked = () => this.shown();
    element.onended = () => this.pause();
    return isShown;
  }

  get seconds() { return this.element.currentTime || 0; }

  get duration() { return Number.isFinite(this.element.duration) ? this.element.duration : this.answer?.images.at(-1).seconds ?? 0; }

  /** The record of the frame that is shown. */
  get record() {
    const records = this.answer?.images ?? [];
    let [low, high] = [0, records.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (records[middle].seconds <= this.seconds + EPSILON) low = middle + 1; else high = middle;
    }
    return records[Math.max(0, low - 1)];
  }

  /** Counts at a region up to the frame that is shown: in, out, and, for a zone, now. */
  countsOf(region) {
    const frame = this.record?.frame ?? -1;
    const own = (this.answer?.events ?? []).filter((event) => event[region.kind] === region.name && event.frame <= frame);
    const number = (test) => own.filter(test).length;
    return {
      in: number((event) => event.event === "entry" || event.direction === "in"),
      out: number((event) => event.event === "exit" || event.direction === "out"),
      now: region.kind === "zone" ? this.record?.zones?.[region.name] : undefined,
    };
  }

  async play() {
    this.isPlaying = true;
    try {
      await this.element.play();
    } catch { // the browser cannot play it, or another file was chosen meanwhile
      this.pause();
      return;
    }
    const step = () => {
      if (!this.isPlaying) return;
      this.shown();
      requestAnimationFrame(step);
    };
    step();
  }

  pause() {
    this.isPlaying = false;
    this.element.pause();
    this.shown();
  }

  seek(seconds) { this.element.currentTime = seconds; }
}
