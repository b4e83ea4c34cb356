// The table of zones and lines: their names, what is counted there, and the buttons that draw them.
import { Editor } from "./editor.js";
import { isInside, Regions } from "./regions.js";

export class RegionTable {
  constructor(element, view, { say, changed, save }) {
    this.regions = new Regions();
    this.body = element("regions");
    this.buttons = Object.fromEntries(["undo-point", "finish", "cancel", "save-zones"].map((id) => [id, element(id)]));
    this.editor = new Editor(view, this.regions, { say, changed: () => { this.list(); changed(); } });
    Object.assign(this, { say, changed, table: element("region-table"), record: null, clip: null });
    const on = (id, act) => element(id).addEventListener("click", act);
    this.first = element("new-zone");
    on("new-zone", () => this.editor.begin("zone"));
    on("new-line", () => this.editor.begin("line"));
    on("undo-point", () => this.editor.undo());
    on("finish", () => this.editor.finish());
    on("cancel", () => this.editor.cancel());
    on("save-zones", () => save(this.file));
    this.list();
  }

  /** The zones file; null if nothing is drawn. */
  get file() { return this.regions.all.length ? this.regions.toYaml() : null; }

  /** Show the counts: for a picture the heads in each zone, for a video all counts up to the frame. */
  count(record, clip) {
    Object.assign(this, { record, clip });
    this.regions.all.forEach((region, i) => {
      const { now, in: came, out } = this.countsOf(region);
      [came, out, now].forEach((value, n) => { this.body.rows[i].cells[n + 1].textContent = value ?? ""; });
    });
  }

  countsOf(region) {
    if (this.clip) return this.clip.isCounted ? this.clip.countsOf(region) : {};
    if (!this.record || region.kind === "line") return {};
    const { width, height, boxes } = this.record;
    const centres = boxes.map(([x1, y1, x2, y2]) => [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]);
    return { now: centres.filter((centre) => isInside(region.points, centre)).length };
  }

  list() {
    const { kind, points } = this.editor;
    this.buttons["undo-point"].disabled = !points.length;
    this.buttons.finish.disabled = !kind;
    this.buttons.cancel.disabled = !kind;
    this.buttons["save-zones"].disabled = !this.regions.all.length;
    this.table.hidden = !this.regions.all.length;
    const isSame = this.shown?.length === this.regions.all.length && this.shown.every((region, i) => region === this.regions.all[i]);
    if (isSame) return; // the user may be typing a name
    this.shown = [...this.regions.all];
    this.body.replaceChildren(...this.shown.map((region) => this.row(region)));
    this.count(this.record, this.clip);
  }

  row(region) {
    const row = document.createElement("tr");
    const name = document.createElement("input");
    Object.assign(name, { type: "text", value: region.name, maxLength: 60 });
    name.setAttribute("aria-label", `Name of the ${region.kind}`);
    name.addEventListener("change", () => {
      const problem = this.regions.rename(region, name.value);
      if (problem) this.say(problem);
      name.value = region.name;
      for (const made of row.querySelectorAll("button")) this.label(made, region);
      this.changed();
    });
    row.insertCell().append(name);
    for (let n = 0; n < 3; n += 1) row.insertCell();
    const actions = row.insertCell();
    if (region.kind === "line") actions.append(this.button("Turn", region, () => { region.points.reverse(); this.changed(); }));
    actions.append(this.button("Remove", region, () => { this.regions.remove(region); this.list(); this.changed(); this.first.focus(); }));
    return row;
  }

  button(text, region, act) {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: text });
    this.label(made, region);
    made.addEventListener("click", act);
    return made;
  }

  label(button, region) { button.setAttribute("aria-label", `${button.textContent} ${region.name}`); }
}
