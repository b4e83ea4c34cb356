// The requests of the page to the service.

const headersWith = (key) => (key ? { "X-API-Key": key } : {});

async function post(file, parameters, key, { path = "detect", zones = null } = {}) {
  const form = new FormData();
  form.append("file", file, file.name);
  if (zones) form.append("zones", new Blob([zones], { type: "text/yaml" }), "zones.yaml");
  const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`, {
    method: "POST", body: form, headers: headersWith(key),
  }).catch(() => { throw new Error("the service does not answer, or the file cannot be read any more"); });
  if (answer.status === 401) throw new Error("The key is missing or wrong: put it into the field Key, then choose the file again.");
  if (!answer.ok) {
    const { error, failed } = await answer.json().catch(() => ({}));
    throw new Error(error ?? failed?.[0]?.error ?? `the service answered ${answer.status}`);
  }
  return answer;
}

/** Return the record of one picture, with all heads down to the lowest score. */
export async function requestHeads(file, lowest, key) {
  const answer = await post(file, { score_threshold: lowest }, key);
  const { images, schema, model } = await answer.json();
  return { ...images[0], origin: { schema, model } };
}

/** Return the picture drawn (image) or with its heads hidden (blur), as a Blob. */
export async function requestPicture(file, threshold, format, key) {
  const answer = await post(file, { score_threshold: threshold, format }, key);
  return answer.blob();
}

/** Return what was found in a video: its records, events and counts. */
export async function requestTracks(file, threshold, zones, key) {
  const answer = await post(file, { score_threshold: threshold }, key, { path: "track", zones });
  return answer.json();
}

/** Return the video drawn (video) or with its heads hidden (blur), as a Blob. */
export async function requestVideo(file, threshold, zones, format, key) {
  const answer = await post(file, { score_threshold: threshold, format }, key, { path: "track", zones });
  return answer.blob();
}
