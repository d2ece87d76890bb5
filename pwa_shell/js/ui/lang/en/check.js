/** Texts of the device check. */
export default {
  check: "Device check",
  checkLead:
    "This page tries, on this device and in this browser, everything that Jird needs. It takes about a minute. Nothing is sent anywhere.",
  checkStart: "Start the check",
  checkAgain: "Check again",
  checkRunning: "Checking…",
  checkSummary: "{ok} fine, {failed} failed, {skipped} skipped.",
  checkReport: "Report",
  checkReportLead:
    "It names this browser, its GPU and what happened above; it holds nothing of your chats. You choose whether anyone gets it.",
  checkSave: "Save as a file",
  checkLink: "Check this device in full",
  check_ok: "fine",
  check_failed: "failed",
  check_skipped: "skipped",
  check_secure: "Secure address",
  check_secure_ok: "The address is secure, so the browser offers its GPU and storage.",
  check_secure_failed:
    "The address is not secure (https), so the browser hides its GPU and storage.",
  check_python: "Python",
  check_python_ok: "Python started in {seconds} s.",
  check_store: "Storage for models",
  check_store_ok: "{bytes} were written, read back and found the same ({backend}).",
  check_store_memory:
    "This browser keeps no files: models are gone when the tab closes ({backend}, {bytes}).",
  check_store_damaged:
    "{bytes} were written, but what was read back is not the same ({backend}).",
  check_handles: "Quick file access",
  check_handles_ok: "Files are written through sync access handles.",
  check_handles_skipped: "Sync access handles are not used here ({reason}); another way is.",
  check_chats: "Storage for chats",
  check_chats_ok: "The browser’s database keeps what is written.",
  check_chats_failed: "The browser’s database lost what was written.",
  check_room: "Room",
  check_room_ok: "{free} are free for this site; the browser may delete them when room is short.",
  check_room_kept:
    "{free} are free for this site, and the browser has promised to keep its data.",
  check_room_unknown: "This browser does not say how much room there is.",
  check_offline: "Start without a network",
  check_offline_ok: "Jird is stored and starts without a network.",
  check_offline_skipped: "Jird is not stored here yet: open it once, then check again.",
  check_offline_failed: "This browser stores no pages, so Jird needs a network to start.",
  check_gpu: "GPU",
  check_gpu_ok: "{name}: bindings up to {binding}, buffers up to {buffer}. Features: {features}.",
  check_llama: "A tiny model",
  check_hybrid: "A tiny hybrid model",
  check_model_ok: "It wrote the {tokens} right tokens, {seconds} s with its loading ({backend}).",
  check_model_failed:
    "It wrote other tokens than the right ones: something computes wrongly here ({backend}: {found}).",
  check_model_skipped: "Not tried: there is no GPU for it.",
  check_selftest: "What the GPU computes",
  check_selftest_ok:
    "{right} of {all} trials are right, in {ms} ms: {dispatches} dispatches a submission, in passes: {passes}.",
  check_selftest_failed:
    "{right} of {all} trials are right; Jird avoids what is wrong ({wrong}). Submissions hold {dispatches} dispatches.",
  check_sound: "Sound",
  check_sound_ok: "Audio worklets and access to a microphone are there.",
  check_sound_skipped:
    "Audio worklets are there, but this browser gives no access to a microphone.",
  check_sound_failed: "This browser has no audio worklets, which speech needs.",
  check_install: "Installed",
  check_install_ok: "Jird runs as an installed app.",
  check_install_skipped: "Jird runs in a browser’s tab, not as an installed app.",
};
