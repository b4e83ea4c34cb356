// The page: pictures to the service, heads onto the canvas and into the table.
import { requestHeads, requestPicture } from "./requests.js";
import { View } from "./view.js";
import { Webcam } from "./webcam.js";

const element = (id) => document.getElementById(id);
const lowest = Number(document.body.dataset.lowestScore);
const view = new View(element("canvas"));
const slider = element("threshold");
const pictures = []; // { file, bitmap, record }, or { file, error }
let current = null;

slider.min = lowest;
slider.value = document.body.dataset.scoreThreshold;

const threshold = () => Number(slider.value);
const key = () => element("key")?.value ?? "";
const say = (text) => { element("status").textContent = text; };
const heads = (record) => record.scores.filter((score) => score >= threshold()).length;
const inWords = (count) => (count === 1 ? "1 head" : `${count} heads`);

function show() {
  const record = current?.record;
  element("threshold-value").textContent = threshold().toFixed(2);
  element("count").textContent = record ? inWords(heads(record)) : "";
  view.draw(current?.bitmap, record, threshold());
  element("canvas").setAttribute("aria-label", record
    ? `${record.file} with a box around each of ${inWords(heads(record))}` : "No picture");
}

function cell(row, text, name = "td") {
  const made = row.appendChild(document.createElement(name));
  if (text instanceof Node) made.append(text); else made.textContent = text;
}

function list() {
  element("pictures").replaceChildren(...pictures.map((picture) => {
    const row = document.createElement("tr");
    const choose = document.createElement("button");
    choose.type = "button";
    choose.textContent = picture.file.name;
    choose.disabled = !picture.record;
    choose.addEventListener("click", () => select(picture));
    cell(row, choose);
    cell(row, picture.record ? String(heads(picture.record)) : picture.error);
    cell(row, picture.record ? `${picture.record.width} x ${picture.record.height}` : "");
    if (picture === current) row.setAttribute("aria-current", "true");
    return row;
  }));
}

function select(picture) {
  current = picture;
  view.reset();
  show();
  list();
}

async function add(files) {
  webcam.stop();
  element("results").hidden = false;
  for (const [number, file] of [...files].entries()) {
    say(`${number + 1} of ${files.length}: ${file.name} ...`);
    const picture = { file };
    try {
      picture.record = await requestHeads(file, lowest, key());
      // Some kinds of pictures that the service reads are shown by no browser.
      picture.bitmap = await createImageBitmap(file).catch(() => null);
    } catch (error) {
      picture.error = error.message;
    }
    pictures.push(picture);
    if (picture.record) select(picture); else list();
  }
  const failed = pictures.filter((picture) => picture.error).length;
  say(`${pictures.length} pictures${failed ? `, ${failed} without an answer` : ""}`);
}

function download(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function filtered(record) {
  const kept = record.scores.map((score, index) => (score >= threshold() ? index : -1)).filter((index) => index >= 0);
  return { ...record, count: kept.length, boxes: kept.map((i) => record.boxes[i]), scores: kept.map((i) => record.scores[i]) };
}

async function downloadJson() {
  const first = pictures.find((picture) => picture.record);
  if (!first) return;
  const { schema, model } = first.record.origin;
  const images = pictures.filter((p) => p.record).map((p) => filtered(p.record)).map(({ origin, ...record }) => record);
  const failed = pictures.filter((p) => p.error).map((p) => ({ file: p.file.name, error: p.error }));
  const content = { schema, model, score_threshold: threshold(), images, failed };
  download("detections.json", new Blob([JSON.stringify(content)], { type: "application/json" }));
}

function downloadCsv() {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = ["file,frame,seconds,id,x1,y1,x2,y2,score"];
  for (const picture of pictures.filter((p) => p.record)) {
    const record = filtered(picture.record);
    record.boxes.forEach((box, i) => lines.push([quoted(record.file), "", "", "", ...box, record.scores[i]].join(",")));
  }
  download("detections.csv", new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
}

async function downloadPicture(format, name) {
  if (!current?.record) return;
  try {
    download(name, await requestPicture(current.file, threshold(), format, key()));
  } catch (error) {
    say(error.message);
  }
}

const webcam = new Webcam(element("video"), element("webcam"), {
  key,
  lowest,
  say,
  began: () => { element("results").hidden = false; },
  seen: (bitmap, record) => {
    if (current?.bitmap && current.isLive) current.bitmap.close();
    current = { file: { name: "webcam" }, bitmap, record, isLive: true };
    show();
  },
});

element("files").addEventListener("change", (event) => add([...event.target.files]));
const drop = element("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") add([...event.dataTransfer.files]);
  });
}
slider.addEventListener("input", () => { show(); list(); });
element("zoom-in").addEventListener("click", () => view.zoom(1.5));
element("zoom-out").addEventListener("click", () => view.zoom(1 / 1.5));
element("zoom-all").addEventListener("click", () => view.reset());
element("download-json").addEventListener("click", downloadJson);
element("download-csv").addEventListener("click", downloadCsv);
element("download-drawn").addEventListener("click", () => downloadPicture("image", "drawn.jpg"));
element("download-blurred").addEventListener("click", () => downloadPicture("blur", "blurred.jpg"));
show();
