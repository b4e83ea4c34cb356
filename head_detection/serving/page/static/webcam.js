// Sends frames of a webcam to the service, each once the previous one is answered.

const QUALITY = 0.85;
const PAUSE = 1000; // milliseconds after an error: a full queue would be asked again at once

export class Webcam {
  constructor(video, button, { key, lowest, say, began, seen }) {
    Object.assign(this, { video, button, key, lowest, say, began, seen });
    this.canvas = document.createElement("canvas");
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => (this.stream ? this.stop("Webcam off") : this.start()));
  }

  async start() {
    if (!navigator.mediaDevices) {
      this.say("The webcam cannot be used: browsers allow it only for pages over https, or from this machine.");
      return;
    }
    if (this.isAsking) return; // a second stream would never be ended
    this.isAsking = true;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch (error) {
      this.say(`The webcam cannot be used: ${error.message}`);
      return;
    } finally {
      this.isAsking = false;
    }
    this.stream.getTracks().forEach((track) => track.addEventListener("ended", () => this.stop("The webcam was disconnected.")));
    this.button.setAttribute("aria-pressed", "true");
    this.video.srcObject = this.stream;
    await this.video.play().catch(() => null); // which ends if a file is chosen meanwhile
    if (!this.stream) return;
    this.began();
    const url = new URL("stream", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(url);
    this.socket.addEventListener("open", () => {
      this.socket.send(JSON.stringify({ key: this.key(), score_threshold: this.lowest }));
      this.send();
    });
    this.socket.addEventListener("message", (event) => this.take(JSON.parse(event.data)));
    this.socket.addEventListener("close", (event) => {
      this.stop(`The service ended the stream. ${event.reason}`);
    });
    this.say("Webcam on");
  }

  async send() {
    if (!this.stream) return;
    const { videoWidth, videoHeight } = this.video;
    Object.assign(this.canvas, { width: videoWidth, height: videoHeight });
    this.canvas.getContext("2d").drawImage(this.video, 0, 0);
    const blob = await new Promise((done) => { this.canvas.toBlob(done, "image/jpeg", QUALITY); });
    this.sent = { bitmap: await createImageBitmap(this.canvas), file: new File([blob], "webcam.jpg", { type: blob.type }) };
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(blob);
  }

  take(answer) {
    if (!this.stream) return;
    if (answer.error) {
      this.say(answer.error);
      setTimeout(() => this.send(), PAUSE);
      return;
    }
    this.seen(this.sent, answer);
    this.send();
  }

  stop(reason = "") {
    if (this.stream && reason) this.say(reason);
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.socket?.close();
    this.socket = null;
    this.button.setAttribute("aria-pressed", "false");
  }
}
