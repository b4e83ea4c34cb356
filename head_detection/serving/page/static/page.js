// The page: sends pictures and videos to the service, shows heads on the canvas and in the tables.
import { Clip } from "./clip.js";
import { asCsv, asJson, download, filtered } from "./downloads.js";
import { RegionTable } from "./region_table.js";
import { requestHeads, requestPicture, requestTracks, requestVideo } from "./requests.js";
import { View } from "./view.js";
import { Webcam } from "./webcam.js";

const element = (id) => document.getElementById(id);
const lowest = Number(document.body.dataset.lowestScore);
const view = new View(element("canvas"));
const slider = element("threshold");
const items = []; // { file, bitmap, record }, { file, clip } of a video, or { file, error }
let current = null;
let began = 0; // number of pictures chosen to be shown so far

slider.min = lowest;
slider.value = document.body.dataset.scoreThreshold;

const threshold = () => Number(slider.value);
const key = () => element("key")?.value ?? "";
const say = (text) => { element("status").textContent = text; };
/** Also looks at the name, because browsers do not know every kind of video. */
const isVideo = (file) => file.type.startsWith("video/") || /\.(3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpe?g|mts|ogv|ts|webm|wmv)$/i.test(file.name);
const inWords = (count, word = "head") => (count === 1 ? `1 ${word}` : `${count} ${word}s`);

/** The record that is shown, with the heads that count; for a video that of the current frame. */
function shown() {
  if (current?.clip) {
    const { videoWidth: width, videoHeight: height } = current.clip.element;
    return current.clip.record ?? (width ? { file: current.file.name, width, height, count: 0, boxes: [], scores: [] } : null);
  }
  return current?.record ? filtered(current.record, threshold()) : null;
}

function show() {
  const record = shown();
  const clip = current?.clip;
  const isWaiting = clip && !clip.answer;
  if (clip) clip.isCounted = !isWaiting && clip.asked === askedOfVideo();
  element("threshold-value").textContent = threshold().toFixed(2);
  element("count").textContent = record && !isWaiting ? inWords(record.count) : "";
  view.draw(clip ? clip.isShown && clip.element : current?.bitmap, record, 0);
  element("canvas").setAttribute("aria-label", record
    ? `${record.file} with a box around each of ${inWords(record.count)}` : "No picture");
  element("playing").hidden = !clip;
  element("shown").hidden = !current;
  element("note").textContent = noteOf(clip);
  if (clip) {
    element("time").max = clip.duration;
    element("time").value = clip.seconds;
    element("time-value").textContent = `${clip.seconds.toFixed(1)} s`;
    element("play").textContent = clip.isPlaying ? "Pause" : "Play";
  }
  const isKnown = items.some((item) => item.record || item.clip?.answer);
  for (const kind of ["json", "csv"]) element(`download-${kind}`).disabled = !isKnown;
  for (const kind of ["drawn", "blurred"]) element(`download-${kind}`).disabled = !record;
  regions.count(record, clip);
}

function noteOf(clip) {
  if (!clip) {
    const start = current && !current.bitmap ? "This browser cannot show this kind of picture, only its boxes. " : "";
    return `${start}Moving the slider sends nothing: all heads with a score of ${lowest.toFixed(2)} or more are here already.`;
  }
  if (clip.answer && !clip.isCounted) return "The minimum score, a zone or a line has changed: Count again sends the video again.";
  const start = clip.answer && !clip.isShown ? "This browser cannot show this kind of video, only its boxes. " : "";
  return `${start}For a video, a changed minimum score, zone or line takes effect with Count again.`;
}

/** The options that the counts of a video depend on. */
const askedOfVideo = () => `${threshold()}\n${regions.file}`;

function cell(row, text) {
  const made = row.appendChild(document.createElement("td"));
  if (text instanceof Node) made.append(text); else made.textContent = text;
}

function headsOf(item) {
  if (item.error) return item.error;
  if (!item.clip) return item.record ? String(filtered(item.record, threshold()).count) : "being detected";
  if (!item.clip.answer) return "being tracked";
  const { images } = item.clip.answer;
  const followed = new Set(images.flatMap((record) => record.ids.filter((id) => id > 0)));
  return `${followed.size} followed, ${Math.max(...images.map((record) => record.count))} at once`;
}

function list() {
  element("pictures").replaceChildren(...items.map((item) => {
    const row = document.createElement("tr");
    const choose = document.createElement("button");
    const record = item.record ?? item.clip?.record;
    choose.type = "button";
    choose.textContent = item.file.name;
    choose.disabled = !item.record && !item.clip;
    choose.addEventListener("click", () => select(item));
    cell(row, choose);
    cell(row, headsOf(item));
    if (item.error) row.lastChild.colSpan = 2; // a sentence needs the room
    else cell(row, record ? `${record.width} x ${record.height}` : "");
    if (item === current) row.setAttribute("aria-current", "true");
    return row;
  }));
}

/** Show nothing, and free the picture: a decoded one is large, so there is only one at a time. */
function leave() {
  view.draw(null, null, 0);
  current?.clip?.pause();
  current?.bitmap?.close();
  if (current) current.bitmap = null;
  current = null;
}

async function select(item) {
  webcam.stop();
  const number = began += 1;
  // The service reads some kinds of pictures that browsers cannot show.
  const bitmap = item.clip ? null : await createImageBitmap(item.file).catch(() => null);
  if (number !== began) { // another one was chosen meanwhile
    bitmap?.close();
    return;
  }
  leave();
  current = item;
  item.bitmap = bitmap;
  view.reset();
  if (item.clip) item.clip.isShown = await item.clip.load();
  show();
  list();
}

async function add(files) {
  if (!files.length) return;
  webcam.stop();
  element("results").hidden = false;
  for (const [number, file] of [...files].entries()) {
    say(`${number + 1} of ${files.length}: ${file.name} ...`);
    const item = { file };
    items.push(item);
    if (isVideo(file)) await track(item); else await detect(item);
  }
  if (files.length === 1 && current?.clip) return; // its status is shown already
  const failed = items.filter((item) => item.error).length;
  say(`${inWords(items.length, "file")}${failed ? `, ${failed} without an answer` : ""}`);
}

async function detect(item) {
  try {
    item.record = await requestHeads(item.file, lowest, key());
    await select(item);
  } catch (error) {
    item.error = error.message;
    show();
    list();
  }
}

/** Track the heads in a video, and count them at the zones and lines drawn. */
async function track(item) {
  item.clip ??= new Clip(item.file, element("video"), show);
  item.clip.answer = null;
  delete item.error;
  await select(item);
  say(`${item.file.name}: tracking its heads, which may take minutes ...`);
  element("again").disabled = true;
  try {
    const asked = askedOfVideo();
    item.clip.answer = await requestTracks(item.file, threshold(), regions.file, key());
    item.clip.asked = asked;
    say(`${item.file.name}: ${headsOf(item)}`);
  } catch (error) {
    item.error = error.message;
    say(error.message);
  } finally {
    element("again").disabled = false;
  }
  show();
  list();
}

async function downloadPicture(kind) {
  const { file, clip, record } = current ?? {};
  if (!record && !clip) return;
  const isBlurred = kind === "blurred";
  try {
    const content = clip
      ? await requestVideo(file, threshold(), regions.file, isBlurred ? "blur" : "video", key())
      : await requestPicture(file, threshold(), isBlurred ? "blur" : "image", key());
    download(`${kind}.${clip ? "mp4" : "jpg"}`, content);
  } catch (error) {
    say(error.message);
  }
}

const regions = new RegionTable(element, view, { say, changed: show, save: (text) => download("zones.yaml", new Blob([text], { type: "text/yaml" })) });
const webcam = new Webcam(element("video"), element("webcam"), {
  key,
  lowest,
  say,
  began: () => {
    began += 1;
    leave();
    element("results").hidden = false;
    list();
  },
  seen: ({ bitmap, file }, record) => {
    current?.bitmap?.close();
    current = { file, bitmap, record };
    show();
  },
});

// So that the same file can be chosen again, with another key for example: a browser only reports a
// change of the choice.
element("files").addEventListener("click", (event) => { event.target.value = ""; });
element("files").addEventListener("change", (event) => add([...event.target.files]));
const drop = element("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  // On the whole page: a browser would open a picture that is dropped beside the field.
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") add([...event.dataTransfer.files]);
  });
}
const on = (id, act) => element(id).addEventListener(id === "time" ? "input" : "click", act);
slider.addEventListener("input", () => { show(); list(); });
on("zoom-in", () => view.zoom(1.5));
on("zoom-out", () => view.zoom(1 / 1.5));
on("zoom-all", () => view.reset());
on("play", () => (current.clip.isPlaying ? current.clip.pause() : current.clip.play()));
on("time", () => current.clip.seek(Number(element("time").value)));
on("again", () => track(current));
on("download-json", () => { const content = asJson(items, threshold()); if (content) download("detections.json", content); });
on("download-csv", () => download("detections.csv", asCsv(items, threshold())));
on("download-drawn", () => downloadPicture("drawn"));
on("download-blurred", () => downloadPicture("blurred"));
show();
