// The downloads of the page: JSON and CSV with all results.

const HEADER = "file,frame,seconds,id,x1,y1,x2,y2,score";

/** Give a file to the user. */
export function download(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Return a picture's record with the heads from a score on; for a video the service filters them. */
export function filtered(record, threshold) {
  const kept = record.scores.map((score, index) => (score >= threshold ? index : -1)).filter((index) => index >= 0);
  return { ...record, count: kept.length, boxes: kept.map((i) => record.boxes[i]), scores: kept.map((i) => record.scores[i]) };
}

function recordsOf(item, threshold) {
  if (item.clip) return item.clip.answer?.images ?? [];
  if (!item.record) return [];
  const { origin, ...record } = filtered(item.record, threshold);
  return [record];
}

/** Return all results as `detections.json`. */
export function asJson(items, threshold) {
  const found = items.map((item) => item.clip?.answer ?? item.record?.origin).find(Boolean);
  if (!found) return null;
  const images = items.flatMap((item) => recordsOf(item, threshold));
  const failed = items.flatMap((item) => (item.error ? [{ file: item.file.name, error: item.error }] : item.clip?.answer?.failed ?? []));
  const clips = items.filter((item) => item.clip?.answer);
  const thresholds = clips.map((item) => item.clip.answer.score_threshold); // those that the videos were counted with
  if (items.some((item) => item.record)) thresholds.push(threshold);
  const content = { schema: found.schema, model: found.model, score_threshold: Math.min(...thresholds), images, failed };
  if (clips.length) {
    content.events = clips.flatMap((item) => item.clip.answer.events);
    content.counts = clips.flatMap((item) => item.clip.answer.counts);
  }
  return new Blob([JSON.stringify(content)], { type: "application/json" });
}

/** Return all results as `detections.csv`. */
export function asCsv(items, threshold) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [HEADER];
  for (const record of items.flatMap((item) => recordsOf(item, threshold))) {
    record.boxes.forEach((box, i) => lines.push([
      quoted(record.file), record.frame ?? "", record.seconds ?? "", record.ids?.[i] ?? "", ...box, record.scores[i],
    ].join(",")));
  }
  return new Blob([`${lines.join("\n")}\n`], { type: "text/csv" });
}
