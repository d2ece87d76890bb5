/** What kind of device this is, as far as pyengine/fit.py needs to know. */

/**
 * {platform: "ipad" | "iphone" | "android" | "desktop", memory_gib} of a page's `navigator`;
 * `memory_gib` is undefined where the browser does not say.
 */
export function platformOf({ userAgent, maxTouchPoints = 0, deviceMemory }) {
  return { platform: kindOf(userAgent, maxTouchPoints), memory_gib: deviceMemory };
}

function kindOf(userAgent, maxTouchPoints) {
  if (/iPhone|iPod/.test(userAgent)) return "iphone";
  // An iPad calls itself a Mac, which has no touch screen.
  if (/iPad/.test(userAgent) || (/Macintosh/.test(userAgent) && maxTouchPoints > 1)) return "ipad";
  return /Android/.test(userAgent) ? "android" : "desktop";
}
