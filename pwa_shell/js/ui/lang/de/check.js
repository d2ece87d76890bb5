/** Texts of the device check. */
export default {
  check: "Gerätetest",
  checkLead:
    "Diese Seite probiert auf diesem Gerät und in diesem Browser alles aus, was Jird braucht. Das dauert etwa eine Minute. Nichts wird irgendwohin gesendet.",
  checkStart: "Test starten",
  checkAgain: "Noch einmal testen",
  checkRunning: "Wird getestet …",
  checkSummary: "{ok} in Ordnung, {failed} fehlgeschlagen, {skipped} übersprungen.",
  checkReport: "Bericht",
  checkReportLead:
    "Er nennt diesen Browser, seine GPU und was oben geschah; von deinen Chats enthält er nichts. Du entscheidest, ob ihn jemand bekommt.",
  checkSave: "Als Datei sichern",
  checkLink: "Dieses Gerät ganz testen",
  check_ok: "in Ordnung",
  check_failed: "fehlgeschlagen",
  check_skipped: "übersprungen",
  check_secure: "Sichere Adresse",
  check_secure_ok: "Die Adresse ist sicher, also bietet der Browser GPU und Speicher an.",
  check_secure_failed:
    "Die Adresse ist nicht sicher (https), also verbirgt der Browser GPU und Speicher.",
  check_python: "Python",
  check_python_ok: "Python ist in {seconds} s gestartet.",
  check_store: "Speicher für Modelle",
  check_store_ok: "{bytes} wurden geschrieben, zurückgelesen und stimmen ({backend}).",
  check_store_memory:
    "Dieser Browser behält keine Dateien: Modelle sind weg, wenn der Tab schließt ({backend}, {bytes}).",
  check_store_damaged: "{bytes} wurden geschrieben, aber zurück kam etwas anderes ({backend}).",
  check_handles: "Schneller Dateizugriff",
  check_handles_ok: "Dateien werden über synchrone Zugriffe geschrieben.",
  check_handles_skipped:
    "Synchrone Zugriffe werden hier nicht benutzt ({reason}), sondern ein anderer Weg.",
  check_chats: "Speicher für Chats",
  check_chats_ok: "Die Datenbank des Browsers behält, was geschrieben wird.",
  check_chats_failed: "Die Datenbank des Browsers hat verloren, was geschrieben wurde.",
  check_room: "Platz",
  check_room_ok:
    "{free} sind für diese Website frei; der Browser darf sie löschen, wenn der Platz knapp wird.",
  check_room_kept:
    "{free} sind für diese Website frei, und der Browser hat versprochen, ihre Daten zu behalten.",
  check_room_unknown: "Dieser Browser sagt nicht, wie viel Platz da ist.",
  check_offline: "Start ohne Netz",
  check_offline_ok: "Jird ist gespeichert und startet ohne Netz.",
  check_offline_skipped:
    "Jird ist hier noch nicht gespeichert: öffne es einmal und teste dann noch einmal.",
  check_offline_failed:
    "Dieser Browser speichert keine Seiten, also braucht Jird zum Start ein Netz.",
  check_gpu: "GPU",
  check_gpu_ok: "{name}: Bindungen bis {binding}, Puffer bis {buffer}. Fähigkeiten: {features}.",
  check_llama: "Ein winziges Modell",
  check_hybrid: "Ein winziges hybrides Modell",
  check_model_ok:
    "Es schrieb die {tokens} richtigen Tokens, {seconds} s mit dem Laden ({backend}).",
  check_model_failed:
    "Es schrieb andere Tokens als die richtigen: hier rechnet etwas falsch ({backend}: {found}).",
  check_model_skipped: "Nicht versucht: dafür ist keine GPU da.",
  check_selftest: "Was die GPU rechnet",
  check_selftest_ok:
    "{right} von {all} Proben stimmen, in {ms} ms: {dispatches} Dispatches je Übermittlung, in Durchgängen: {passes}.",
  check_selftest_failed:
    "{right} von {all} Proben stimmen; Jird meidet, was falsch ist ({wrong}). Übermittlungen enthalten {dispatches} Dispatches.",
  check_sound: "Ton",
  check_sound_ok: "Audio-Worklets und Zugang zu einem Mikrofon sind da.",
  check_sound_skipped:
    "Audio-Worklets sind da, aber dieser Browser gibt keinen Zugang zu einem Mikrofon.",
  check_sound_failed: "Dieser Browser hat keine Audio-Worklets, die Sprache braucht.",
  check_install: "Installiert",
  check_install_ok: "Jird läuft als installierte App.",
  check_install_skipped: "Jird läuft in einem Tab des Browsers, nicht als installierte App.",
};
