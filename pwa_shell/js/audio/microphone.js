/**
 * A microphone as 20 ms frames of 16,000 samples a second. Nothing leaves the page: the frames go to
 * whoever listens here.
 */
import { jirdError } from "../errors.js";
import { Emitter } from "../ui/dom.js";

export const RATE = 16_000;
export const FRAME = 320; // 20 ms

/** What getUserMedia throws -> why there is no microphone. */
const REASONS = {
  NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "none", OverconstrainedError: "none",
  NotReadableError: "busy", AbortError: "busy",
};

/** @param {any} error of getUserMedia @returns {Error} E_NO_MICROPHONE, or the error */
function microphoneError(error) {
  const reason = REASONS[error?.name];
  return reason ? jirdError("E_NO_MICROPHONE", { reason }) : error;
}

/** @returns {Promise<{id: string, label: string}[]>} labels are empty before permission was given */
export async function microphones() {
  const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return found
    .filter(({ kind }) => kind === "audioinput")
    .map(({ deviceId, label }) => ({ id: deviceId, label }));
}

/** Emits `frame` (Float32Array), `level` (0 to 1, the frame's RMS in decibels) and `lost`. */
export class Microphone extends Emitter {
  #stream; #context; #node; #source; #ended = false;

  /**
   * Ask for the microphone and begin. Raises E_NO_MICROPHONE ("denied", "none", "busy",
   * "unsupported").
   * @param {{deviceId?: string, signal?: AbortSignal}} [options] a device that is gone is replaced
   *   by the browser's own choice
   * @returns {Promise<Microphone>}
   */
  static async open({ deviceId, signal } = {}) {
    if (!navigator.mediaDevices?.getUserMedia || !globalThis.AudioWorkletNode)
      throw jirdError("E_NO_MICROPHONE", { reason: "unsupported" });
    const microphone = new Microphone();
    try {
      await microphone.#begin(deviceId, signal);
    } catch (error) {
      await microphone.close();
      throw microphoneError(error);
    }
    return microphone;
  }

  async #begin(deviceId, signal) {
    // Echo cancellation is what lets a person interrupt the loudspeaker.
    const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    this.#stream = await navigator.mediaDevices.getUserMedia({
      audio: { ...audio, ...(deviceId ? { deviceId: { ideal: deviceId } } : {}) },
    });
    signal?.throwIfAborted();
    const [track] = this.#stream.getAudioTracks();
    track.addEventListener("ended", () => !this.#ended && this.emit("lost"));
    this.label = track.label;
    this.#context = new AudioContext({ latencyHint: "interactive" });
    await this.#context.audioWorklet.addModule(new URL("./capture_worklet.js", import.meta.url));
    await this.#context.resume();
    signal?.throwIfAborted();
    this.#node = new AudioWorkletNode(this.#context, "jird-capture", {
      numberOfOutputs: 0, processorOptions: { rate: RATE, frame: FRAME },
    });
    this.#node.port.onmessage = ({ data }) => this.#took(data.samples);
    this.#source = this.#context.createMediaStreamSource(this.#stream);
    this.#source.connect(this.#node);
  }

  #took(samples) {
    if (this.#ended) return;
    this.emit("level", levelOf(samples));
    this.emit("frame", samples);
  }

  /** Lets the device, the audio thread and its context go. Idempotent. */
  async close() {
    if (this.#ended) return;
    this.#ended = true;
    this.#source?.disconnect();
    this.#node?.port.postMessage("end");
    this.#node?.port.close();
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#context?.state !== "closed") await this.#context?.close();
  }
}

/** @param {Float32Array} samples @returns {number} RMS from -60 to -10 dB as 0 to 1 */
function levelOf(samples) {
  let sum = 0;
  for (const x of samples) sum += x * x;
  const decibels = 10 * Math.log10(sum / samples.length + 1e-12);
  return Math.min(1, Math.max(0, (decibels + 60) / 50));
}
