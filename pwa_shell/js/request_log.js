/**
 * What the page and its workers asked the network for, by the browser's own resource timeline. A
 * worker's requests are not in the page's timeline: each worker counts its own and tells the pages.
 * @typedef {{url: string, time: number, bytes: number, fetched: boolean}} LoggedRequest
 *   time in ms since the epoch; `fetched` is false for what came from a cache of this device
 * @typedef {{who: string, hosts: Record<string, number>, last: LoggedRequest[]}} RequestReport
 *   `who` is one worker, whose later reports replace the earlier
 */
const KEPT = 40;
const TELL_AFTER_MS = 300;
const CHANNEL = `jird-requests:${new URL("../", import.meta.url).pathname}`;

/** Counts requests by host from the start of this page or worker, and keeps the last ones. */
export class RequestLog {
  /** @type {Record<string, number>} */
  hosts = {};
  /** @type {LoggedRequest[]} */
  last = [];

  /** @param {() => void} [onChange] */
  constructor(onChange) {
    const observer = new PerformanceObserver((list) => {
      this.#note(list.getEntries());
      onChange?.();
    });
    for (const type of ["navigation", "resource"]) {
      // Workers do not navigate.
      const known = PerformanceObserver.supportedEntryTypes.includes(type);
      if (known) observer.observe({ type, buffered: true });
    }
  }

  #note(entries) {
    for (const entry of entries) {
      const url = new URL(entry.name);
      if (!/^https?:$/.test(url.protocol)) continue; // data: and blob: reach no network
      this.hosts[url.host] = (this.hosts[url.host] ?? 0) + 1;
      this.last.push({
        url: url.href,
        time: performance.timeOrigin + entry.startTime,
        bytes: entry.encodedBodySize ?? 0,
        fetched: entry.transferSize > 0 || entry.responseStatus === 0,
      });
    }
    this.last.splice(0, this.last.length - KEPT);
  }
}

/** For workers: tell the pages, now and when there is something new. @param {string} kind */
export function reportRequests(kind) {
  const who = `${kind} ${Math.random()}`;
  const channel = new BroadcastChannel(CHANNEL);
  const tell = () => channel.postMessage({ who, hosts: log.hosts, last: log.last });
  let timer = 0;
  const log = new RequestLog(() => {
    timer ||= setTimeout(() => {
      timer = 0;
      tell();
    }, TELL_AFTER_MS);
  });
  channel.onmessage = ({ data }) => data.ask && tell();
}

/**
 * For the page: hear what the workers of all tabs have asked for so far, and do from now on.
 * @param {(report: RequestReport) => void} onReport
 */
export function hearRequests(onReport) {
  const channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = ({ data }) => data.hosts && onReport(data);
  channel.postMessage({ ask: true });
}
