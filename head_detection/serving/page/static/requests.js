// What the page asks the service.

const headersWith = (key) => (key ? { "X-API-Key": key } : {});

async function post(file, parameters, key) {
  const form = new FormData();
  form.append("file", file, file.name);
  const answer = await fetch(`detect?${new URLSearchParams(parameters)}`, {
    method: "POST", body: form, headers: headersWith(key),
  });
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
